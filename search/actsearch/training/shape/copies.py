"""Copies of a model in training side by side, step by step: as one stack, or each by itself."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from actsearch.errors import TaskError
from actsearch.placement.random_streams import isolated_random
from actsearch.records import EpochRecord
from actsearch.seeds import derive
from actsearch.task import Batches, Task, on_device
from actsearch.training.attention import mappable_attention, plain_attention
from actsearch.training.diagnose import preserve_state
from actsearch.training.loop import TrainingRun
from actsearch.training.measures import NonFinite
from actsearch.training.passes import TrainingPasses
from actsearch.training.stack.model import Member, computes_memberwise
from actsearch.training.stack.stacked_run import StackedRun

__all__ = ["AloneCopies", "Copies", "Part", "StackedCopies"]

AfterStep = Callable[[], None]
Part = tuple[Task, Any]
"""A task with the training data that the weights of one copy see, and those that they do not."""


class Copies(Protocol):
    """What learning a shape asks of them."""

    def environment(self) -> contextlib.AbstractContextManager[Any]:
        """To be open while they train."""

    def train_to(self, evaluation: int, after_step: AfterStep) -> list[EpochRecord]:
        """Train all up to an evaluation, counted from 1; a record for each.

        Args:
            evaluation: see above.
            after_step: called whenever every copy has made one more step.

        Raises:
            NonFinite: a loss is not a number.
        """

    def on_held_data(self, use: Callable[[Tensor], None]) -> None:
        """Hand over each copy's loss on its next batch of the data that its weights do not see, ``(copies,)``.

        What this does to the copies, but to what they share, is undone.
        """


class AloneCopies:
    """Each with a loop of its own.

    Attributes:
        runs: of each copy.
    """

    def __init__(self, parts: Sequence[Part], members: Sequence[Member], evaluations: int) -> None:
        """Args:
        parts: for each copy.
        members: the copies.
        evaluations: after which the training ends.
        """
        self.runs = [
            TrainingRun(task, member.model, member.seed, member.lr, evaluations)
            for (task, _), member in zip(parts, members, strict=True)
        ]
        self._held = [
            _endless(*part, member.seed) for part, member in zip(parts, members, strict=True)
        ]
        self._seed = members[0].seed
        self._used = 0

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """See :meth:`Copies.environment`."""
        with isolated_random(derive(self._seed, "dropout")), plain_attention():
            yield

    def train_to(self, evaluation: int, after_step: AfterStep) -> list[EpochRecord]:
        """See :meth:`Copies.train_to`."""
        walks = [run.steps_to(evaluation) for run in self.runs]
        records: list[EpochRecord] = []
        while True:
            for walk in walks:
                try:
                    next(walk)
                except StopIteration as end:
                    records.append(end.value)
            if records:
                return records
            after_step()

    def on_held_data(self, use: Callable[[Tensor], None]) -> None:
        """See :meth:`Copies.on_held_data`."""
        self._used += 1
        batches = [next(stream) for stream in self._held]
        with contextlib.ExitStack() as stack:
            stack.enter_context(isolated_random(derive(self._seed, "curve", self._used)))
            for run in self.runs:
                stack.enter_context(preserve_state(run.model, in_training=True))
                stack.enter_context(_keeping(list(run.model.parameters())))
            losses = [run.loss(batch)[0] for run, batch in zip(self.runs, batches, strict=True)]
            use(_checked(torch.stack([loss.reshape(()) for loss in losses])))


class StackedCopies:
    """All in one pass."""

    def __init__(self, parts: Sequence[Part], members: Sequence[Member], evaluations: int) -> None:
        """As :class:`AloneCopies`.

        Raises:
            Unstackable: they cannot be trained together.
        """
        self._run = _SteppedStack(parts[0][0], members, evaluations)
        self._run.train_on([task for task, _ in parts])
        self._held = [
            _endless(*part, seed) for part, seed in zip(parts, self._run.model.seeds, strict=True)
        ]
        self._seed = members[0].seed
        self._used = 0

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """See :meth:`Copies.environment`."""
        mappable = mappable_attention(not computes_memberwise(self._run.device))
        with isolated_random(derive(self._seed, "dropout")), mappable:
            yield

    def train_to(self, evaluation: int, after_step: AfterStep) -> list[EpochRecord]:
        """See :meth:`Copies.train_to`."""
        self._run.after_step = after_step
        self._run.train_to(evaluation)
        if self._run.stopped:
            raise NonFinite(next(iter(self._run.stopped.values())))
        return [records[-1] for records in self._run.epochs]

    def on_held_data(self, use: Callable[[Tensor], None]) -> None:
        """See :meth:`Copies.on_held_data`."""
        self._used += 1
        batches = [next(stream) for stream in self._held]
        model = self._run.model
        with (
            _keeping(list(model.parameters.values())),
            isolated_random(derive(self._seed, "curve", self._used)),
            preserve_state(
                model.base, model.buffers.values(), in_training=True, beside=model.dropout_streams
            ),
        ):
            use(_checked(self._run.loss(batches)[0]))


class _SteppedStack(StackedRun):
    """A stack of which each member has training data of its own, and that says when it has made a step."""

    after_step: AfterStep

    def train_on(self, tasks: Sequence[Task]) -> None:
        """Take each seed's training data from a task of its own."""
        self.train = [
            Batches(
                on_device(task, "train", self.device),
                task.batch_size,
                self.device,
                derive(seed, "data"),
            )
            for task, seed in zip(tasks, self.model.seeds, strict=True)
        ]
        self.passes = [
            TrainingPasses(task, batches) for task, batches in zip(tasks, self.train, strict=True)
        ]

    def update(self, loss: Tensor) -> None:
        """One step of every copy, and what follows."""
        super().update(loss)
        if not self.stopped:
            self.after_step()


@contextlib.contextmanager
def _keeping(weights: Sequence[Tensor]) -> Iterator[None]:
    """Refuse that weights are written to meanwhile: they would be trained on what is held back from them.

    Raises:
        TaskError: they were.
    """
    before = [weight._version for weight in weights]
    yield
    if before != [weight._version for weight in weights]:
        raise TaskError(
            "the task's step changes weights by itself, as one with an optimizer of its own does, so that nothing can "
            "be held back from them for the shape of an activation to learn from: choose another strategy"
        )


def _endless(task: Task, held: Any, seed: int) -> Iterator[Any]:
    """Batches in an order of their own, again and again."""
    batches = Batches(held, task.batch_size, task.torch_device(), derive(seed, "held"))
    for _ in itertools.count():
        is_empty = True
        for batch in batches:
            is_empty = False
            yield batch
        if is_empty:
            raise TaskError("the part of the training data that is held back gives no batch")


def _checked(losses: Tensor) -> Tensor:
    for value in losses.detach().tolist():
        if not math.isfinite(value):
            raise NonFinite(f"the loss under the curve became {value}")
    return losses
