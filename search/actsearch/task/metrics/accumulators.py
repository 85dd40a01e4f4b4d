"""Metrics gathered over batches, so that what needs no more than sums holds no more."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from actsearch.devices import as_double, is_cpu, widest_float
from actsearch.errors import TaskError
from actsearch.task.metrics.convention import (
    Convention,
    align,
    counted,
    read_classes,
    reads_classes,
    without_ignored,
)
from actsearch.task.nested import concatenate, describe_parts

__all__ = ["Additive", "Collected", "Correlation", "Likelihood", "Mean", "R2"]

Score = Callable[[Tensor, Tensor], Tensor]
Weigh = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_ROUNDING = 1e-12  # of a sum of squares


def _same(value: float) -> float:
    return value


class Additive(abc.ABC):
    """An accumulator whose metric follows from sums over the rows of the data."""

    @abc.abstractmethod
    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""

    @abc.abstractmethod
    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        """What some rows add to the sums, in double precision; they are not taken."""

    def row_sums(self, output: Tensor, target: Tensor) -> Tensor | None:
        """The same of each row, ``(rows, ...)``, in one step; None where that is not possible."""
        return None

    @abc.abstractmethod
    def result_of(self, sums: Tensor) -> float:
        """The metric that follows from sums; NaN where they are of no row."""


class Mean(Additive):
    """Mean over elements of a per-element score.

    Attributes:
        score: of outputs and targets, one number for each answer that counts.
        finish: makes the metric of the mean.
        weigh: of outputs and targets, one number for each answer, and whether it counts; None where all do. To take
            answers out is to wait for a GPU, to weigh them is not.
    """

    def __init__(
        self, score: Score, finish: Callable[[float], float] = _same, weigh: Weigh | None = None
    ) -> None:
        self.score = score
        self.finish = finish
        self.weigh = weigh
        self._sum: Tensor | float = 0.0
        self._count: Tensor | int = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        if self.weigh is not None and not is_cpu(output.device):
            scores, counts = self.weigh(output, target)
            scores = scores * counts
            self._count = self._count + counts.sum()
        else:
            scores = self.score(output, target)
            self._count = self._count + scores.numel()
        self._sum = self._sum + scores.sum(dtype=widest_float(scores.device))

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        """Sum of scores and their number."""
        scores = self.score(output, target)
        total = scores.sum(dtype=widest_float(scores.device))
        return torch.stack([total, torch.full_like(total, scores.numel())])

    def row_sums(self, output: Tensor, target: Tensor) -> Tensor | None:
        """None where not each number of the targets has a score, as answers that do not count have none."""
        scores = self.score(output, target)
        if scores.numel() != target.numel():
            return None
        scores = scores.reshape(len(target), -1)
        sums = scores.sum(1, dtype=widest_float(scores.device))
        return torch.stack([sums, torch.full_like(sums, scores.shape[1])], 1)

    def result_of(self, sums: Tensor) -> float:
        """The metric that follows from sums; NaN where they are of no row."""
        total, count = sums.tolist()
        return self.finish(total / count) if count else math.nan

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        self._sum, self._count = float(self._sum), int(self._count)  # read once from a GPU
        return self.finish(self._sum / self._count) if self._count else math.nan


class R2(Additive):
    """Coefficient of determination, 1 - residual sum of squares / total sum of squares.

    Of a table with several columns it is the mean over these, as scikit-learn's ``r2_score`` has it: a constant column
    counts 1 where it is met exactly, and else 0. Other shapes are taken as one column.
    """

    def __init__(self, convention: Convention | None = None) -> None:
        self._count = 0
        # targets, squared targets, squared residuals
        self._sums: Tensor | None = None
        self._origin: Tensor | None = None  # of a table: sums of large numbers would cancel

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        y, residual = self._read(output, target)
        if self._origin is not None:
            sums = torch.stack([part.sum(0) for part in (y, y.square(), residual.square())])
            self._count += len(y)
        else:
            sums = torch.stack([y.sum(), y.square().sum(), residual.square().sum()])
            self._count += y.numel()
        self._sums = sums if self._sums is None else self._sums + sums

    def _read(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Targets, those of a table from its origin, and residuals."""
        target, output = align(output, target)[::-1]
        y, residual = as_double(target), as_double(target - output)
        if y.dim() == 2 and y.shape[1] > 1:
            self._origin = y[0] if self._origin is None else self._origin
            y = y - self._origin
        return y, residual

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        """Number of targets, their sum, that of their squares and of squared residuals; of a table for each column."""
        return self.row_sums(output, target).sum(0)

    def row_sums(self, output: Tensor, target: Tensor) -> Tensor:
        """The same of each row."""
        y, residual = self._read(output, target)
        parts = [torch.ones_like(y), y, y.square(), residual.square()]
        if self._origin is None:
            parts = [part.reshape(len(y), -1).sum(1) for part in parts]
        return torch.stack(parts, 1)

    def result_of(self, sums: Tensor) -> float:
        """The metric that follows from sums; NaN where they are of no row, or of a column that only rounding varies."""
        count, total, squares, residual = sums
        variation = squares - total * total / count
        if not bool((count > 0).all()) or bool((variation.abs() < _ROUNDING * squares).any()):
            return math.nan
        return self._fit(count, total, squares, residual)

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        if self._sums is None:
            return math.nan
        return self._fit(self._count, *self._sums.cpu())

    def _fit(self, count: Any, total: Tensor, squares: Tensor, residual: Tensor) -> float:
        variation = squares - total * total / count
        if self._origin is None:
            return float(1 - residual / variation) if variation > 0 else math.nan
        fit = 1 - residual / variation
        fit = torch.where(variation > 0, fit, (residual == 0).double())
        return float(torch.where(residual.isfinite(), fit, math.nan).mean())


class Likelihood(Additive):
    """Mean negative log likelihood of the right class in nats, over all answers that count.

    Of targets that are shares of the classes it is the mean cross entropy.

    Attributes:
        finish: makes the metric of the mean.
    """

    def __init__(self, finish: Callable[[float], float], convention: Convention) -> None:
        self.finish = finish
        self._convention = convention
        self._sum: Tensor | float = 0.0
        self._count: Tensor | int = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        total, count = self._read(output, target)
        self._sum = self._sum + total
        self._count = self._count + count

    def sums(self, output: Tensor, target: Tensor) -> Tensor:
        """Negative log likelihood and the number of answers."""
        total, count = self._read(output, target)
        return torch.stack([total, torch.as_tensor(count, dtype=total.dtype, device=total.device)])

    def _read(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
        if not reads_classes(output, target, self._convention):
            raise TaskError(
                f"perplexity and bits_per_character are of scores of classes, not of an output {tuple(output.shape)} "
                f"for targets {tuple(target.shape)}"
            )
        is_by_number = self._convention.target != "scores"
        counts = None
        if is_by_number and self._convention.ignored and not is_cpu(output.device):
            # to take answers out is to wait for a GPU
            counts = counted(output, target, self._convention)
            scores, labels = read_classes(output, target, without_ignored(self._convention))
            labels = torch.where(counts, labels, 0)
        else:
            scores, labels = read_classes(output, target, self._convention)
        is_probability = self._convention.scale == "probabilities"
        scores = as_double(scores)
        logs = scores.log() if is_probability else scores.log_softmax(-1)
        if not is_by_number:
            shares = target.movedim(self._convention.axis, -1).reshape(logs.shape)
            # a class without a share counts nothing, even where its logarithm is -inf
            total = -torch.where(shares == 0, 0.0, shares * logs).sum()
        else:
            total = F.nll_loss(logs, labels.long(), reduction="sum")
        if counts is not None:
            each = F.nll_loss(logs, labels.long(), reduction="none")
            return torch.where(counts, each, 0.0).sum(), counts.sum()
        return total, len(labels)

    def result_of(self, sums: Tensor) -> float:
        """The metric that follows from sums; NaN where they are of no row."""
        total, count = sums.tolist()
        return self.finish(total / count) if count else math.nan

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        self._sum, self._count = float(self._sum), int(self._count)
        return self.finish(self._sum / self._count) if self._count else math.nan


class Correlation:
    """Pearson's correlation of outputs and targets; the mean over columns where there are several."""

    def __init__(self, convention: Convention | None = None) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        output, target = align(output, target)
        self._outputs.append(_columns(output))
        self._targets.append(_columns(target))

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        if not self._outputs:
            return math.nan
        outputs, targets = (
            torch.cat(parts).cpu().double() for parts in (self._outputs, self._targets)
        )
        pairs = zip(outputs.T, targets.T, strict=True)
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant has none: NaN
            values = [np.corrcoef(a.numpy(), b.numpy())[0, 1] for a, b in pairs]
        return float(np.mean(values))


def _columns(tensor: Tensor) -> Tensor:
    columns = tensor.shape[-1] if tensor.dim() > 1 else 1
    return as_double(tensor.detach()).reshape(-1, columns)


class Collected:
    """A user's function of all outputs and all targets."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self._function = function
        self._outputs: list[Any] = []
        self._targets: list[Any] = []

    def update(self, output: Any, target: Any) -> None:
        """Take one batch."""
        self._outputs.append(output)
        self._targets.append(target)

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        if not self._outputs:
            return math.nan
        return float(self._function(_join(self._outputs), _join(self._targets)))


def _join(batches: list[Any]) -> Any:
    try:
        return concatenate(batches)
    except RuntimeError as error:
        raise TaskError(
            f"a metric function is given all outputs and targets at once, and those of two batches do not go together, "
            f"{describe_parts(batches[0])} and {describe_parts(batches[-1])}: give evaluate=, which sees each batch"
        ) from error
