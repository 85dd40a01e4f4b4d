"""Whoever trains candidates asks here: alone or together, the outcomes are the same."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from actsearch.evaluation.evaluate import (
    ObjectiveCallable,
    SeedRun,
    ended,
    evaluate,
    judged,
    run_of,
    summed,
)
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.race import Outlook, Race
from actsearch.evaluation.run import Phase
from actsearch.evaluation.stacked import MEASURED, Stacker, Training
from actsearch.halving import Competition, Judge
from actsearch.records import CandidateRecord, Diagnostics, EpochRecord, Outcome, TrialState
from actsearch.task import Task
from actsearch.training import TrainingResult
from actsearch.training.stack import Watch
from actsearch.training.threads import is_small, threads_for

__all__ = ["Evaluator", "Request"]

_log = logging.getLogger("actsearch")

_WORTH = 2000  # training steps; below, checking and measuring a stack takes longer than it saves
_GAIN = 1.05  # a stack must be so much faster than one at a time

_gains: WeakKeyDictionary[Task, tuple[int, float]] = WeakKeyDictionary()
"""What a stack of a task was measured to gain, and with how many threads: the next study and the verdict ask again."""


@dataclass(frozen=True)
class Request:
    """A candidate to be trained under some seeds.

    Attributes:
        record: the candidate.
        seeds: one training each.
        number: trial number told to the objective.
        phase: whether to score on validation or on test data.
        lr: learning rate of a Task; None for its own.
    """

    record: CandidateRecord
    seeds: tuple[int, ...]
    number: int = -1
    phase: Phase = "search"
    lr: float | None = None


class Evaluator:
    """Trains candidates for one objective.

    Attributes:
        objective: a Task, or any ``objective(candidate, run)``.
        stacker: trains several candidates of a Task in one pass; None for other objectives.
        competition: by which trials are pruned; None where none is.
        open_numbers: where trials are trained for another process, which judges them in order by :meth:`settle`: the
            numbers of all that it has not judged yet. None where trials are judged here.
        objectives: what a trial's values are, where there are several.
    """

    def __init__(self, objective: ObjectiveCallable) -> None:
        self.objective = objective
        self.stacker = Stacker(objective) if isinstance(objective, Task) else None
        self.competition: Competition | None = None
        self.open_numbers: tuple[int, ...] | None = None
        self.objectives: Objectives | None = None
        self._chosen: int | None = None

    def alone(self, request: Request) -> Outcome:
        """Train one candidate."""
        objective = self.objective
        if isinstance(objective, Task) and request.lr is not None:
            objective = objective.replace(lr=request.lr)
        judge = self._judge(request)
        with self._threads():
            outcome = evaluate(
                request.record,
                objective,
                request.seeds,
                number=request.number,
                phase=request.phase,
                judge=judge,
            )
        self._enter(judge)
        return self._with_values(outcome, request)

    def _threads(self) -> AbstractContextManager[None]:
        """torch's threads as the objective's trainings take them, alone and in a stack."""
        if not isinstance(self.objective, Task):
            return nullcontext()
        return threads_for(self.objective)

    def _share_threads(self) -> None:
        """Small stacks are trained side by side, a large one takes all threads for each operation."""
        assert self.stacker is not None
        self.stacker.side_by_side = torch.get_num_threads() if is_small(self.stacker.task) else 1

    def _with_values(self, outcome: Outcome, request: Request) -> Outcome:
        """All objectives of a trial; a verdict asks for the first alone."""
        if self.objectives is None or request.phase == "confirm":
            return outcome
        return self.objectives.read(outcome, self.objective, request.record)

    def _judge(self, request: Request) -> Judge | None:
        if self.competition is None or request.phase == "confirm":
            return None
        if self.open_numbers is not None:
            return Outlook(self.competition, request.number, self.open_numbers)
        return self.competition.judge(request.number)

    def _enter(self, judge: Judge | None) -> None:
        if self.competition is not None and self.open_numbers is None and judge is not None:
            self.competition.enter(judge)

    def settle(self, request: Request, outcome: Outcome) -> Outcome:
        """Judge a trial that another process has trained; to be called in order of numbers."""
        judge = self._judge(request)
        if judge is None:
            return outcome
        first = outcome.evaluations[0] if outcome.evaluations else None
        if first is not None:
            judge.read(_curve(first.epochs))
        self._enter(judge)
        if judge.pruned_at is None or first is None:
            return judged(outcome, judge)
        epochs = tuple(item for item in first.epochs if item.epoch <= judge.pruned_at)
        cut = dataclasses.replace(
            first,
            epochs=epochs,
            value=epochs[-1].valid_metric,
            metrics={},
            reason=judge.reason,
            diagnostics=first.diagnostics and _before_training(first.diagnostics),
            seconds=first.seconds * len(epochs) / len(first.epochs),
        )
        run = SeedRun(cut, TrialState.PRUNED, not outcome.validation_only)
        return judged(summed([run], request.phase, cut.seconds), judge)

    def together(self, requests: Sequence[Request], *, inexact: bool = False) -> list[Outcome]:
        """Train several candidates, in stacks where these give what each gets alone.

        Args:
            requests: of one phase, by number.
            inexact: also in stacks that may give other last bits.
        """
        if self.stacker is None or self.stacker.refusal or len(requests) < 2:
            return [self.alone(request) for request in requests]
        task, phase = self.stacker.task, requests[0].phase
        trainings = [
            Training(request.record, seed, task.lr if request.lr is None else request.lr)
            for request in requests
            for seed in request.seeds
        ]
        on_test = phase == "confirm" and task.test is not None
        watch = self._watch(requests)
        self._share_threads()
        with self._threads():
            trained = self.stacker.train(trainings, on_test=on_test, watch=watch, inexact=inexact)
        results = iter(trained)
        return [
            self._outcome(request, [next(results) for _ in request.seeds]) for request in requests
        ]

    def _outcome(self, request: Request, results: Sequence[TrainingResult | None]) -> Outcome:
        """Of what was trained together; trained alone where that could not be."""
        started = time.perf_counter()
        trained = [result for result in results if result is not None]
        if len(trained) < len(results):
            return self.alone(request)
        judge = self._judge(request)
        if judge is not None:
            judge.read(_curve(trained[0].epochs))
        if judge is not None and judge.pruned_at is not None:
            trained = [_cut(trained[0], judge.pruned_at)]
        elif any(not result.metrics and not result.stopped for result in trained):
            if judge is None or self.open_numbers is None:
                return self.alone(request)  # it left a stack that was given up later
            judge.pruned_at = trained[0].epochs[-1].epoch  # that is known of its neighbours
        runs = [
            self._seed_run(request, seed, result, judge)
            for seed, result in zip(request.seeds, trained, strict=False)
        ]
        self._enter(judge)
        seconds = sum(run.evaluation.seconds for run in runs) + time.perf_counter() - started
        found = judged(summed(runs, request.phase, seconds), judge)
        return self._with_values(found, request)

    def _seed_run(
        self, request: Request, seed: int, result: TrainingResult, judge: Judge | None
    ) -> SeedRun:
        run = run_of(self.objective, seed, request.number, request.phase)
        assert isinstance(self.objective, Task)
        run.scores_on_test(self.objective)
        metrics = run.trained(result)
        if judge is not None and judge.pruned_at is not None:
            value = result.epochs[-1].valid_metric
            return ended(run, TrialState.PRUNED, value, {}, judge.reason, result.seconds)
        value = next(iter(metrics.values()), None)
        return ended(run, TrialState.COMPLETE, value, metrics, "", result.seconds)

    def _watch(self, requests: Sequence[Request]) -> Watch | None:
        """Has those members leave their stacks that will be pruned for sure."""
        if self.competition is None or requests[0].phase == "confirm":
            return None
        race = Race(
            self.competition, self.open_numbers or [request.number for request in requests]
        )
        places = [(request.number, at) for request in requests for at in range(len(request.seeds))]

        def leaving(epoch: int, values: Mapping[int, float | None]) -> list[int]:
            first = {places[at][0]: value for at, value in values.items() if places[at][1] == 0}
            race.arrive(epoch, first)
            return [at for at in values if places[at][0] in race.gone]

        assert isinstance(self.objective, Task)
        epochs = self.competition.pruner.steps_before(self.objective.epochs)
        return Watch(frozenset(epochs), leaving)

    def batch_for(self, requests: Sequence[Request]) -> int:
        """How many candidates to train in one pass: 1, or as many as a stack takes.

        More than 1 where a stack gives what single training gives, and was measured to be faster: that decides how long
        it takes, and no value. On a GPU, where a stack may give other last bits, nothing that is measured decides.

        Asked once for a task, on the first requests that are worth it; all later ones follow.
        """
        if self.stacker is None:
            return 1
        if self._chosen is None:
            trainings = [
                Training(request.record, seed, self.stacker.task.lr)
                for request in requests
                for seed in request.seeds
            ]
            if len(requests) < 2 or len(trainings) * _steps(self.stacker.task) < _WORTH:
                return 1
            self._chosen = self._choice(trainings)
        seeds = max((len(request.seeds) for request in requests), default=1)
        return max(1, min(self._chosen, self.stacker.largest) // seeds)

    def _choice(self, trainings: Sequence[Training]) -> int:
        """Most trainings in a stack; 1 where one after the other is as fast."""
        assert self.stacker is not None
        task, threads = self.stacker.task, torch.get_num_threads()
        measured, gain = _gains.get(task, (0, 0.0))
        if measured == threads:
            return self.stacker.largest if gain >= _GAIN else 1
        self._share_threads()
        with self._threads():
            gain = self.stacker.gain(sorted(trainings, key=lambda item: item.key))
        if gain > 0 and task.torch_device().type != "cpu":
            gain = math.inf
        elif gain > 0:
            _gains[task] = (threads, gain)
            count = min(len(trainings), self.stacker.largest, MEASURED)
            together = "are trained together" if gain >= _GAIN else "would be no faster together"
            _log.info(
                "candidates %s: %d in one pass take %.1f times less each", together, count, gain
            )
        return self.stacker.largest if gain >= _GAIN else 1


def _curve(epochs: Sequence[EpochRecord]) -> list[tuple[int, float]]:
    return [(e.epoch, e.valid_metric) for e in epochs if e.valid_metric is not None]


def _cut(result: TrainingResult, epoch: int) -> TrainingResult:
    """What there was of a training after an epoch; its time in proportion."""
    epochs = tuple(item for item in result.epochs if item.epoch <= epoch)
    seconds = result.seconds * len(epochs) / len(result.epochs)
    seen = result.diagnostics and _before_training(result.diagnostics)
    return TrainingResult({}, epochs, "", seconds, seen)


def _before_training(seen: Diagnostics) -> Diagnostics:
    """Of a training that is cut off, there is no end."""
    return dataclasses.replace(seen, end=(), loss_gap=None)


def _steps(task: Task) -> int:
    """Training steps of one training; 1 an epoch where the data does not know its length."""
    source = task.train
    if isinstance(source, tuple):
        batches = -(-len(source[0]) // task.batch_size)
    else:
        try:
            batches = (
                len(source)
                if hasattr(source, "batch_size")
                else -(-len(source) // task.batch_size)
            )
        except TypeError:
            batches = 1
    return batches * task.epochs
