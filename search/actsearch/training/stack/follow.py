"""The metric on the training batches, of all members at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actsearch.task import Task
from actsearch.training.stack.losses import across

__all__ = ["Follower"]


class Follower:
    """Accumulates a task's metric for each member; nothing where the task does not follow it in training."""

    def __init__(self, task: Task, count: int) -> None:
        metric = task.resolved_metric
        follows = metric.for_training and metric.accumulator is not None and task.step is None
        make = metric.accumulator if follows else None
        self._is_loss = metric.name == "loss"
        self._members = [make() for _ in range(count)] if make else []
        self._score = getattr(self._members[0], "score", None) if self._members else None
        self._sum: Tensor | float = 0.0
        self._elements = 0
        self._count = count

    def update(self, outputs: Any, target: Any, dims: Any) -> None:
        """Take one batch.

        Args:
            outputs: shape ``(members, ...)``.
            target: shared by the members, or stacked.
            dims: the target's axis of members, or None.
        """
        if not self._members:
            return
        outputs = outputs.detach()
        if self._score is not None:
            every = across(outputs, target, dims).flatten(0, 1)
            scores = self._score(outputs.flatten(0, 1), every).view(self._count, -1)
            self._sum = self._sum + scores.sum(1, dtype=torch.float64)
            self._elements += scores.shape[1]
            return
        for index, member in enumerate(self._members):
            member.update(outputs[index], target if dims is None else target[index])

    def result(self, losses: list[float]) -> list[float | None]:
        """The metric of each member; None where it was not followed."""
        if self._is_loss:
            return list(losses)
        if isinstance(self._sum, Tensor):
            return [value / self._elements for value in self._sum.tolist()]
        return [member.result() for member in self._members] or [None] * self._count
