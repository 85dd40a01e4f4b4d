"""Functions to write in the place of a metric's name, for messages."""

from __future__ import annotations

import re

__all__ = ["of_classes", "of_each", "of_own"]

_OF_LABELS = {"f1": "f1_score", "balanced_accuracy": "balanced_accuracy_score"}
_OF_NUMBERS = {
    "mse": "F.mse_loss({o}, {t})",
    "rmse": "F.mse_loss({o}, {t}).sqrt()",
    "mae": "F.l1_loss({o}, {t})",
    "psnr": "10 * torch.log10(1 / F.mse_loss({o}, {t}))",
    "r2": "r2_score({t}, {o})",
    "pearson": "torch.corrcoef(torch.stack([{o}.flatten(), {t}.flatten()]))[0, 1]",
}


def of_classes(name: str, axis: int, output: str = "outputs", target: str = "targets") -> str:
    """A metric of class scores along an axis, and numbers of classes, as Python.

    Example:
        >>> of_classes("accuracy", -1)
        '(outputs.argmax(-1) == targets).float().mean()'
    """
    if name in ("perplexity", "bits_per_character"):
        if axis == -1:
            output, target = f"{output}.flatten(0, -2)", f"{target}.flatten()"
        nats = f"F.cross_entropy({output}, {target})"
        return f"{nats}.exp()" if name == "perplexity" else f"{nats} / math.log(2)"
    if name in _OF_LABELS:
        more = ", average='macro'" if name == "f1" else ""
        answers = f"{output}.argmax({axis}).flatten()"
        return f"{_OF_LABELS[name]}({target}.flatten(), {answers}{more})"
    if name == "auc":
        scores = f"{output}.softmax({axis}).movedim({axis}, -1).flatten(0, -2)"
        return f"roc_auc_score({target}.flatten(), {scores}, multi_class='ovr')"
    found = re.fullmatch(r"top_?(\d+)(?:_accuracy)?", name)
    if found and found[1] != "1":
        hits = f"({output}.topk({found[1]}, {axis}).indices == {target}.unsqueeze({axis}))"
        return f"{hits}.any({axis}).float().mean()"
    return f"({output}.argmax({axis}) == {target}).float().mean()"


def of_each(name: str, threshold: str, output: str = "outputs", target: str = "targets") -> str:
    """A metric where each number is an answer by itself, as Python.

    Example:
        >>> of_each("auc", "0")
        'roc_auc_score(targets.flatten(), outputs.flatten())'
    """
    if name in _OF_NUMBERS:
        return _OF_NUMBERS[name].format(o=output, t=target)
    if name == "auc":
        return f"roc_auc_score({target}.flatten(), {output}.flatten())"
    if name in _OF_LABELS:
        answers = f"({output} > {threshold}).flatten()"
        return f"{_OF_LABELS[name]}(({target} > 0.5).flatten(), {answers})"
    return f"(({output} > {threshold}) == ({target} > 0.5)).float().mean()"


def of_own(name: str, *, of_classes_: bool) -> str:
    """The metric of an output ``o`` and a target ``t`` that are made as the loss makes them, as Python."""
    written = of_classes(name, 1, "o", "t") if of_classes_ else of_each(name, "0", "o", "t")
    return f"metric={{{name!r}: lambda outputs, targets: {written}}}, with o and t made of them as the loss does"
