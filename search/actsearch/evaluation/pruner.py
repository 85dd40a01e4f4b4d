"""A study's pruner at work: on trials one after the other, on a batch in training, and on what a child has trained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actsearch.evaluation.evaluate import SeedRun, aggregate, with_pruning
from actsearch.evaluation.request import Request
from actsearch.halving import Competition, RungTracker
from actsearch.records import Diagnostics, EpochRecord, Outcome, TrialState
from actsearch.training import TrainingResult
from actsearch.training.stack import ExitRule

__all__ = [
    "BatchPruner",
    "Pruner",
    "cut_outcome",
    "cut_training",
    "first_curve",
    "metric_curve",
]


@dataclass(frozen=True)
class Pruner:
    """By which trials those in training are pruned.

    Attributes:
        competition: what earlier trials reached at the rungs; trials that end here are entered.
        open_numbers: where trials are trained for another process, which decides in order by :meth:`apply`:
            the numbers of all that it has not decided on yet. None where that is decided here.
    """

    competition: Competition
    open_numbers: tuple[int, ...] | None = None

    def track(self, number: int) -> RungTracker:
        """A tracker that follows a trial from rung to rung."""
        if self.open_numbers is not None:
            return _OptimisticTracker(self.competition, number, self.open_numbers)
        return self.competition.track(number)

    def enter(self, tracker: RungTracker) -> None:
        """Let a trial that has ended count for those after it, where that is decided here."""
        if self.open_numbers is None:
            self.competition.enter(tracker)

    def exit_rule(self, requests: Sequence[Request], epochs: int) -> ExitRule:
        """A rule by which those members leave a stack that will be pruned in any case.

        Args:
            requests: whose trainings are in the stack, in order, seed by seed.
            epochs: of each training, or evaluations.
        """
        numbers = self.open_numbers or [request.number for request in requests]
        pruner = BatchPruner(self.competition, numbers)
        places = [
            (request.number, index) for request in requests for index in range(len(request.seeds))
        ]

        def choose_leaving(evaluation: int, values: Mapping[int, float | None]) -> list[int]:
            first = {places[row][0]: value for row, value in values.items() if places[row][1] == 0}
            pruner.record_rung(evaluation, first)
            return [row for row in values if places[row][0] in pruner.pruned]

        return ExitRule(frozenset(self.competition.pruner.steps_before(epochs)), choose_leaving)

    def apply(self, number: int, outcome: Outcome) -> Outcome:
        """Prune, or not, a trial that another process has trained; to be called in order of numbers."""
        tracker = self.competition.track(number)
        tracker.read(first_curve(outcome))
        self.competition.enter(tracker)
        return cut_outcome(outcome, tracker)


def cut_outcome(outcome: Outcome, tracker: RungTracker) -> Outcome:
    """What there is of a trial as its tracker decided: all, or what it came to until it was pruned."""
    if tracker.pruned_at is None or not outcome.evaluations:
        return with_pruning(outcome, tracker)
    first = outcome.evaluations[0]
    epochs = tuple(item for item in first.epochs if item.epoch <= tracker.pruned_at)
    cut = dataclasses.replace(
        first,
        epochs=epochs,
        value=epochs[-1].valid_metric,
        metrics={},
        reason=tracker.reason,
        diagnostics=first.diagnostics and _before_training(first.diagnostics),
        seconds=first.seconds * len(epochs) / len(first.epochs),
    )
    run = SeedRun(cut, TrialState.PRUNED, not outcome.validation_only)
    return with_pruning(aggregate([run], "search", cut.seconds), tracker)


def first_curve(outcome: Outcome) -> list[tuple[int, float]]:
    """The metric under the first seed, (step, value); empty where nothing was measured."""
    return metric_curve(outcome.evaluations[0].epochs) if outcome.evaluations else []


def metric_curve(epochs: Sequence[EpochRecord]) -> list[tuple[int, float]]:
    """Epochs with the validation metric there, where there is one."""
    return [(e.epoch, e.valid_metric) for e in epochs if e.valid_metric is not None]


def cut_training(result: TrainingResult, epoch: int) -> TrainingResult:
    """What there was of a training after an epoch; its time in proportion."""
    epochs = tuple(item for item in result.epochs if item.epoch <= epoch)
    seconds = result.seconds * len(epochs) / len(result.epochs)
    diagnostics = result.diagnostics and _before_training(result.diagnostics)
    return TrainingResult({}, epochs, "", seconds, diagnostics)


def _before_training(diagnostics: Diagnostics) -> Diagnostics:
    """Of a training that is cut off, there is no end."""
    return dataclasses.replace(diagnostics, end=(), loss_gap=None)


@dataclass
class _Entry:
    """A trial of the batch.

    Attributes:
        values: at the rungs it reached.
        is_out: whether it counts at no further rung.
        uncertain_since: first rung that it reached although it may be pruned before; None for none.
    """

    values: list[float] = field(default_factory=list)
    is_out: bool = False
    uncertain_since: int | None = None


class BatchPruner:
    """Says of trials in training which ones will be pruned whatever those do that are not trained yet.

    Trials are decided on in order of number, but one pass may hold trial 7 while trial 5 waits for another. A trial
    that may yet be among the best stays; what is stored is decided afterwards, in order, by
    :class:`actsearch.halving.RungTracker`.

    Attributes:
        pruned: numbers of trials that will be pruned.
    """

    def __init__(self, competition: Competition, numbers: Iterable[int]) -> None:
        """Args:
        competition: all trials before these have been entered.
        numbers: of all trials of the batch.
        """
        self._competition = competition
        self._entries = {number: _Entry() for number in sorted(numbers)}
        self.pruned: set[int] = set()

    def record_rung(self, step: int, values: Mapping[int, float | None]) -> None:
        """Take the values of trials that have come to a rung together.

        Args:
            step: the rung's, in epochs or evaluations.
            values: by number; None for a trial that failed before.
        """
        rung = 0
        while self._competition.pruner.step(rung) < step:
            rung += 1
        arrived = []
        for number in sorted(values):
            entry, value = self._entries[number], values[number]
            if value is None:
                entry.is_out = True
            elif (
                not entry.is_out and len(entry.values) <= rung
            ):  # else trained again, after it ran out of memory
                entry.values.append(value)
                arrived.append((number, value))
        for number, value in arrived:
            self._decide(number, rung, value)

    def _decide(self, number: int, rung: int, value: float) -> None:
        """Whether even the most favourable course of what is open cannot save a trial."""
        better, entered = self._competition.rank(rung, value)
        competing, is_open = entered + 1, False
        for other, entry in self._entries.items():
            if other >= number:
                break
            if len(entry.values) > rung:
                is_better = self._competition.is_better(entry.values[rung], value)
                is_uncertain = entry.uncertain_since is not None and entry.uncertain_since <= rung
                is_open |= is_uncertain
                # more at the rung means more places: a worse one that may be there helps, a better one never does
                better += is_better and not is_uncertain
                competing += not (is_better and is_uncertain)
            elif not entry.is_out:
                is_open = True
                competing += 1
        own = self._entries[number]
        compared = self._competition.is_open(rung)
        if compared is None:  # trials of the batch may end before it, and then it is
            own.uncertain_since = rung + 1 if own.uncertain_since is None else own.uncertain_since
        elif not compared:
            return
        elif better >= self._competition.pruner.places(competing):
            own.is_out = True
            if not self._competition.is_exempt(number):
                self.pruned.add(number)
        elif is_open and own.uncertain_since is None:
            own.uncertain_since = rung + 1


class _OptimisticTracker(RungTracker):
    """Decides on a trial that is trained elsewhere: prunes it only where it will be pruned in any case."""

    def __init__(self, competition: Competition, number: int, numbers: Iterable[int]) -> None:
        """Args:
        competition: all trials before ``numbers`` have been entered.
        number: of the trial.
        numbers: of all trials that may count besides, its own among them.
        """
        super().__init__(competition, number)
        self._pruner = BatchPruner(competition, numbers)

    def report(self, step: int, value: float) -> bool:
        """Take a value; whether the trial is to be pruned."""
        while self.pruned_at is None and self._reaches(step):
            rung = self._competition.pruner.step(len(self.values))
            self.values.append(value)
            self._pruner.record_rung(rung, {self.number: None if math.isnan(value) else value})
            if self.number in self._pruner.pruned:
                self.pruned_at, self.reason = step, "pruned"
        return self.pruned_at is not None
