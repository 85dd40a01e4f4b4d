"""How long trainings take, and how much was trained and spent so far."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from actsearch.evaluation import Subject
from actsearch.execution import Local, Pool, Work
from actsearch.records import TRAININGS, TrialRecord, TrialState
from actsearch.report import rate_trainings
from actsearch.study.answer.options import Options
from actsearch.study.study import Study
from actsearch.task import Task
from actsearch.task.rows import check_rows

__all__ = ["Ledger"]


class Ledger:
    """Of one call of ``acs.find``; what earlier ones took is read from the study."""

    def __init__(
        self,
        study: Study,
        task: Task,
        subject: Subject,
        options: Options,
        seeds: int,
        began: float,
    ) -> None:
        """Args:
        study: whose trials are counted.
        task: what is trained.
        subject: likewise, with what was found out about it.
        options: of the call.
        seeds: trainings of a trial.
        began: when the call did, by the monotonic clock.
        """
        self._study = study
        self._task = task
        self._subject = subject
        self._options = options
        self._seeds = seeds
        self._began = began
        self._earlier = 0.0
        self._seconds: float | None = None  # of a training alone, until trials tell
        self._here: float | None = None  # likewise, in this process

    def trained(self) -> list[TrialRecord]:
        """Trials that came to an end."""
        return [trial.record for trial in self._study.trials if trial.state.is_trained]

    def searched(self) -> float:
        """Trials, by what they took: one that was given up early is a part of one, a pass of shape learning several."""
        counts = (trial.user_attrs.get(TRAININGS) for trial in self.trained())
        seeds = self._seeds
        took = sum(count if isinstance(count, (int, float)) else seeds for count in counts)
        return round(took / seeds, 6)

    def longer(self) -> float:
        """How many times as long a training of the verdict takes, which trains on test rows as well."""
        division = self._options.splits
        if division is None or not division.trained or self._task.steps is not None:
            return 1.0
        return 1 + division.trained / check_rows(self._task.train, "train")

    @property
    def side_by_side(self) -> int:
        """How many trainings run at once in passes of their own."""
        executor = self._options.executor
        return executor.count if isinstance(executor, Pool) else 1

    def alone(self) -> float:
        """Seconds of a training of the model unchanged, which is trained alone."""
        for trial in self.trained():
            if trial.state is TrialState.COMPLETE:
                return trial.seconds / self._seeds
        if self._seconds is None:
            self._seconds = self._forecast()
        return self._seconds

    def _forecast(self) -> float:
        """As a worker measures it; the model may take far longer, or less, where it is only planned."""
        executor = self._options.executor or Local()
        seconds = executor.forecast_seconds(Work(self._subject, ()))
        return self.here() if seconds is None else seconds

    def here(self) -> float:
        """Seconds of a training in this process, where the weights are trained, whatever the executor."""
        if self._here is None:
            self._here = self._subject.forecast_seconds() or 0.0
        return self._here

    def weights(self) -> float:
        """Seconds of the training of the weights."""
        return self.here() if isinstance(self._options.executor, Pool) else self.alone()

    def each(self) -> float:
        """Seconds of a training: of several that are trained side by side, its share."""
        known = [trial.seconds for trial in self.trained() if trial.state is TrialState.COMPLETE]
        if len(known) > 1:
            return statistics.median(known) / self._seeds / self.side_by_side
        return self.alone() / self.side_by_side

    def elapsed(self) -> float:
        """Seconds over all calls."""
        return self._earlier + time.monotonic() - self._began

    def add_earlier(self, seconds: float) -> None:
        """Count the calls before this one.

        Args:
            seconds: that they said they took.
        """
        self._earlier = max(seconds, self._stored_seconds())

    def _stored_seconds(self) -> float:
        """About what the stored trainings took: a call that was killed has not said what it spent."""
        trained = self.trained()
        if not trained:
            return 0.0
        begun = sum(self._study.storage.interrupted_confirmations(self._study.record.id))
        rates = rate_trainings(self._study.user_attrs) / self.side_by_side
        stored = sum(trial.seconds for trial in trained)
        if isinstance(self._options.executor, Pool):
            stored = _wall_seconds(trained)  # side by side they take less than their sum
        return stored + begun * self.each() + rates * self.alone()


def _wall_seconds(trials: Sequence[TrialRecord]) -> float:
    """How long at least one of the trials was on its way, that is handed out and not stored yet."""
    spans = sorted(
        (trial.started, trial.completed) for trial in trials if trial.started and trial.completed
    )
    seconds, until = 0.0, None
    for began, ended in spans:
        start = began if until is None else max(began, until)
        if ended > start:
            seconds += (ended - start).total_seconds()
            until = ended
    return seconds
