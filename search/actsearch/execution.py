"""Where trials run. Executors only evaluate; they never touch the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from actsearch.errors import StudyError
from actsearch.records import CandidateRecord, Outcome

__all__ = ["Executor", "Job", "Local"]


@dataclass(frozen=True)
class Job:
    """One trial to be trained: its number and its candidate."""

    number: int
    candidate: CandidateRecord


class Executor(Protocol):
    """Trains jobs somewhere. Made by the user, used by one study at a time."""

    @property
    def batch(self) -> int:
        """How many jobs it is handed together."""

    def run(
        self, jobs: Sequence[Job], evaluate: Callable[[Job], Outcome]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Train every job and hand out each outcome as soon as it is there."""


class Local:
    """In this process, one candidate after the other.

    Attributes:
        batch: trials handed over, and stored, together; 1 stores each as soon as it has ended.
    """

    def __init__(self, batch: int | None = None) -> None:
        if batch is not None and (
            isinstance(batch, bool) or not isinstance(batch, int) or batch < 1
        ):
            raise StudyError(f"batch must be a positive integer or None, not {batch!r}")
        self.batch = batch or 1

    def run(
        self, jobs: Sequence[Job], evaluate: Callable[[Job], Outcome]
    ) -> Iterator[tuple[Job, Outcome]]:
        """Train the jobs in order."""
        for job in jobs:
            yield job, evaluate(job)

    def __repr__(self) -> str:
        return f"Local(batch={self.batch})"
