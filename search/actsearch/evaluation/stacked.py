"""Trainings of one task put together into stacks, and those that cannot be stacked set apart."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from actsearch.activations import describe
from actsearch.devices import with_peak_memory
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.request import LARGEST_STACK
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import CandidateRecord
from actsearch.task import Task
from actsearch.training import TrainingResult, fit
from actsearch.training.convention import keep_reading
from actsearch.training.loop import seed_streams
from actsearch.training.memory import is_out_of_memory, members_that_fit
from actsearch.training.stack import ExitRule, Member, Unstackable, check_stack, fit_together

__all__ = ["MEASURED", "Stacker", "Training"]

_log = logging.getLogger("actsearch")

# Their training together is compared with single training: one that is exact, one approximated, one that learns.
_PROBES = ("relu", "sin", "x*sigmoid(param(1.0)*x)")
MEASURED = 32  # members of the stack whose speed is measured
_STEPS = 5  # training steps of that measurement


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


class Stacker:
    """Trains several candidates of one task in one pass, where that is known to give what single training gives.

    What is found out about stacks of the task is kept with its analysis.

    Attributes:
        largest: most members of a stack; halved when memory runs out.
    """

    def __init__(
        self,
        analysis: TaskAnalysis,
        *,
        largest: int = LARGEST_STACK,
        on_test: bool = False,
        inexact: bool = False,
        epochs: int | None = None,
        diagnose: bool = True,
    ) -> None:
        """Args:
        analysis: of the task whose model is trained.
        largest: see above.
        on_test: whether to measure on test data.
        inexact: whether also stacks that may give other last bits than single training are wanted.
        epochs: evaluations of each training; the task's own by default.
        diagnose: whether sites are measured; on test data they never are.
        """
        self.largest = min(largest, analysis.findings.most_members or largest)
        self._analysis = analysis
        self._task = analysis.task
        self._findings = analysis.findings
        self._on_test = on_test
        self._inexact = inexact
        self._epochs = epochs
        self._diagnose = diagnose and not on_test
        # small stacks are trained side by side, a large one takes all threads for each operation
        threads = torch.get_num_threads()
        self._side_by_side = threads if threads > 1 and analysis.is_small else 1

    def train(
        self, trainings: Sequence[Training], exit_rule: ExitRule | None = None
    ) -> list[TrainingResult | None]:
        """Train what can be trained together.

        Args:
            trainings: one for each candidate and seed.
            exit_rule: which of them leave before their end.

        Returns:
            A result for each; None for one that has to be trained alone.
        """
        results: list[TrainingResult | None] = [None] * len(trainings)
        if self._findings.stack_refusal:
            return results
        for indices in self._stacks(trainings):
            own = exit_rule and exit_rule.within(indices)
            stack = self._train_stack([trainings[index] for index in indices], own)
            for index, result in zip(indices, stack, strict=True):
                results[index] = result
        return results

    def _stacks(self, trainings: Sequence[Training]) -> list[list[int]]:
        """Positions of those that go together, in stacks of nearly equal size."""
        order = sorted(range(len(trainings)), key=lambda index: (trainings[index].key, index))
        count = -(-len(order) // self.largest)
        share = -(-len(order) // max(count, 1))
        return [order[start : start + share] for start in range(0, len(order), max(share, 1))]

    def _train_stack(
        self, trainings: Sequence[Training], exit_rule: ExitRule | None
    ) -> list[TrainingResult | None]:
        results: list[TrainingResult | None] = [None] * len(trainings)
        members = [self.member(training) for training in trainings]
        groups: dict[Any, list[int]] = {}
        for index, member in enumerate(members):
            if member is not None:
                groups.setdefault(_signature(member), []).append(index)
        for signature, indices in groups.items():
            own = [trainings[index] for index in indices]
            if len(indices) < 2 or not self._allows(signature, own):
                continue
            stack: list[Any] = [members[index] for index in indices]
            for index in indices:
                members[index] = (
                    None  # they are used up, and their memory is given back with the stack's
                )
            rule = exit_rule and exit_rule.within(indices)
            # memory ran out meanwhile
            is_too_large = len(stack) > self.largest
            trained = self._fit_parts(own, rule) if is_too_large else self._fit(own, stack, rule)
            for index, result in zip(indices, trained, strict=True):
                results[index] = result
        return results

    def _fit(
        self, trainings: Sequence[Training], members: list[Member], exit_rule: ExitRule | None
    ) -> Sequence[TrainingResult | None]:
        """Train a stack, or, where memory runs out, its parts one after the other."""
        count = len(members)
        try:
            return fit_together(
                self._task,
                members,
                on_test=self._on_test,
                exit_rule=exit_rule,
                diagnose=self._diagnose,
                side_by_side=self._side_by_side,
                epochs=self._epochs,
                batch=self._analysis.diagnostics_batch,
            )
        except Exception as error:
            if not is_out_of_memory(error) or count <= 2:
                self._refuse(error)
                return [None] * count
        members.clear()
        # halved, as what is free is only known by trying
        self.largest = min(self.largest, max(2, count // 2))
        _log.warning(
            "a stack of %d trainings needs more memory than there is: %d from now on",
            count, self.largest,
        )  # fmt: skip
        return self._fit_parts(trainings, exit_rule)

    def _fit_parts(
        self, trainings: Sequence[Training], exit_rule: ExitRule | None
    ) -> list[TrainingResult | None]:
        results: list[TrainingResult | None] = []
        share = -(-len(trainings) // -(-len(trainings) // self.largest))
        for start in range(0, len(trainings), share):
            part = trainings[start : start + share]
            rule = exit_rule and exit_rule.within(range(start, start + len(part)))
            members = [member for item in part if (member := self.member(item)) is not None]
            is_stack = 2 <= len(members) == len(part) and not self._findings.stack_refusal
            results += self._fit(part, members, rule) if is_stack else [None] * len(part)
        return results

    def _allows(self, signature: Any, trainings: Sequence[Training]) -> bool:
        """Whether models of this structure may be stacked; found out where it is first asked.

        On a GPU also where that gives other last bits: there it is most of the speed.
        """
        differences = self._findings.stack_differences
        if self._findings.stack_refusal:
            return False
        if signature not in differences:
            try:
                differences[signature] = self._check(self._probes(signature, trainings))
            except Exception as error:
                self._refuse(error)
                return False
            self._log_difference(differences[signature])
        is_gpu = self._analysis.device.type != "cpu"
        return self._inexact or is_gpu or not differences[signature]

    def _probes(self, signature: Any, trainings: Sequence[Training]) -> list[Training]:
        """What is compared with single training: always the same for models of one structure.

        What is found then does not depend on which candidates happen to come first.
        """
        first = trainings[0].record
        probes = [
            Training(first.uniform(describe(name)), seed, self._task.lr)
            for seed, name in enumerate(_PROBES)
        ]
        members = [self.member(item) for item in probes]
        if all(item is not None and _signature(item) == signature for item in members):
            return probes
        # a candidate that makes the layers before it wider is like itself alone
        return [Training(first, seed, self._task.lr) for seed in range(len(_PROBES))]

    def _check(self, given: Sequence[Training]) -> str:
        members = [self._build_member(item) for item in given]
        alone = [self._build_member(item).model for item in given]
        return check_stack(self._task, members, alone)

    def _log_difference(self, difference: str) -> None:
        if not difference:
            return
        if self._analysis.device.type == "cpu":
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
        self._findings.may_stack_later = not isinstance(error, Unstackable)
        self._findings.stack_refusal = (
            reason if isinstance(error, Unstackable) else f"{type(error).__name__}: {reason}"
        )
        _log.info(
            "candidates are trained one at a time, since this task cannot be stacked: %s",
            self._findings.stack_refusal,
        )

    def may_stack(self, record: CandidateRecord) -> bool:
        """Whether models with a candidate's activations can be trained in one pass, be it with other last digits.

        Args:
            record: the candidate.
        """
        trainings = [Training(record, seed, self._task.lr) for seed in range(len(_PROBES))]
        member = self.member(trainings[0])
        if member is None or self._findings.stack_refusal:
            return False
        self._allows(_signature(member), trainings)  # which finds out, and keeps it
        return not self._findings.stack_refusal

    def gain(self, trainings: Sequence[Training]) -> float:
        """How many times faster a training is in a stack, measured over a few steps; 0 where there is no stack."""
        picked = trainings[: min(self.largest, MEASURED)]
        stack = self._build_alike(picked)
        if len(stack) < 2 or not self._allows(_signature(stack[0]), picked):
            return 0.0
        self._time_stack(stack, picked[0])  # what runs first pays for what torch loads only then
        stack = self._build_alike(picked)
        gain, used = with_peak_memory(
            self._analysis.device, lambda: self._time_stack(stack, picked[0])
        )
        if used:
            most = members_that_fit(self._analysis.device, used, len(stack), self.largest)
            self._findings.most_members = self.largest = most
        return gain

    def _build_alike(self, trainings: Sequence[Training]) -> list[Member]:
        """Models, ready to be stacked, of those trainings that go together with the first."""
        built = [self.member(training) for training in trainings]
        members = [member for member in built if member is not None]
        return [member for member in members if _signature(member) == _signature(members[0])]

    def _time_stack(self, stack: Sequence[Member], training: Training) -> float:
        """Seconds of a few steps alone, as a multiple of those in a stack."""
        alone = self._build_member(training)
        short = _shorten(self._task)
        started = time.perf_counter()
        fit(short, alone.model, alone.seed)
        between = time.perf_counter()
        fit_together(short, stack, side_by_side=self._side_by_side)
        return (between - started) * len(stack) / (time.perf_counter() - between)

    def member(self, training: Training) -> Member | None:
        """A training's model, ready to be stacked; None if it cannot be built, which training it alone explains."""
        try:
            return self._build_member(training)
        except Exception:
            return None

    def _build_member(self, training: Training) -> Member:
        candidate = Candidate(training.record)
        placement = self._analysis.place(candidate, training.seed, opened=True)
        model = placement.model.to(self._analysis.device)
        seed_streams(model, training.seed)
        paths = tuple(item.path for item in placement.replaced)
        added = self._analysis.parameters_added(model)
        return Member(model, paths, training.seed, training.lr, added)


def _signature(member: Member) -> Any:
    """Equal for models that can be stacked: the same sites, and weights of the same shapes."""
    inside = tuple(f"{path}." for path in member.paths)
    shapes = tuple(
        (name, tuple(value.shape), value.dtype)
        for name, value in member.model.named_parameters()
        if not name.startswith(inside)
    )
    return member.paths, shapes


def _shorten(task: Task) -> Task:
    """A few steps of the same training; a whole epoch where the data cannot be cut."""
    short: dict[str, Any] = {"schedule": None, "epochs": 1}
    if task.steps is not None:
        short |= {"steps": min(task.steps, _STEPS), "eval_every": None}
    if isinstance(task.train, tuple):
        rows = _STEPS * task.batch_size
        short["train"] = short["valid"] = tuple(tensor[:rows] for tensor in task.train)
    made = task.replace(**short)
    keep_reading(task, made)
    return made
