"""Trainings of one task put together into stacks, and what cannot be put together told apart."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actsearch.activation import describe
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.run import parameters_added, prepared
from actsearch.records import CandidateRecord
from actsearch.task import Task
from actsearch.training import TrainingResult, fit
from actsearch.training.loop import seed_streams
from actsearch.training.memory import is_out_of_memory
from actsearch.training.stack import Member, Unstackable, Watch, check_stack, fit_together

__all__ = ["LARGEST_STACK", "MEASURED", "Stacker", "Training"]

_log = logging.getLogger("actsearch")

_PROBES = (
    "relu",
    "sin",
    "x*sigmoid(param(1.0)*x)",
)  # their training together is compared with single training
MEASURED = 32  # members of the stack whose speed is measured
_STEPS = 5  # training steps of that measurement
LARGEST_STACK = 128  # members of a stack; more gain little and cost memory


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
        largest: most members of a stack; halved when memory runs out.
        side_by_side: stacks that may be trained at the same time, each with one of torch's threads.
        differences: for each structure of models that was checked, why a stack of them may give other last bits than
            single training; empty if it does not.
    """

    task: Task
    refusal: str = ""
    largest: int = LARGEST_STACK
    side_by_side: int = 1
    differences: dict[Any, str] = field(default_factory=dict)

    @property
    def bit_equal(self) -> bool:
        """Whether all stacks so far were found equal to single training to the last bit."""
        return not any(self.differences.values())

    def train(
        self,
        trainings: Sequence[Training],
        *,
        on_test: bool,
        watch: Watch | None = None,
        inexact: bool = False,
    ) -> list[TrainingResult | None]:
        """Train what can be trained together.

        Args:
            trainings: one for each candidate and seed.
            on_test: whether to measure on test data.
            watch: which of them leave before their end.
            inexact: whether also stacks that may give other last bits than single training are wanted.

        Returns:
            A result for each; None for one that has to be trained alone.
        """
        results: list[TrainingResult | None] = [None] * len(trainings)
        if self.refusal:
            return results
        for indices in self._stacks(trainings):
            own = watch and watch.within(indices)
            found = self._train_stack(
                [trainings[index] for index in indices], on_test, own, inexact
            )
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
        self, trainings: Sequence[Training], on_test: bool, watch: Watch | None, inexact: bool
    ) -> list[TrainingResult | None]:
        results: list[TrainingResult | None] = [None] * len(trainings)
        members = [_member(self.task, training) for training in trainings]
        groups: dict[Any, list[int]] = {}
        for index, member in enumerate(members):
            if member is not None:
                groups.setdefault(_signature(member), []).append(index)
        for signature, indices in groups.items():
            own = [trainings[index] for index in indices]
            if len(indices) < 2 or not self._allows(signature, own, inexact):
                continue
            stack: list[Any] = [members[index] for index in indices]
            found = self._fit(stack, on_test, watch and watch.within(indices))
            for index, result in zip(indices, found, strict=True):
                results[index] = result
        return results

    def _fit(
        self, members: Sequence[Member], on_test: bool, watch: Watch | None
    ) -> Sequence[TrainingResult | None]:
        try:
            return fit_together(
                self.task,
                members,
                on_test=on_test,
                watch=watch,
                diagnose=not on_test,
                side_by_side=self.side_by_side,
            )
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

    def _allows(self, signature: Any, trainings: Sequence[Training], inexact: bool) -> bool:
        """Whether models of this structure may be stacked; found out where it is first asked.

        On a GPU also where that gives other last bits: there it is most of the speed.
        """
        if self.refusal:
            return False
        if signature not in self.differences:
            try:
                self.differences[signature] = self._check(self._probes(signature, trainings))
            except Exception as error:
                self._refuse(error)
                return False
            self._say(self.differences[signature])
        is_gpu = self.task.torch_device().type != "cpu"
        return inexact or is_gpu or not self.differences[signature]

    def _probes(self, signature: Any, trainings: Sequence[Training]) -> list[Training]:
        """What is compared with single training: always the same for models of one structure.

        What is found then does not depend on which candidates happen to come first.
        """
        first = trainings[0].record
        probes = [
            Training(first.uniform(describe(name)), seed, self.task.lr)
            for seed, name in enumerate(_PROBES)
        ]
        members = [_member(self.task, item) for item in probes]
        if all(item is not None and _signature(item) == signature for item in members):
            return probes
        # a candidate that makes the layers before it wider is like itself alone
        return [Training(first, seed, self.task.lr) for seed in range(len(_PROBES))]

    def _check(self, given: Sequence[Training]) -> str:
        members = [_member(self.task, item, strict=True) for item in given]
        alone = [_member(self.task, item, strict=True) for item in given]
        return check_stack(self.task, [m for m in members if m], [m.model for m in alone if m])

    def _say(self, difference: str) -> None:
        if not difference:
            return
        if self.task.torch_device().type == "cpu":
            _log.info(
                "trained together, candidates of this task may get other last digits than one at a time, since %s: "
                "they are trained one at a time unless the executor is given a batch",
                difference,
            )
        else:
            _log.info(
                "on a GPU, what is trained together may get other last digits than one at a time, and with them other "
                "trials follow: acs.Local(batch=1) trains one at a time"
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

    def gain(self, trainings: Sequence[Training]) -> float:
        """How many times faster a training is in a stack, measured over a few steps; 0 where there is no stack."""
        picked = trainings[: min(self.largest, MEASURED)]
        stack = self._alike(picked)
        if len(stack) < 2 or not self._allows(_signature(stack[0]), picked, inexact=False):
            return 0.0
        self._timed(stack, picked[0])  # what runs first pays for what torch loads only then
        return self._timed(self._alike(picked), picked[0])

    def _alike(self, trainings: Sequence[Training]) -> list[Member]:
        """Models, ready to be stacked, of those trainings that go together with the first."""
        built = [_member(self.task, training) for training in trainings]
        members = [member for member in built if member is not None]
        return [member for member in members if _signature(member) == _signature(members[0])]

    def _timed(self, stack: Sequence[Member], training: Training) -> float:
        """Seconds of a few steps alone, as a multiple of those in a stack."""
        alone = _member(self.task, training, strict=True)
        assert alone is not None
        short = _shortened(self.task)
        started = time.perf_counter()
        fit(short, alone.model, alone.seed)
        between = time.perf_counter()
        fit_together(short, stack, side_by_side=self.side_by_side)
        return (between - started) * len(stack) / (time.perf_counter() - between)


def _member(task: Task, training: Training, strict: bool = False) -> Member | None:
    """A training's model, ready to be stacked; None if it cannot be built, which training it alone will explain."""
    try:
        candidate = Candidate(training.record)
        placement = prepared(task, candidate, training.seed, opened=True)
        model = placement.model.to(task.torch_device())
        seed_streams(model, training.seed)
    except Exception:
        if strict:
            raise
        return None
    paths = tuple(item.path for item in placement.replaced)
    return Member(model, paths, training.seed, training.lr, parameters_added(task, model))


def _signature(member: Member) -> Any:
    """Equal for models that can be stacked: the same sites, and weights of the same shapes."""
    inside = tuple(f"{path}." for path in member.paths)
    shapes = tuple(
        (name, tuple(value.shape), value.dtype)
        for name, value in member.model.named_parameters()
        if not name.startswith(inside)
    )
    return member.paths, shapes


def _shortened(task: Task) -> Task:
    """A few steps of the same training; a whole epoch where the data cannot be cut."""
    if not isinstance(task.train, tuple):
        return task.replace(epochs=1, schedule=None)
    rows = _STEPS * task.batch_size
    train = tuple(tensor[:rows] for tensor in task.train)
    return task.replace(epochs=1, schedule=None, train=train, valid=train)
