"""Where trials run. Executors only evaluate; they never touch the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from actsearch.errors import StudyError
from actsearch.evaluation import Evaluator, Request
from actsearch.records import CandidateRecord, Outcome

__all__ = ["Executor", "Job", "Local", "Work"]


@dataclass(frozen=True)
class Job:
    """One trial to be trained: its number and its candidate."""

    number: int
    candidate: CandidateRecord


@dataclass(frozen=True)
class Work:
    """How a study's jobs are trained.

    Attributes:
        evaluator: of the study's objective.
        seeds: the study's, the same for every job.
    """

    evaluator: Evaluator
    seeds: tuple[int, ...]

    def __call__(self, job: Job) -> Outcome:
        """Train one job."""
        return self.evaluator.alone(self._request(job))

    def together(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Train several, in one pass where the objective allows it; the outcomes are the same."""
        return self.evaluator.together([self._request(job) for job in jobs])

    def batch_for(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs to train in one pass, by a short measurement."""
        return self.evaluator.batch_for([self._request(job) for job in jobs])

    def _request(self, job: Job) -> Request:
        return Request(job.candidate, self.seeds, job.number)


class Executor(Protocol):
    """Trains jobs somewhere. Made by the user, used by one study at a time."""

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """How many of the jobs that wait it wants to be handed, and stored, together; at least 1."""

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[tuple[Job, Outcome]]:
        """Train every job and hand out each outcome as soon as it is there."""


class Local:
    """In this process: several candidates in one pass, or one after the other.

    Attributes:
        batch: trials trained, and stored, together; 1 for one after the other, None to have it measured.
    """

    def __init__(self, batch: int | None = None) -> None:
        if batch is not None and (
            isinstance(batch, bool) or not isinstance(batch, int) or batch < 1
        ):
            raise StudyError(f"batch must be a positive integer or None, not {batch!r}")
        self.batch = batch

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """As given, or as measured."""
        return self.batch or work.batch_for(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[tuple[Job, Outcome]]:
        """Train the jobs in order."""
        if len(jobs) > 1:
            yield from zip(jobs, work.together(jobs), strict=True)
        else:
            for job in jobs:
                yield job, work(job)

    def __repr__(self) -> str:
        return f"Local(batch={self.batch})"
