"""The decision how outputs and targets are read, from the loss, the model's last operation, shapes and targets."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from actsearch.errors import TaskError
from actsearch.task.metrics import PLAIN, Convention
from actsearch.task.metrics.convention import class_axes, without_ones
from actsearch.training.convention import advice, gradients

__all__ = ["Evidence", "decide_classes", "decide_range"]

_log = logging.getLogger("actsearch")

_OF_SOFTMAX = {"softmax", "log_softmax", "logsumexp", "cross_entropy", "nll_loss", "kl_div"}
_OF_LOGITS = {
    "sigmoid", "logsigmoid", "log_sigmoid", "expit", "softplus", "binary_cross_entropy_with_logits",
    "soft_margin_loss", "multilabel_soft_margin_loss",
}  # fmt: skip
_OF_PROBABILITIES = {"binary_cross_entropy"}
_OF_NUMBERS = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
_SAME_RATIO = 1e-2  # of logarithms
_SUMS_TO_ONE = 1e-3  # how far probabilities may be from that, in single precision


@dataclass
class Evidence:
    """What is known of one batch.

    Attributes:
        output: of the user's unchanged model in evaluation mode.
        target: of the batch.
        targets: of many rows, to see which values there are.
        loss: the task's, or a copy if it may keep a state.
        names: functions of torch that it calls.
        ignored: labels that it says it leaves out.
        last: what made the output: "sigmoid", "softmax", "log_softmax", "tanh", or "" for something else.
        last_axis: of a softmax, where that is known.
    """

    output: Tensor
    target: Tensor
    targets: Tensor
    loss: Callable[[Any, Any], Any]
    names: set[str] = field(default_factory=set)
    ignored: set[int] = field(default_factory=set)
    last: str = ""
    last_axis: int | None = None

    @property
    def shapes(self) -> str:
        """For messages."""
        return f"an output {tuple(self.output.shape)} for targets {tuple(self.target.shape)}"


def decide_classes(name: str, evidence: Evidence, *, of_scores: bool) -> Convention:
    """How answers of classification are read.

    Args:
        name: of the metric, for messages.
        evidence: of one batch.
        of_scores: whether the metric is of scores of several classes alone.

    Raises:
        TaskError: two readings are possible, or none.
    """
    output, target = evidence.output, evidence.target
    if without_ones(output.shape) != without_ones(target.shape):
        return _read_numbers(name, evidence)
    axes = [axis for axis in dict.fromkeys((1, output.dim() - 1)) if _has_classes(output, axis)]
    if output[:1].numel() == evidence.targets[:1].numel():  # axes of length 1 may differ
        targets = evidence.targets.reshape(-1, *output.shape[1:])
        evidence = dataclasses.replace(evidence, targets=targets)
    if axes and (axis := _class_score_axis(name, evidence, axes, forced=of_scores)) is not None:
        return Convention("scores", axis, _scale(evidence, axis))
    if of_scores:
        raise TaskError(f"{name} is of scores of classes, not of {evidence.shapes}")
    return _read_each(name, evidence)


def _has_classes(output: Tensor, axis: int) -> bool:
    return 0 < axis < output.dim() and output.shape[axis] > 1


def _read_numbers(name: str, evidence: Evidence) -> Convention:
    """Targets are numbers of classes, and the output has an axis more."""
    output, target = evidence.output, evidence.target
    axes = class_axes(output, target)
    if not axes:
        raise TaskError(
            f"{name} cannot be read from {evidence.shapes}: it takes scores (batch, classes, ...) or "
            "(batch, ..., classes) and numbers of classes (batch, ...), or two equal shapes; else give metric= as a "
            "function of (outputs, targets)"
        )
    if len(axes) > 1:
        axes = _axes_by_gradient(evidence, lambda _: target, axes)
    if len(axes) != 1:
        raise TaskError(
            f"{name} of {evidence.shapes} can be read along axis 1 or along the last one, and the loss, as it compares "
            f"them, does not say which: give metric={{{name!r}: lambda outputs, targets: "
            f"{advice.of_classes(name, 1)}}}, or {advice.of_classes(name, -1)}"
        )
    axis = axes[0]
    ignored: set[int] = set()
    if not target.is_floating_point() and target.dtype is not torch.bool:
        ignored = evidence.ignored | _labels_without_gradient(evidence, axis)
    if ignored - {-100}:
        shown = ", ".join(map(str, sorted(ignored)))
        _log.info("the loss leaves out labels %s, and %s does the same", shown, name)
    return Convention("numbers", axis, _scale(evidence, axis), ignored=tuple(sorted(ignored)))


def _scale(evidence: Evidence, axis: int) -> Any:
    """Whether class scores are probabilities: their sums are 1."""
    output = evidence.output.float()
    is_one = (output.sum(axis) - 1).abs().max() < _SUMS_TO_ONE
    return "probabilities" if bool(output.min() >= 0) and bool(is_one) else "logits"


def _class_score_axis(
    name: str, evidence: Evidence, axes: list[int], *, forced: bool
) -> int | None:
    """The axis of classes where targets are scores as well; None where each number is an answer by itself.

    Raises:
        TaskError: both readings are possible.
    """
    names, output = evidence.names, evidence.output
    exclusive, each = bool(names & _OF_SOFTMAX), bool(names & (_OF_LOGITS | _OF_PROBABILITIES))
    if exclusive == each:
        exclusive, each = evidence.last in ("softmax", "log_softmax"), evidence.last == "sigmoid"
    one_hot = [axis for axis in axes if _is_one_hot(evidence.targets, axis)]
    if not exclusive and not each:
        is_regression = bool(names & _OF_NUMBERS) or _regards_as_numbers(evidence)
        exclusive = is_regression and bool(one_hot)
    if not exclusive and not (forced and one_hot):
        if one_hot and output.dim() == 2:
            raise TaskError(
                f"{name} of {evidence.shapes} can be read in two ways, as each target has a single 1: the class with "
                "the largest score, which is metric='top1_accuracy', or each label by itself, as metric="
                f"{{{name!r}: lambda outputs, targets: {advice.of_each(name, 'threshold')}}}"
            )
        return None
    if len(axes) > 1:
        axes = _narrow(evidence, axes, one_hot)
    if len(axes) != 1:
        raise TaskError(
            f"{name} of {evidence.shapes} can be read along axis 1 or along the last one, and the loss does not say "
            "which: give metric= as a function of (outputs, targets)"
        )
    return axes[0]


def _narrow(evidence: Evidence, axes: list[int], one_hot: list[int]) -> list[int]:
    """The axis of a softmax at the model's end, of single ones, or of the loss's gradients."""
    if evidence.last_axis in axes:
        return [axis for axis in axes if axis == evidence.last_axis]
    if len(one_hot) == 1:
        return one_hot
    return _axes_by_gradient(evidence, evidence.target.argmax, axes)


def _axes_by_gradient(
    evidence: Evidence, labels: Callable[[int], Tensor], axes: list[int]
) -> list[int]:
    try:
        return gradients.find_class_axes(
            evidence.loss, evidence.output, labels, axes, evidence.target
        )
    except Exception as error:  # the user's loss: anything
        _log.debug("the axis of classes is not known by gradients: %s", error)
        return []


def _labels_without_gradient(evidence: Evidence, axis: int) -> set[int]:
    try:
        return set(gradients.find_ignored(evidence.loss, evidence.output, evidence.target, axis))
    except Exception as error:  # the user's loss: anything
        _log.debug("labels that the loss leaves out are not known by gradients: %s", error)
        return set()


def _is_one_hot(targets: Tensor, axis: int) -> bool:
    """Whether every row has one 1 and else 0."""
    if not bool(((targets == 0) | (targets == 1)).all()):
        return False
    return bool((targets.sum(axis) == 1).all())


def _regards_as_numbers(evidence: Evidence) -> bool:
    try:
        return gradients.regards_as_numbers(evidence.loss, evidence.output, evidence.target)
    except Exception:  # the user's loss: anything
        return False


def _read_each(name: str, evidence: Evidence) -> Convention:
    """Each number is an answer: of two classes, or of several labels."""
    values = torch.unique(evidence.targets)
    names = evidence.names
    is_binary = len(values) <= 2
    of_logits = bool(names & _OF_LOGITS)
    of_probabilities = bool(names & _OF_PROBABILITIES) and not of_logits
    is_soft = (of_logits or of_probabilities) and 0 <= float(values[0]) <= float(values[-1]) <= 1
    if not is_binary and not is_soft:
        shown = ", ".join(f"{float(value):g}" for value in values[:4])
        raise TaskError(
            f"{name} of {evidence.shapes} needs targets of two classes, and they hold {len(values)} values "
            f"({shown}, ...): give the model an output for each class, or a metric of numbers as 'mse'"
        )
    positive = float(values.double().mean()) if len(values) == 2 else PLAIN.positive
    made = dataclasses.replace(PLAIN, target="each", positive=positive)
    if "binary_cross_entropy_with_logits" in names and evidence.last == "sigmoid":
        raise TaskError(
            f"the model ends in a sigmoid and the loss applies one again, so that {name} cannot tell what is a "
            "probability: leave the model's out, or use nn.BCELoss"
        )
    if of_logits or (of_probabilities and _begins_at_zero(evidence)):  # as through a probit
        return made
    if of_probabilities or evidence.last == "sigmoid":
        return dataclasses.replace(made, scale="probabilities", threshold=0.5)
    if values.tolist() == [-1, 1]:  # a margin, or numbers: 0 is between them
        return made
    return _read_by_values(name, evidence, made)


def _read_by_values(name: str, evidence: Evidence, made: Convention) -> Convention:
    """Told by the values of a loss of the user's own."""
    output, target, loss = evidence.output, evidence.target, evidence.loss
    if _begins_at_zero(evidence):
        return made
    if evidence.names & _OF_NUMBERS or _regards_as_numbers(evidence):
        return dataclasses.replace(made, threshold=made.positive)
    # on the CPU: a GPU that meets what is no probability is of no use to the process any more
    if gradients.takes_probabilities_only(loss, output.cpu(), target.cpu()):
        return dataclasses.replace(made, scale="probabilities", threshold=0.5)
    raise TaskError(
        f"{name} of {evidence.shapes} may count outputs above 0 (logits) or above 0.5 (probabilities) as class 1, and "
        f"neither the loss nor the model's last layer says which: give metric={{{name!r}: lambda outputs, targets: "
        f"{advice.of_each(name, '0')}}}, or > 0.5"
    )


def _begins_at_zero(evidence: Evidence) -> bool:
    """Whether class 1 begins at 0 as the loss has it, and not, or less simply, at .5."""
    args = evidence.loss, evidence.output.float().cpu(), evidence.target.cpu()
    at_zero, at_half = (
        gradients.symmetry_about(*args, number, inside=False) for number in (0.0, 0.5)
    )
    if at_zero == 0 or at_half == 0:
        return at_zero > 0
    return abs(math.log(at_zero)) < abs(math.log(at_half)) - _SAME_RATIO


_NEAR = 0.1  # of a range: so near to its lower end, and beyond its middle, come the values of whole images


def decide_range(targets: Tensor) -> float:
    """Largest minus smallest value that targets may have, where those at hand fill one of the usual ranges.

    Raises:
        TaskError: that is not known, as of a crop, whose values lie in the middle of several.
    """
    low, high = float(targets.min()), float(targets.max())
    if targets.dtype == torch.uint8:
        return 255.0
    for start, end in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        middle, reach = (start + end) / 2, start + _NEAR * (end - start)
        if start <= low <= reach and middle <= high <= end:
            return end - start
    raise TaskError(
        f"psnr needs to know which values targets may have, and these go from {low:g} to {high:g}, which fills none of "
        "0..1, -1..1 and 0..255: give metric={'psnr': lambda outputs, targets: 10 * torch.log10(R**2 / "
        "F.mse_loss(outputs, targets))} with the range R"
    )
