"""Trials in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Outcomes
from actsearch.execution.holding import Held
from actsearch.execution.work import Finished, Job, Work
from actsearch.training.pace import limited

__all__ = ["Local", "check_batch"]


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
            step in which it does, and its trial fails; in one pass, n trials may take n times as long. What a function
            of your own does between its steps goes on: :class:`Processes` ends that as well.

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

    def open(self, work: Work) -> None:
        """Nothing: it is here."""

    def forecast_seconds(self, work: Work) -> float | None:
        """Seconds of one training of the model unchanged; None where that is not known."""
        return work.subject.forecast_seconds()

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """As given, or as found for the objective."""
        return self.batch or work.batch_for(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train the jobs in one go.

        Raises:
            StudyError: the GPU refuses this process everything since an error in one of them.
        """
        if not jobs:
            return
        limit = self.trial_timeout
        reason = f"took longer than {limit} s a trial (trial_timeout)"
        with limited(limit and limit * len(jobs), reason):
            outcomes = work.train(jobs, inexact=self.batch is not None)
        if outcomes.device_is_lost and len(jobs) > 1:
            raise _lost_device(outcomes)  # it is not known which of them is at fault
        ended = [
            replace(outcome, evaluations=()) if reason in outcome.reason else outcome
            for outcome in outcomes
        ]  # as of a process that was ended: that says nothing of the activation
        yield Finished(list(zip(jobs, ended, strict=True)), outcomes.largest_stack)
        if outcomes.device_is_lost:
            raise _lost_device(outcomes)

    def stop(self) -> None:
        """Nothing: what was handed over is trained in one go."""

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
