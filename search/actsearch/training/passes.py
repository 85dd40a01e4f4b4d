"""The training batches from one evaluation to the next: an epoch, or so many steps through data that begin anew."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from actsearch.errors import TaskError
from actsearch.task import Batches, Task

__all__ = ["TrainingPasses"]


class TrainingPasses:
    """The batches of one training, in the order of its seed."""

    def __init__(self, task: Task, batches: Batches) -> None:
        self._task = task
        self._batches = batches
        self._stream: Iterator[Any] | None = None

    def before(self, evaluation: int) -> Iterator[Any]:
        """The batches that lead to an evaluation, counted from 1; to be asked for in order.

        Raises:
            TaskError: the training data give no batch.
        """
        if self._task.steps is None:
            return iter(self._batches)
        if self._stream is None:
            self._stream = self._repeat()
        return itertools.islice(self._stream, self._count(evaluation))

    def place(self, evaluation: int, batch: int) -> str:
        """Where in the training a batch is, counted from 1 since the last evaluation, for messages."""
        if self._task.steps is None:
            return f"epoch {evaluation}, step {batch}"
        return f"step {self._task.position(evaluation) - self._count(evaluation) + batch}"

    def _count(self, evaluation: int) -> int:
        before = 0 if evaluation == 1 else self._task.position(evaluation - 1)
        return self._task.position(evaluation) - before

    def _repeat(self) -> Iterator[Any]:
        for passes in itertools.count():
            is_empty = True
            for batch in self._batches:
                is_empty = False
                yield batch
            if is_empty and passes:
                raise TaskError(
                    "train data give no batch when they are begun anew: a stream has to give its items each time "
                    "that it is iterated, not once"
                )
            if is_empty:
                raise TaskError("train data gives no batch")
