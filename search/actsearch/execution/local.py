"""Trials in this process."""

from __future__ import annotations

import copy
import logging
from collections.abc import Generator, Sequence
from dataclasses import replace

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Outcomes
from actsearch.execution.holding import Held
from actsearch.execution.work import Finished, Job, Work
from actsearch.records import Outcome
from actsearch.training.pace import limited

__all__ = ["Local", "check_batch"]

_log = logging.getLogger("actsearch")


def check_batch(batch: int | None) -> int | None:
    """A batch as a user gave it.

    Raises:
        StudyError: neither a positive integer nor None.
    """
    return None if batch is None else check_integer("batch", batch, StudyError, low=1)


class Local(Held):
    """In this process: several candidates in one pass, or one after the other.

    Attributes:
        batch: trials trained, and stored, together; 1 for one after the other. None for as many as a stack takes where
            their values are those of one after the other, to the last digit, and it is faster. A number is taken as it
            is: some models' values then have other last digits in stacks of other sizes, the log says whose, and as
            proposals follow from values, another batch may come to other trials.
        trial_timeout: seconds that one trial may take, or None. A training of a Task that takes longer ends after the
            step in which it does, and its trial fails; in one pass, n trials may take n times as long, and are trained
            one after the other where they take longer. What a function of your own does between its steps goes on:
            :class:`Processes` ends that as well.

    Example:
        >>> acs.Local(batch=1)  # study.optimize(task, executor=acs.Local(batch=1))
        Local(batch=1)
        >>> acs.Local(trial_timeout=60)  # a minute for each trial
        Local(batch=None, trial_timeout=60)
    """

    def __init__(self, batch: int | None = None, *, trial_timeout: float | None = None) -> None:
        """Args:
        batch: see above.
        trial_timeout: likewise.

        Raises:
            StudyError: a setting has no meaning.
        """
        self.batch = check_batch(batch)
        if trial_timeout is not None:
            check_number(
                "trial_timeout (seconds)", trial_timeout, StudyError, above=0, finite=False
            )
        self.trial_timeout = trial_timeout
        self._stops = False

    def open(self, work: Work) -> None:
        """Nothing: it is here."""

    def forecast_seconds(self, work: Work) -> float | None:
        """Seconds of one training of the model unchanged; None where that is not known."""
        return work.subject.forecast_seconds()

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """As given, or as found for the objective."""
        return self.batch or work.batch_for(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train the jobs in one go; where that takes too long, one after the other.

        Raises:
            StudyError: the GPU refuses this process everything since an error in one of them.
        """
        self._stops = False
        if not jobs:
            return
        limited_pass = self.trial_timeout is not None and len(jobs) > 1
        # what a pruner is told of trainings that are made again, it must not be told twice
        before = (
            copy.deepcopy(work.competition) if limited_pass and work.decides_in_order else None
        )
        outcomes = self._train(jobs, work)
        if outcomes.device_is_lost and len(jobs) > 1:
            raise _lost_device(outcomes)  # it is not known which of them is at fault
        if limited_pass and any(map(self._is_late, outcomes)):
            # it is not known which was at fault
            _log.warning(
                "%d trials in one pass: %s; they are trained one at a time",
                len(jobs),
                self._reason,
            )
            if before is not None and work.competition is not None:
                work.competition.restore(before)
            yield Finished((), outcomes.largest_stack)
            for job in jobs:
                if self._stops:
                    return
                yield from self._hand_out([job], self._train([job], work))
        else:
            yield from self._hand_out(jobs, outcomes)

    @property
    def _reason(self) -> str:
        return f"took longer than {self.trial_timeout} s a trial (trial_timeout)"

    def _is_late(self, outcome: Outcome) -> bool:
        return self.trial_timeout is not None and self._reason in outcome.reason

    def _train(self, jobs: Sequence[Job], work: Work) -> Outcomes:
        limit = self.trial_timeout
        with limited(limit and limit * len(jobs), self._reason):
            return work.train(jobs, inexact=self.batch is not None)

    def _hand_out(self, jobs: Sequence[Job], outcomes: Outcomes) -> Generator[Finished]:
        ended = [
            replace(outcome, evaluations=()) if self._is_late(outcome) else outcome
            for outcome in outcomes
        ]  # as of a process that was ended: that says nothing of the activation
        yield Finished(list(zip(jobs, ended, strict=True)), outcomes.largest_stack)
        if outcomes.device_is_lost:
            raise _lost_device(outcomes)

    def stop(self) -> None:
        """Start no further job of the present run; what is trained in one go is trained to its end."""
        self._stops = True

    def close(self) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        limit = "" if self.trial_timeout is None else f", trial_timeout={self.trial_timeout}"
        return f"Local(batch={self.batch}{limit})"


def _lost_device(outcomes: Outcomes) -> StudyError:
    reason = next(item.reason for item in outcomes if item.reason)
    return StudyError(
        f"the GPU refuses this process all further work ({reason.splitlines()[0]}): start the program again, and the "
        "search goes on; with executor=acs.Processes(1) a trial that does this fails alone"
    )
