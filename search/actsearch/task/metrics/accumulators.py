"""Metrics gathered over batches, so that what needs no more than sums holds no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from actsearch.errors import TaskError
from actsearch.task.metrics.convention import Convention, align, read_classes, reads_classes
from actsearch.task.nested import concatenate, describe_parts

__all__ = ["Collected", "Correlation", "Likelihood", "Mean", "R2"]

Score = Callable[[Tensor, Tensor], Tensor]


def _same(value: float) -> float:
    return value


class Mean:
    """Mean over elements of a per-element score.

    Attributes:
        score: of outputs and targets, one number for each answer.
        finish: makes the metric of the mean.
    """

    def __init__(self, score: Score, finish: Callable[[float], float] = _same) -> None:
        self.score = score
        self.finish = finish
        self._sum: Tensor | float = 0.0
        self._count = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        scores = self.score(output, target)
        self._sum = self._sum + scores.sum(dtype=torch.float64)
        self._count += scores.numel()

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        return self.finish(float(self._sum) / self._count) if self._count else math.nan


class R2:
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
        target, output = align(output, target)[::-1]
        y, residual = target.double(), (target - output).double()
        if y.dim() == 2 and y.shape[1] > 1:
            self._origin = y[0] if self._origin is None else self._origin
            y = y - self._origin
            sums = torch.stack([part.sum(0) for part in (y, y.square(), residual.square())])
            self._count += len(y)
        else:
            sums = torch.stack([y.sum(), y.square().sum(), residual.square().sum()])
            self._count += y.numel()
        self._sums = sums.cpu() if self._sums is None else self._sums + sums.cpu()

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
        if self._sums is None:
            return math.nan
        total, squares, residual = self._sums
        variation = squares - total * total / self._count
        if self._origin is None:
            return float(1 - residual / variation) if variation > 0 else math.nan
        fit = 1 - residual / variation
        fit = torch.where(variation > 0, fit, (residual == 0).double())
        return float(torch.where(residual.isfinite(), fit, math.nan).mean())


class Likelihood:
    """Mean negative log likelihood of the right class in nats, over all answers that count.

    Of targets that are shares of the classes it is the mean cross entropy.

    Attributes:
        finish: makes the metric of the mean.
    """

    def __init__(self, finish: Callable[[float], float], convention: Convention) -> None:
        self.finish = finish
        self._convention = convention
        self._sum = 0.0
        self._count = 0

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take one batch."""
        if not reads_classes(output, target, self._convention):
            raise TaskError(
                f"perplexity and bits_per_character are of scores of classes, not of an output {tuple(output.shape)} "
                f"for targets {tuple(target.shape)}"
            )
        scores, labels = read_classes(output, target, self._convention)
        is_probability = self._convention.scale == "probabilities"
        logs = scores.double().log() if is_probability else scores.double().log_softmax(-1)
        if self._convention.target == "scores":
            shares = target.movedim(self._convention.axis, -1).reshape(logs.shape)
            # a class without a share counts nothing, even where its logarithm is -inf
            self._sum -= float(torch.where(shares == 0, 0.0, shares * logs).sum())
        else:
            self._sum += float(F.nll_loss(logs, labels.long(), reduction="sum"))
        self._count += len(labels)

    def result(self) -> float:
        """The metric so far; NaN before the first batch."""
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
        pairs = zip(torch.cat(self._outputs).T, torch.cat(self._targets).T, strict=True)
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant has none: NaN
            values = [np.corrcoef(a.numpy(), b.numpy())[0, 1] for a, b in pairs]
        return float(np.mean(values))


def _columns(tensor: Tensor) -> Tensor:
    columns = tensor.shape[-1] if tensor.dim() > 1 else 1
    return tensor.detach().double().cpu().reshape(-1, columns)


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
