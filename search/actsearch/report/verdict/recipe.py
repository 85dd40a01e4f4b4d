"""How to train what a verdict compared: a formula reaches its score at a learning rate, and in an optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.checks import is_number
from actsearch.records import OPTIMIZERS, TrainingSettings
from actsearch.report.verdict import stored
from actsearch.storage.tolerant import one_line

__all__ = ["Recipe", "read_settings"]

_NAMED_SITES = 8


@dataclass(frozen=True)
class Recipe:
    """What to set to get the result of a line of a verdict. ``print`` says it in sentences.

    Attributes:
        label: the activation; of the baseline, the types of activation that the model has.
        learning_rate: the one it is best at, the median of those chosen for each seed; None where none was tuned.
        learning_rates: those chosen, one for each seed; empty in verdicts that were stored before they were kept.
        settings: optimizer, weight decay and sites; None for an objective of the user's own.

    Example:
        >>> def objective(candidate, run):
        ...     noise = torch.randn(8, generator=torch.Generator().manual_seed(run.seed))
        ...     return candidate.module()(noise).square().mean().item()
        >>> study = acs.create_study(study_name="recipe", direction="minimize")
        >>> study.optimize(objective, n_trials=3, show_progress_bar=False)
        >>> verdict = study.confirm(objective, top_k=1, seeds=8, baseline="relu", show_progress_bar=False)
        >>> print(verdict.recipe(verdict.baseline))  # an objective sets its own learning rate
        Activation: relu.
    """

    label: str
    learning_rate: float | None
    learning_rates: tuple[float, ...] = ()
    settings: TrainingSettings | None = None

    def __str__(self) -> str:
        lines = [f"Activation: {self.label}{self._where()}."]
        if self.learning_rate is not None:
            lines.append(f"Learning rate: {self.learning_rate:.6g}{self._rates()}.")
        if (settings := self.settings) is not None:
            options = "".join(f", {name}={value!r}" for name, value in settings.options.items())
            lines.append(f"Optimizer: {settings.optimizer or 'that of the task'}{options}.")
            if settings.weight_decay is not None:
                spared = ", none on what the activation learns" if settings.weight_decay else ""
                lines.append(f"Weight decay: {settings.weight_decay:g}{spared}.")
            if settings.gain is not None:
                lines.append(
                    "Layers before it: drawn anew with its gain, as by Task(gain='auto')."
                )
            if settings.others:
                lines.append(f"Besides, as in the task: {', '.join(settings.others)}.")
        return " ".join(lines)

    def _where(self) -> str:
        if self.settings is None or not self.settings.sites:
            return ""
        sites = self.settings.sites
        named = ", ".join(f"{path} ({kind})" for path, kind in sites[:_NAMED_SITES])
        more = len(sites) - _NAMED_SITES
        return f", at {named}" + (f" and {more} more" if more > 0 else "")

    def _rates(self) -> str:
        rates = sorted(set(self.learning_rates))
        if len(rates) < 2:
            return ""
        return f" (median; {rates[0]:.2g} to {rates[-1]:.2g} were chosen for single seeds)"

    def code(self, classes: Sequence[str] = ()) -> str:
        """The learning rate and the optimizer as Python, for a file in which torch and nn are imported.

        Args:
            classes: names of the activations that learn; their numbers get a group without weight decay.

        Returns:
            ``LEARNING_RATE``, and ``make_optimizer(model)`` where the task's optimizer is one of torch's; empty for an
            objective of the user's own.
        """
        if (settings := self.settings) is None:
            return ""
        rate = settings.lr if self.learning_rate is None else self.learning_rate
        if not math.isfinite(rate):
            return ""
        blocks = [f"LEARNING_RATE = {rate!r}"]
        if settings.gain is not None:
            blocks[0] += (
                "\n# layers before it were drawn anew: N(0, gain^2 / fan_in), with the gain above"
            )
        if settings.others:
            blocks[0] += f"\n# besides, the study trained with: {', '.join(settings.others)}"
        if classes:
            blocks.append(_GROUPS.format(classes=", ".join(classes)))
        parameters = "parameter_groups(model)" if classes else "model.parameters()"
        if not settings.optimizer:
            blocks.append(
                f"# with the optimizer of the task, on {parameters}, and lr=LEARNING_RATE"
            )
            return "\n\n\n".join(blocks) + "\n"
        options = dict(settings.options)
        if settings.weight_decay is not None:
            options["weight_decay"] = settings.weight_decay
        more = "".join(f", {name}={value!r}" for name, value in options.items())
        blocks.append(
            f"def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:\n"
            f"    return torch.optim.{settings.optimizer}({parameters}, lr=LEARNING_RATE{more})"
        )
        return "\n\n\n".join(blocks) + "\n"


_GROUPS = '''def parameter_groups(model: nn.Module) -> list[dict]:
    """For the optimizer: weights, and what activations learn, which is not decayed."""
    learned = {{
        id(p) for m in model.modules() if isinstance(m, ({classes},)) for p in m.parameters()
    }}
    parts = ([], [])
    for parameter in model.parameters():
        parts[id(parameter) in learned].append(parameter)
    return [{{"params": parts[0]}}, {{"params": parts[1], "weight_decay": 0.0}}]'''


def read_settings(data: Any) -> TrainingSettings | None:
    """Of stored data; None where there is none. LookupError, TypeError or ValueError for what is no such thing."""
    if data is None:
        return None
    decay, gain, name = data["weight_decay"], data["gain"], data["optimizer"]
    return TrainingSettings(
        _read_finite(data["lr"]),
        name if name in OPTIMIZERS else "",
        _read_options(data["options"]),
        None if decay is None else _read_finite(decay),
        "auto" if gain is not None else None,
        tuple((one_line(path), one_line(kind)) for path, kind in data["sites"]),
        tuple(one_line(item) for item in data.get("others", ())),
    )


def _read_finite(value: Any) -> float:
    """A number that may stand in code."""
    if not math.isfinite(number := stored.read_number(value)):
        raise ValueError(f"{number} is not a finite number")
    return number


def _read_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords that may stand in code: plain names, and values that are no text."""
    options: dict[str, Any] = {}
    for name, value in data.items():
        parts = value if isinstance(value, list) else [value]
        if not name.isidentifier() or not all(
            item is None or isinstance(item, bool) or (is_number(item) and math.isfinite(item))
            for item in parts
        ):
            raise ValueError(f"{one_line(name)!r} is not a setting of an optimizer")
        options[name] = tuple(value) if isinstance(value, list) else value
    return options
