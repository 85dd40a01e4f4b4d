"""What a metric is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from actsearch.task.metrics.convention import Convention

__all__ = ["Accumulator", "Direction", "Metric", "Reads"]

Direction = Literal["maximize", "minimize"]
Reads = Literal["classes", "scores", "numbers", "function", ""]


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
        accumulator: makes an accumulator for one pass, given how outputs and targets are read.
        for_training: whether it is also followed on the training batches.
        reads: what outputs and targets are to it: "classes" that are right or wrong, "scores" of more than two classes,
            "numbers"; "function" for one of the user's, which is given them as they are; "" where it needs none.
        of_loss: the metric where there is a loss alone, as of ``step``; None where that does not say it.
        described: what a task's description calls it, where that is not its name.
    """

    name: str
    direction: Direction | None
    accumulator: Callable[..., Accumulator] | None
    for_training: bool = True
    reads: Reads = ""
    of_loss: Callable[[float], float] | None = None
    described: str = ""

    def bind(self, convention: Convention) -> Metric:
        """The same metric, reading outputs and targets in one way."""
        if self.accumulator is None or self.reads == "function":
            return self
        made: Callable[..., Any] = functools.partial(self.accumulator, convention)
        return dataclasses.replace(self, accumulator=made)
