"""A study with ``parallel=V``: which trials may be trained, what the strategy sees of them, and what is stored when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.evaluation.pruner import cut_outcome, first_curve
from actsearch.execution import Job
from actsearch.execution.flow import RemoteFlow, remote_flow
from actsearch.halving import Competition
from actsearch.records import EpochRecord, EvaluationRecord, Outcome, TrialRecord, TrialState
from actsearch.study.history import History
from actsearch.study.virtual_clock import VirtualClock

__all__ = ["PROPOSED_AT", "VirtualFlow", "check_clock"]

PROPOSED_AT = "proposed_at"
"""User attribute of a trial: the time on the virtual clock, in epochs or steps, at which it was proposed."""

_PASS = 2  # trainings as long as which a pass of shape learning counts

Curves = Mapping[int, Sequence[tuple[int, float]]]


def check_clock(competition: Competition | None) -> None:
    """Refuse a pruner where the clock cannot tell the time.

    Raises:
        StudyError: the objective says of no training how long it is.
    """
    if competition is not None and competition.steps() is None:
        raise StudyError(
            "with parallel= a pruner decides on a clock that counts epochs, and how many a function of your own trains "
            "is not known: make the study with pruner=None, or give a Task"
        )


class VirtualFlow:
    """The trials of a study on its virtual clock.

    What ended in reality is held until the pruner's decision is known, and stored then; what the strategy sees follows
    the clock alone.
    """

    def __init__(
        self,
        workers: int,
        history: History,
        subject: Subject,
        seeds: Sequence[int],
        competition: Competition | None,
    ) -> None:
        """Args:
        workers: of the clock.
        history: of the study.
        subject: what it optimises.
        seeds: of each trial.
        competition: of its pruner, no trial entered; None without one.
        """
        self._history = history
        self._clock = VirtualClock(workers, competition)
        self._length = (subject.end or 1) * len(seeds)
        self._seed = seeds[0]
        self._held: dict[int, Outcome] = {}
        self.take: Callable[[], Sequence[Job]] = lambda: ()
        """Gives an executor further jobs: set by the driver."""

    def __reduce__(self) -> tuple[Callable[[], RemoteFlow], tuple[()]]:
        return remote_flow, ()  # the work that it is part of is sent to other processes

    @property
    def now(self) -> int:
        """Epochs, or steps, on the clock."""
        return self._clock.now

    @property
    def is_busy(self) -> bool:
        """Whether trials are to end on the clock."""
        return self._clock.is_busy

    def replay(self, trials: Sequence[TrialRecord], curves: Curves) -> None:
        """Bring the clock to where it was.

        Args:
            trials: the stored ones, in order of number, those that were enqueued screened.
            curves: values of their first training, by number.
        """
        for trial in trials:
            self.enrol(trial)
            if trial.number in self._clock and trial.state.is_trained:
                self._clock.report(trial.number, curves.get(trial.number, ()))
                self._clock.end(trial.number, is_sound=trial.state is TrialState.COMPLETE)

    def enrol(self, trial: TrialRecord) -> None:
        """A new trial, in order of number; one that is not trained takes no time."""
        if not (trial.state.is_open or trial.state.is_trained):
            return
        candidate = trial.candidate
        since = trial.user_attrs.get(PROPOSED_AT, 0)
        self._clock.add(
            trial.number,
            self._length * _PASS if candidate.learns_shape else self._length,
            since=since if isinstance(since, int) and since >= 0 else 0,
            competes=not (candidate.is_baseline or candidate.learns_shape),
        )

    def find_ready(
        self, most: int | None, busy: Collection[int], propose: Callable[[int], bool]
    ) -> list[TrialRecord]:
        """Trials that may be trained now, in order of number.

        Args:
            most: how many at most, or None.
            busy: numbers of those that are in training.
            propose: makes further trials for so many workers; False where there are none now.
        """
        while True:
            idle = self._clock.advance()
            ready = [trial for trial in self._history.waiting if trial.number not in busy]
            if most is not None and len(ready) >= most:
                return ready[:most]
            if not idle or not (propose(idle) or self._clock.let_pass()):
                return ready

    def seen(self) -> Iterator[TrialRecord]:
        """The history as the strategy sees it: what has not ended on the clock is WAITING."""
        for trial in self._history:
            if trial.number not in self._clock:
                yield trial
            elif not self._clock.is_over(trial.number):
                yield _as_waiting(trial)
            elif trial.state.is_open:  # it is pruned, and still to be told so
                value = dict(self._clock.curve(trial.number))[self.given_up[trial.number]]
                yield dataclasses.replace(trial, state=TrialState.PRUNED, value=value)
            else:
                yield trial

    # what executors tell

    @property
    def given_up(self) -> Mapping[int, int]:
        """See :class:`actsearch.execution.flow.Flow`."""
        return self._clock.given_up

    def report(self, step: int, values: Mapping[int, float]) -> None:
        """See :class:`actsearch.execution.flow.Flow`."""
        for number, value in values.items():
            self._clock.report(number, [(step, value)])
        self._clock.advance()

    def end(self, outcomes: Mapping[int, Outcome]) -> None:
        """What came of trials."""
        for number, outcome in outcomes.items():
            if not first_curve(outcome) and (curve := self._clock.curve(number)):
                # its process crashed: what it had reached counts at the rungs, and has to be stored for that
                epochs = tuple(EpochRecord(step, valid_metric=value) for step, value in curve)
                known = EvaluationRecord(self._seed, None, epochs=epochs, reason=outcome.reason)
                outcome = dataclasses.replace(outcome, evaluations=(known,))
            self._held[number] = outcome
            self._clock.report(number, first_curve(outcome))
            self._clock.end(number, is_sound=outcome.state is TrialState.COMPLETE)
        self._clock.advance()

    @property
    def undecided(self) -> Mapping[int, Outcome]:
        """What has ended and is not decided on, by number."""
        return self._held

    def settle(self) -> dict[int, Outcome]:
        """What is decided of that which has ended, by number, as it is to be stored."""
        settled = {}
        for number in sorted(self._held):
            if not self._clock.is_decided(number):
                continue
            outcome, tracker = self._held.pop(number), self._clock.tracker(number)
            settled[number] = outcome if tracker is None else cut_outcome(outcome, tracker)
        return settled

    def forget(self) -> None:
        """Drop what is not decided: its trials are trained again."""
        for number in self._held:
            self._clock.reopen(number)
        self._held = {}


def _as_waiting(trial: TrialRecord) -> TrialRecord:
    """A trial of which nothing is known yet."""
    return dataclasses.replace(
        trial,
        state=TrialState.WAITING,
        value=None,
        spread=None,
        reason="",
        user_attrs={},
        evaluations=(),
        seconds=0.0,
        started=None,
        completed=None,
        values=(),
    )
