"""Trainings of one task put together into stacks, and what cannot be put together told apart."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.run import prepared
from actsearch.records import CandidateRecord
from actsearch.task import Task
from actsearch.training import TrainingResult
from actsearch.training.loop import Fit, seed_streams
from actsearch.training.stack import Member, StackedFit, Unstackable, check_stack, fit_stack

__all__ = ["Stacker", "Training"]

_log = logging.getLogger("actsearch")

_CHECKED = 3  # members that are compared with single training
_LARGEST = 128  # members of a stack; more gain little and cost memory


@dataclass(frozen=True)
class Training:
    """One training that is asked for: a candidate, a seed, a learning rate."""

    record: CandidateRecord
    seed: int
    lr: float

    @property
    def key(self) -> tuple[Any, ...]:
        """Sorts what can be computed together next to each other."""
        activations = sorted(
            (path, item.formula) for path, item in self.record.activations.items()
        )
        return (self.lr, activations, self.record.label)


@dataclass
class Stacker:
    """Trains several candidates of one task in one pass, where that is known to give what single training gives.

    Attributes:
        task: whose model is trained.
        refusal: why nothing of this task is stacked; empty while it is.
        bit_equal: whether all stacks so far were checked to be equal to single training to the last bit.
        largest: most members of a stack; halved when memory runs out.
    """

    task: Task
    refusal: str = ""
    bit_equal: bool = True
    largest: int = _LARGEST
    _trusted: set[Any] = field(default_factory=set)

    def train(
        self, trainings: Sequence[Training], *, on_test: bool
    ) -> list[TrainingResult | None]:
        """Train what can be trained together.

        Returns:
            A result for each; None for one that has to be trained alone.
        """
        results: list[TrainingResult | None] = [None] * len(trainings)
        if self.refusal:
            return results
        for indices in self._stacks(trainings):
            found = self._train_stack([trainings[index] for index in indices], on_test)
            for index, result in zip(indices, found, strict=True):
                results[index] = result
        return results

    def _stacks(self, trainings: Sequence[Training]) -> list[list[int]]:
        """Positions of those that go together, in stacks of nearly equal size."""
        order = sorted(range(len(trainings)), key=lambda index: (trainings[index].key, index))
        count = -(-len(order) // self.largest)
        share = -(-len(order) // max(count, 1))
        return [order[start : start + share] for start in range(0, len(order), max(share, 1))]

    def _train_stack(
        self, trainings: Sequence[Training], on_test: bool
    ) -> list[TrainingResult | None]:
        results: list[TrainingResult | None] = [None] * len(trainings)
        members = [_member(self.task, training) for training in trainings]
        groups: dict[Any, list[int]] = {}
        for index, member in enumerate(members):
            if member is not None:
                groups.setdefault(_signature(member), []).append(index)
        for signature, indices in groups.items():
            if len(indices) < 2 or not self._trusts(signature, [trainings[i] for i in indices]):
                continue
            stack: list[Any] = [members[index] for index in indices]
            for index, result in zip(indices, self._fit(stack, on_test), strict=True):
                results[index] = result
        return results

    def _fit(self, members: Sequence[Member], on_test: bool) -> Sequence[TrainingResult | None]:
        try:
            return fit_stack(self.task, members, on_test=on_test)
        except Exception as error:
            if is_out_of_memory(error) and len(members) > 2:
                self.largest = max(2, len(members) // 2)
                _log.warning(
                    "a stack of %d trainings needs more memory than there is: %d from now on",
                    len(members), self.largest,
                )  # fmt: skip
            else:
                self._refuse(error)
            return [None] * len(members)

    def _trusts(self, signature: Any, trainings: Sequence[Training]) -> bool:
        """Whether models of this structure may be stacked; found out where it is first asked."""
        if self.refusal:
            return False
        if signature not in self._trusted:
            last = len(trainings) - 1
            picked = sorted({round(last * share / (_CHECKED - 1)) for share in range(_CHECKED)})
            try:
                self._check([trainings[index] for index in picked])
            except Exception as error:
                self._refuse(error)
                return False
            self._trusted.add(signature)
        return True

    def _check(self, trainings: Sequence[Training]) -> None:
        given = [Training(item.record, item.seed, self.task.lr) for item in trainings]
        members = [_member(self.task, item, strict=True) for item in given]
        alone = [_member(self.task, item, strict=True) for item in given]
        self.bit_equal &= check_stack(
            self.task, [m for m in members if m], [m.model for m in alone if m]
        )

    def _refuse(self, error: Exception) -> None:
        text = str(error).strip().splitlines()
        reason = text[0] if text else type(error).__name__
        self.refusal = (
            reason if isinstance(error, Unstackable) else f"{type(error).__name__}: {reason}"
        )
        _log.info(
            "candidates are trained one at a time, since this task cannot be stacked: %s",
            self.refusal,
        )

    def gain(self, trainings: Sequence[Training], steps: int = 3) -> float:
        """How many times faster a training step is in a stack, measured; 0 where there is no stack."""
        members = [_member(self.task, training) for training in trainings[: self.largest]]
        stack = [member for member in members if member is not None]
        if len(stack) < 2 or not self._trusts(_signature(stack[0]), trainings[: len(stack)]):
            return 0.0
        alone = _member(self.task, trainings[0], strict=True)
        assert alone is not None
        signature = _signature(stack[0])
        stack = [member for member in stack if _signature(member) == signature]
        together = _step_seconds(StackedFit(self.task, stack), steps) / len(stack)
        return _step_seconds(Fit(self.task, alone.model, alone.seed), steps) / together


def _member(task: Task, training: Training, strict: bool = False) -> Member | None:
    """A training's model, ready to be stacked; None if it cannot be built, which training it alone will explain."""
    try:
        placement = prepared(task, Candidate(training.record), training.seed, opened=True)
        model = placement.model.to(task.torch_device())
        seed_streams(model, training.seed)
    except Exception:
        if strict:
            raise
        return None
    return Member(
        model, tuple(item.path for item in placement.replaced), training.seed, training.lr
    )


def _signature(member: Member) -> Any:
    """Equal for models that can be stacked: the same sites, and weights of the same shapes."""
    inside = tuple(f"{path}." for path in member.paths)
    shapes = tuple(
        (name, tuple(value.shape), value.dtype)
        for name, value in member.model.named_parameters()
        if not name.startswith(inside)
    )
    return member.paths, shapes


def _step_seconds(fit: Any, steps: int) -> float:
    """Median seconds of a training step, after one that warms up."""
    seconds = []
    fit.model.train()
    source = zip(*fit.train, strict=True) if isinstance(fit.train, list) else iter(fit.train)
    for _, batch in zip(range(steps + 1), source, strict=False):
        started = time.perf_counter()
        loss = fit.loss(batch)[0]
        loss.detach().cpu()
        fit.update(loss)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    later = sorted(seconds[1:] or seconds)
    return later[len(later) // 2]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in the main memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
