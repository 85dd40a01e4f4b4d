"""What executors are given, and what they promise."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from actsearch.evaluation import Evaluator, Request
from actsearch.records import CandidateRecord, Outcome

__all__ = ["Executor", "Job", "Work"]


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

    def together(self, jobs: Sequence[Job], *, inexact: bool = False) -> list[Outcome]:
        """Train several, in one pass where the objective allows it and the outcomes are the same.

        Args:
            jobs: by number.
            inexact: also where their last digits may be others.
        """
        return self.evaluator.together([self._request(job) for job in jobs], inexact=inexact)

    def batch_for(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs to train in one pass; more than 1 where the outcomes are the same, and it is faster."""
        return self.evaluator.batch_for([self._request(job) for job in jobs])

    def settle(self, job: Job, outcome: Outcome) -> Outcome:
        """Let the study's pruner judge what another process trained; in order of numbers."""
        return self.evaluator.settle(self._request(job), outcome)

    def _request(self, job: Job) -> Request:
        return Request(job.candidate, self.seeds, job.number)


class Executor(Protocol):
    """Trains jobs somewhere. Made by the user, used by one study at a time."""

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """How many of the jobs that wait it wants to be handed together; at least 1."""

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[list[tuple[Job, Outcome]]]:
        """Train every job, and hand out outcomes as soon as they are there: those that came together as one list.

        After :meth:`stop`, the jobs that run are answered and no others; closed before its end, it ends them.
        """

    def stop(self) -> None:
        """Start no further job of the present run. Called from a signal handler: it may only set a flag."""

    def close(self) -> None:
        """Give back what it holds. It can be used again."""
