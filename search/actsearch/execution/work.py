"""What executors are given, and what they promise."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from actsearch.evaluation import LARGEST_STACK, Objectives, Outcomes, Pruner, Request, Subject
from actsearch.evaluation.followed import FollowedPruner
from actsearch.execution.flow import Flow
from actsearch.halving import Competition
from actsearch.records import CandidateRecord, Outcome

__all__ = ["Executor", "Finished", "Job", "Work"]


@dataclass(frozen=True)
class Job:
    """One candidate to be trained.

    Attributes:
        number: of its trial.
        candidate: what is trained.
        request: how, for a training that is no trial; None: as the work says for all trials.
        known: what came of it already, where only a pruner's decision is wanting. An executor may train it again.
    """

    number: int
    candidate: CandidateRecord
    request: Request | None = None
    known: Outcome | None = None


@dataclass(frozen=True)
class Finished:
    """Trials that came to their end together.

    Attributes:
        outcomes: each job with what became of it; none where an executor waits for long, so that whoever drives it can
            look at the clock and stop it.
        largest_stack: most trainings in one pass that fit into memory, as far as was learned.
        held: jobs that have ended and wait for a pruner's decision, with what came of them so far; later they are among
            the outcomes.
    """

    outcomes: Sequence[tuple[Job, Outcome]]
    largest_stack: int = LARGEST_STACK
    held: Sequence[tuple[Job, Outcome]] = ()


@dataclass(frozen=True)
class Work:
    """How a study's jobs are trained.

    Attributes:
        subject: what the study optimises.
        seeds: the study's, the same for every job.
        competition: by which trials are pruned; None where none is.
        objectives: what a trial's values are, where there are several.
        largest_stack: most trainings in one pass.
        lr: learning rate of each training; None for the subject's own.
        flow: where trials come and are decided on while others run; None where all are handed over together.
    """

    subject: Subject
    seeds: tuple[int, ...]
    competition: Competition | None = None
    objectives: Objectives | None = None
    largest_stack: int = LARGEST_STACK
    lr: float | None = None
    flow: Flow | None = None

    @property
    def decides_in_order(self) -> bool:
        """Whether an executor lets the pruner decide on trials, in order of numbers."""
        return self.competition is not None and self.flow is None

    def train(
        self, jobs: Sequence[Job], *, inexact: bool = False, pruner: Pruner | None = None
    ) -> Outcomes:
        """Train jobs, several in one pass where the subject allows it and the outcomes are the same.

        The model unchanged is never pruned, and no trial is pruned because of it.

        Args:
            jobs: by number.
            inexact: also where their last digits may be others.
            pruner: where another process decides on the trials in order; by default that is done here.
        """
        if pruner is None and self.competition is not None:
            pruner = (
                Pruner(self.competition)
                if self.flow is None
                else FollowedPruner(self.competition, follower=self.flow)
            )
        own = [job for job in jobs if job.candidate.is_baseline] if pruner is not None else []
        if own and len(own) < len(jobs):
            parts = {
                job.number: outcome
                for part in (own, [job for job in jobs if job not in own])
                for job, outcome in zip(
                    part, self.train(part, inexact=inexact, pruner=pruner), strict=True
                )
            }
            return Outcomes((parts[job.number] for job in jobs), self.largest_stack)
        outcomes = self.subject.train(
            [self._request(job) for job in jobs],
            None if own else pruner,
            inexact=inexact,
            largest_stack=self.largest_stack,
        )
        if self.objectives is not None:
            for index, job in enumerate(jobs):
                outcomes[index] = self.subject.with_values(
                    outcomes[index], job.candidate, self.objectives
                )
        return outcomes

    def batch_for(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs to train in one pass; more than 1 where the outcomes are the same, and it is faster."""
        return self.subject.batch_for([self._request(job) for job in jobs], self.largest_stack)

    def apply_pruner(self, job: Job, outcome: Outcome) -> Outcome:
        """Let the study's pruner decide on what another process trained; in order of numbers."""
        if self.competition is None or job.candidate.is_baseline:
            return outcome
        return Pruner(self.competition).apply(job.number, outcome)

    def _request(self, job: Job) -> Request:
        return job.request or Request(job.candidate, self.seeds, job.number, lr=self.lr)


class Executor(Protocol):
    """Trains jobs somewhere. Made by the user, used by one study at a time.

    What it holds (processes, a connection) is kept until the outermost ``with`` ends: each call of a study is one.
    """

    def open(self, work: Work) -> None:
        """Reach the place where jobs are trained; before signals are taken, since a library may want them as well.

        Raises:
            StudyError: there is none, or it lacks what was asked for.
        """

    def forecast_seconds(self, work: Work) -> float | None:
        """Seconds of one training of the model unchanged, where jobs are trained; None where that is not known."""

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """How many of the jobs that wait it wants to be handed together; at least 1."""

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train every job, and hand out outcomes as soon as they are there, those that came together as one.

        Where the work has a flow, it may be asked for further jobs, and told of rungs: see :class:`Flow`.
        After :meth:`stop`, the jobs that run are answered and no others; closed before its end, it ends them.
        """

    def stop(self) -> None:
        """Start no further job of the present run. Called from a signal handler: it may only set a flag."""

    def close(self) -> None:
        """Give back what it holds. It can be used again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
