"""Whoever trains candidates asks here: alone or together, the outcomes are the same."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from actsearch.evaluation.evaluate import (
    ObjectiveCallable,
    SeedRun,
    ended,
    evaluate,
    run_of,
    summed,
)
from actsearch.evaluation.run import Phase
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.records import CandidateRecord, Outcome, TrialState
from actsearch.task import Task
from actsearch.training import TrainingResult

__all__ = ["Evaluator", "Request"]

_log = logging.getLogger("actsearch")

_WORTH = 2000  # training steps; below, checking and measuring a stack takes longer than it saves
_GAIN = 1.05  # a stack must be so much faster than one at a time


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
    """

    def __init__(self, objective: ObjectiveCallable) -> None:
        self.objective = objective
        self.stacker = Stacker(objective) if isinstance(objective, Task) else None
        self._chosen: int | None = None

    def alone(self, request: Request) -> Outcome:
        """Train one candidate."""
        objective = self.objective
        if isinstance(objective, Task) and request.lr is not None:
            objective = objective.replace(lr=request.lr)
        return evaluate(
            request.record,
            objective,
            request.seeds,
            number=request.number,
            phase=request.phase,
        )

    def together(self, requests: Sequence[Request]) -> list[Outcome]:
        """Train several candidates, in stacks where the task allows it; requests of one phase."""
        if self.stacker is None or self.stacker.refusal or len(requests) < 2:
            return [self.alone(request) for request in requests]
        task, phase = self.stacker.task, requests[0].phase
        trainings = [
            Training(request.record, seed, task.lr if request.lr is None else request.lr)
            for request in requests
            for seed in request.seeds
        ]
        on_test = phase == "confirm" and task.test is not None
        results = iter(self.stacker.train(trainings, on_test=on_test))
        return [
            self._outcome(request, [next(results) for _ in request.seeds]) for request in requests
        ]

    def _outcome(self, request: Request, results: Sequence[TrainingResult | None]) -> Outcome:
        """Of what was trained together; trained alone where that could not be."""
        started = time.perf_counter()
        runs: list[SeedRun] = []
        for seed, result in zip(request.seeds, results, strict=True):
            if result is None:
                return self.alone(request)
            run = run_of(self.objective, seed, request.number, request.phase)
            assert isinstance(self.objective, Task)
            run.scores_on_test(self.objective)
            metrics = run.trained(result)
            value = next(iter(metrics.values()), None)
            runs.append(ended(run, TrialState.COMPLETE, value, metrics, "", result.seconds))
        seconds = sum(run.evaluation.seconds for run in runs) + time.perf_counter() - started
        return summed(runs, request.phase, seconds)

    def batch_for(self, requests: Sequence[Request]) -> int:
        """How many candidates to train in one pass: 1, or as many as a stack takes, by a short measurement.

        Measured once, on the first requests that are worth it; all later ones follow.
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
        gain = self.stacker.gain(sorted(trainings, key=lambda item: item.key))
        if not self.stacker.refusal:
            count = min(len(trainings), self.stacker.largest)
            together = "are trained together" if gain >= _GAIN else "would be no faster together"
            _log.info(
                "candidates %s: %d in one pass take %.1f times less each", together, count, gain
            )
        return self.stacker.largest if gain >= _GAIN else 1


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
