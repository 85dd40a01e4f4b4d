"""Trials in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from actsearch.checks import check_integer
from actsearch.errors import StudyError
from actsearch.execution.work import Finished, Job, Work

__all__ = ["Local", "check_batch"]


def check_batch(batch: int | None) -> int | None:
    """A batch as a user gave it.

    Raises:
        StudyError: neither a positive integer nor None.
    """
    return None if batch is None else check_integer("batch", batch, StudyError, low=1)


class Local:
    """In this process: several candidates in one pass, or one after the other.

    Attributes:
        batch: trials trained, and stored, together; 1 for one after the other. None for as many as a stack takes where
            their values are those of one after the other, to the last digit, and it is faster. A number is taken as it
            is: some models' values then have other last digits in stacks of other sizes, the log says whose, and as
            proposals follow from values, another batch may come to other trials.

    Example:
        >>> acs.Local(batch=1)  # study.optimize(task, executor=acs.Local(batch=1))
        Local(batch=1)
    """

    def __init__(self, batch: int | None = None) -> None:
        self.batch = check_batch(batch)

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """As given, or as found for the objective."""
        return self.batch or work.batch_for(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train the jobs in one go."""
        if jobs:
            outcomes = work.train(jobs, inexact=self.batch is not None)
            yield Finished(list(zip(jobs, outcomes, strict=True)), outcomes.largest_stack)

    def stop(self) -> None:
        """Nothing: what was handed over is trained in one go."""

    def close(self) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        return f"Local(batch={self.batch})"
