"""Loss and metric of all members at once: one call where each member would take several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actsearch.devices import as_double, is_cpu, widest_float
from actsearch.task import Metric
from actsearch.task.metrics.accumulators import Mean
from actsearch.training.measures import Measures, derived_value, detach
from actsearch.training.stack.batches import unstack

__all__ = [
    "Loss",
    "StackedMeasures",
    "StackedMetric",
    "has_class_scores",
    "loss_for_all",
    "stack_target",
    "with_value",
]

Loss = Callable[[Tensor, Tensor], Tensor]

_IGNORED = -100  # the default of ignore_index in torch's losses


def loss_for_all(loss: Any) -> Loss | None:
    """A task's loss as a function of ``(members, samples, classes)`` and classes that gives ``(members,)``.

    None for what is not cross entropy with its default settings, torch's most used loss. Gradients are equal to the
    last bit, values are not.
    """
    is_module = type(loss) is nn.CrossEntropyLoss and vars(loss) == vars(nn.CrossEntropyLoss())
    return _cross_entropy if is_module or loss is F.cross_entropy else None


def has_class_scores(output: Any, target: Any, dims: int | None) -> bool:
    """Whether outputs and targets are scores of classes, ``(members, samples, classes)``, and numbers of classes."""
    return (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and output.dim() == 3
        and target.dim() == (1 if dims is None else 2)
        and not target.is_floating_point()
    )


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """F.cross_entropy by member: the mean over the samples whose class is not to be ignored."""
    rows = F.cross_entropy(output.flatten(0, 1), target.flatten(0, 1), reduction="none")
    sums = rows.view(output.shape[0], -1).sum(1)
    return sums / (target != _IGNORED).flatten(1).sum(1)


def stack_target(output: Tensor, target: Tensor, dims: int | None) -> Tensor:
    """A target as the members' outputs need it: ``(members, ...)``; a view of one that all share."""
    return target.expand(output.shape[0], *target.shape) if dims is None else target


def with_value(loss: Tensor, value: Tensor) -> Tensor:
    """A number with one loss's gradient and another's value."""
    swapped: Tensor = _WithValue.apply(loss, value)  # type: ignore[no-untyped-call]
    return swapped


class _WithValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class StackedMetric:
    """Accumulates a task's metric on the training batches for each member, where the task follows it."""

    def __init__(
        self, metric: Metric, count: int, ignored: Sequence[int], *, is_followed: bool
    ) -> None:
        make = metric.accumulator if is_followed else None
        self._metric = metric
        self._members = [make() for _ in range(count)] if make else []
        self._mean = self._members[0] if self._members else None
        self._ignored = ignored
        self._sum: Tensor | float = 0.0
        self._elements: Tensor | float = 0.0
        self._is_summed = False
        self._count = count

    def update(self, outputs: Any, target: Any, dims: int | None) -> None:
        """Take one batch.

        Args:
            outputs: shape ``(members, ...)``; anything else, as an auxiliary head gives, is for the loss alone.
            target: shared by the members, or stacked.
            dims: the target's axis of members, or None.
        """
        if not self._members or not isinstance(outputs, Tensor):
            return
        outputs = outputs.detach()
        if isinstance(self._mean, Mean):
            self._add_scores(self._mean, outputs, target, dims)
            return
        for index, member in enumerate(self._members):
            member.update(outputs[index], target if dims is None else target[index])

    def update_each(self, outputs: Sequence[Any], target: Any) -> None:
        """Take one batch, with each member's outputs as its model gives them."""
        for member, own in zip(self._members, outputs, strict=False):
            member.update(detach(own), target)

    def result(self, losses: list[float]) -> list[float | None]:
        """The metric of each member, read once from a GPU; None where it was not followed, or is no number."""
        if self._metric.name == "loss":
            return list(losses)
        if isinstance(self._mean, Mean) and self._is_summed:
            sums, elements = _read(self._sum), _read(self._elements)
            if not bool((elements > 0).all()):
                return [None] * self._count
            return [self._mean.finish(value) for value in (sums / elements).tolist()]
        if not self._members:
            return [None] * self._count
        values = [member.result() for member in self._members]
        return [None if math.isnan(value) else value for value in values]

    def _add_scores(self, mean: Mean, outputs: Tensor, target: Tensor, dims: int | None) -> None:
        self._is_summed = True
        dtype = widest_float(outputs.device)
        targets = stack_target(outputs, target, dims).flatten(0, 1)
        # scores are 0 and 1 or taken for each sample: one call, and a sum for each member
        if not is_cpu(outputs.device) and mean.weigh is not None:
            scores, counts = mean.weigh(outputs.flatten(0, 1), targets)
            self._sum = self._sum + (scores * counts).view(self._count, -1).sum(1, dtype=dtype)
            self._elements = self._elements + counts.view(self._count, -1).sum(1)
            return
        if not is_cpu(outputs.device) or not _holds(target, self._ignored):
            scores = mean.score(outputs.flatten(0, 1), targets).view(self._count, -1)
            self._sum = self._sum + scores.sum(1, dtype=dtype)
            self._elements = self._elements + scores.shape[1]
            return
        own = [
            mean.score(outputs[index], target if dims is None else target[index])
            for index in range(self._count)
        ]  # each leaves out labels of its own
        self._sum = self._sum + torch.stack([scores.sum(dtype=dtype) for scores in own])
        self._elements = self._elements + torch.tensor([scores.numel() for scores in own])


def _read(value: Tensor | float) -> Tensor:
    """In double precision on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu().double()
    return torch.tensor(value, dtype=torch.float64)


def _holds(target: Tensor, labels: Sequence[int]) -> bool:
    return any(bool((target == label).any()) for label in labels)


class StackedMeasures:
    """Loss and metrics of all members over one pass through a data set, one call of each for all."""

    def __init__(
        self, metric: Metric, more: Sequence[Metric], count: int, ignored: Sequence[int]
    ) -> None:
        """Args:
        metric: the optimised one.
        more: further ones, bound like it to how outputs and targets are read.
        count: of members.
        ignored: labels that do not count.
        """
        self._metric = metric
        self._count = count
        self._each = [
            (item, StackedMetric(item, count, ignored, is_followed=True))
            for item in (metric, *more)
        ]
        self._losses: Tensor | float = 0.0
        self._samples = 0
        self._has_outputs = False

    def add(self, losses: Tensor, outputs: Any, target: Any, size: int) -> None:
        """Take one batch that all members share: losses ``(members,)``, outputs ``(members, ...)``, and its samples."""
        self._losses = self._losses + as_double(losses.detach()) * size
        self._samples += size
        if outputs is None:
            return
        self._has_outputs = True
        each = None if isinstance(outputs, Tensor) else unstack(outputs, self._count)
        for _, item in self._each:
            if each is None:
                item.update(outputs, target, None)
            else:
                item.update_each(each, target)

    def result(self, rows: Sequence[int]) -> dict[int, Measures]:
        """The measures of some members, as those of one model are."""
        means = (_read(self._losses) / max(self._samples, 1)).tolist()
        columns = {metric.name: (metric, item.result(means)) for metric, item in self._each}
        found = {}
        for row in rows:
            named = {
                name: self._value(metric, values[row], means[row])
                for name, (metric, values) in columns.items()
            }
            found[row] = Measures(
                self._metric, None, means[row] * self._samples, self._samples, named
            )
        return found

    def _value(self, metric: Metric, value: float | None, loss: float) -> float:
        if value is None and not self._has_outputs:
            value = derived_value(metric, loss)
        return math.nan if value is None else value
