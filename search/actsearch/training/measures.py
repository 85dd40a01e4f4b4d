"""Loss and metric over one pass through a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from actsearch.task import Accumulator, Metric, Task
from actsearch.task.nested import children, map_leaves

__all__ = [
    "Measures",
    "NonFinite",
    "autocast_for",
    "count_samples",
    "derived_value",
    "detach",
    "follows_metric",
    "full_precision",
]


class NonFinite(Exception):
    """A loss or metric that is not a number; carries where."""


@dataclass
class Measures:
    """Sums over one pass through a data set."""

    metric: Metric
    accumulator: Accumulator | None
    loss_sum: Tensor | float = 0.0
    samples: int = 0
    named: dict[str, float] = field(default_factory=dict)
    more: Mapping[str, Accumulator] = field(default_factory=dict)
    has_outputs: bool = False

    @classmethod
    def of(cls, metric: Metric, more: Mapping[str, Accumulator] | None = None) -> Measures:
        """With an accumulator of the metric, if it has one, and further ones by name."""
        return cls(metric, metric.accumulator and metric.accumulator(), more=more or {})

    def add(self, loss: Tensor | float, output: Any, target: Any, size: int) -> None:
        """Take one batch of so many samples; its loss as a float or in double precision."""
        self.loss_sum = self.loss_sum + loss * size
        self.samples += size
        if self.accumulator is not None and output is not None:
            self.has_outputs = True
            self.accumulator.update(output, target)
        for accumulator in self.more.values():
            accumulator.update(output, target)

    @property
    def loss(self) -> float | None:
        """Mean loss; None before the first batch."""
        self.loss_sum = float(self.loss_sum)  # read once from a GPU
        return self.loss_sum / self.samples if self.samples else None

    @property
    def value(self) -> float | None:
        """The metric; None where it was not followed."""
        if self.named:
            return self.named.get(self.metric.name)
        if self.metric.name == "loss":
            return self.loss
        if self.accumulator is None or not self.samples:
            return None
        if not self.has_outputs:
            return derived_value(self.metric, self.loss)
        return self.accumulator.result()

    def check(self, where: str) -> None:
        """NonFinite if a measure is not a number."""
        for name, value in (("loss", self.loss), (self.metric.name, self.value)):
            if value is not None and not math.isfinite(value):
                raise NonFinite(f"{name} became {value} in {where}")

    def as_metrics(self) -> Mapping[str, float]:
        """Every measure, the optimised one first; NonFinite if that is not a number."""
        metrics = {} if self.loss is None else {"loss": self.loss}
        metrics |= self.named | {name: item.result() for name, item in self.more.items()}
        value = self.value
        if value is None or not math.isfinite(value):
            raise NonFinite(f"{self.metric.name} is {value} at the end")
        # named twice: the first sets its place in the order, the last its value
        return {self.metric.name: value, **metrics, self.metric.name: value}


def derived_value(metric: Metric, loss: float | None) -> float | None:
    """A metric that the loss alone tells; None for one of outputs."""
    return None if metric.of_loss is None or loss is None else metric.of_loss(loss)


def follows_metric(task: Task) -> bool:
    """Whether a task's metric is measured on the training batches too."""
    metric = task.resolved_metric
    return metric.for_training and metric.accumulator is not None and task.step is None


def autocast_for(task: Task, device: torch.device) -> torch.autocast:
    """Mixed precision, if the task asks for it."""
    dtype = task.amp_dtype or torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=task.amp is not None)


def full_precision(output: Any) -> Any:
    """Metrics, above all a user's, are not made for the half precision of autocast."""
    return map_leaves(output, _float_if_half)


def _float_if_half(leaf: Any) -> Any:
    is_half = isinstance(leaf, Tensor) and leaf.dtype in (torch.bfloat16, torch.float16)
    return leaf.float() if is_half else leaf


def detach(value: Any) -> Any:
    """An output without its history, which a pass over the validation data would keep; in any nesting."""
    return map_leaves(value, lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf)


def count_samples(batch: Any) -> int:
    """Number of samples in a batch: the length of the first part that has one, 1 where none has."""
    return _count(batch) or 1


def _count(item: Any) -> int:
    """Length of the first axis that is found; 0 for none."""
    if isinstance(item, PackedSequence):  # its first step in time has all sequences
        return int(item.batch_sizes[0])
    if isinstance(item, Tensor):
        return len(item) if item.dim() else 0
    return next((count for _, part in children(item) or () if (count := _count(part))), 0)
