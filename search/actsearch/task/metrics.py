"""Metrics by name, each accumulated over batches so that the whole set never has to be held."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from actsearch.checks import check_known
from actsearch.errors import TaskError

__all__ = ["METRICS", "Accumulator", "Direction", "Metric", "resolve_metric"]

Direction = Literal["maximize", "minimize"]


class Accumulator(Protocol):
    """Collects batches of one pass over a data set; made anew for each pass."""

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch of detached outputs and targets."""

    def result(self) -> float:
        """The metric over all batches so far; NaN before the first."""


@dataclass(frozen=True)
class Metric:
    """A named measure.

    Attributes:
        name: for tables; "loss" is the mean of the task's loss and needs no accumulator.
        direction: "maximize" or "minimize"; None when the user has to set it.
        accumulator: makes an accumulator for one pass.
        for_training: whether it is also followed on the training batches.
    """

    name: str
    direction: Direction | None
    accumulator: Callable[[], Accumulator] | None
    for_training: bool = True


class _Mean:
    """Mean over elements of a per-element score."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.score = score
        self._sum: Tensor | float = 0.0
        self._count = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        scores = self.score(output, target)
        self._sum = self._sum + scores.sum(dtype=torch.float64)
        self._count += scores.numel()

    def result(self) -> float:
        return float(self._sum) / self._count if self._count else math.nan


class _R2:
    """Coefficient of determination, 1 - residual sum of squares / total sum of squares."""

    def __init__(self) -> None:
        self._count = 0
        # targets, squared targets, squared residuals
        self._sums = torch.zeros(3, dtype=torch.float64)

    def update(self, output: Tensor, target: Tensor) -> None:
        target, output = _align(output, target)[::-1]
        y, residual = target.double(), (target - output).double()
        sums = torch.stack([y.sum(), y.square().sum(), residual.square().sum()])
        self._sums += sums.cpu()
        self._count += y.numel()

    def result(self) -> float:
        total, squares, residual = self._sums.tolist()
        variation = squares - total * total / self._count if self._count else 0.0
        return 1 - residual / variation if variation > 0 else math.nan


class _Collected:
    """A user's function of all outputs and all targets."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._function = function
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        self._outputs.append(output)
        self._targets.append(target)

    def result(self) -> float:
        return float(self._function(torch.cat(self._outputs), torch.cat(self._targets)))


def _align(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if output.dim() == target.dim() + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    if output.shape != target.shape:
        raise TaskError(
            f"output of shape {tuple(output.shape)} and target of shape {tuple(target.shape)} "
            "do not fit the metric"
        )
    return output, target


def _hits(output: Tensor, target: Tensor) -> Tensor:
    """Right answers as 0 and 1: class scores on axis 1, or one logit (above 0 is class 1)."""
    if output.dim() == target.dim() + 1 and output.shape[1] > 1:
        answer = output.argmax(1)
        if answer.shape != target.shape:
            raise TaskError(
                f"accuracy takes scores (batch, classes, ...) and targets (batch, ...), not "
                f"{tuple(output.shape)} and {tuple(target.shape)}"
            )
        return answer == target
    logits, target = _align(output, target)
    return (logits > 0) == (target > 0.5)


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    output, target = _align(output, target)
    return (output - target).square()


def _absolute_error(output: Tensor, target: Tensor) -> Tensor:
    output, target = _align(output, target)
    return (output - target).abs()


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy", "maximize", lambda: _Mean(_hits)),
            Metric("loss", "minimize", None),
            Metric("mse", "minimize", lambda: _Mean(_squared_error)),
            Metric("mae", "minimize", lambda: _Mean(_absolute_error)),
            Metric("r2", "maximize", _R2),
        )
    }
)
"""Metrics by name."""


def resolve_metric(metric: Any, has_evaluate: bool) -> Metric:
    """The metric a task names.

    Args:
        metric: a name of :data:`METRICS`; a callable ``(outputs, targets) -> float``, whose direction is taken
            from its ``higher_is_better`` if it has that (as torchmetrics does); or, with ``evaluate``, any key of
            what that returns.
        has_evaluate: whether the task measures by a function of its own.

    Raises:
        TaskError: unknown name.
    """
    if isinstance(metric, str):
        if has_evaluate and metric not in METRICS:
            return Metric(metric, None, None, for_training=False)
        return METRICS[check_known("metric", metric, METRICS, TaskError)]
    if callable(metric):
        higher = getattr(metric, "higher_is_better", None)
        direction: Direction | None = (
            None if higher is None else "maximize" if higher else "minimize"
        )
        name = getattr(metric, "__name__", type(metric).__name__)
        return Metric(name, direction, lambda: _Collected(metric), for_training=False)
    raise TaskError(f"metric must be a name or a function of outputs and targets, not {metric!r}")
