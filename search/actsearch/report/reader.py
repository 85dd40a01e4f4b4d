"""Reading a storage without ever writing to it: what the dashboard and the command line look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from actsearch.records import StudyRecord, TrialRecord, TrialState
from actsearch.report.tables import leaderboard, resolve_duplicates, state_counts
from actsearch.report.verdict import Verdict, readable
from actsearch.storage import Storage

__all__ = ["Reader", "StudySummary"]


@dataclass(frozen=True)
class StudySummary:
    """One line of the list of studies.

    Attributes:
        study: its settings.
        counts: trials by state.
        best: the best complete trial, if any.
        is_running: whether a process drives it now.
        last_change: when its last trial ended.
        verdicts: how many confirmations it has.
    """

    study: StudyRecord
    counts: dict[TrialState, int]
    best: TrialRecord | None
    is_running: bool
    last_change: datetime | None
    verdicts: int


class Reader:
    """A storage opened for reading.

    Raises:
        StorageError: when made, if the database is missing, not ours or newer.
    """

    def __init__(self, url: str) -> None:
        self._storage = Storage(url, read_only=True)

    @property
    def is_live(self) -> bool:
        """Whether later changes of the database will be seen."""
        return not self._storage.database.immutable

    def stamp(self) -> tuple[object, ...]:
        """Something that is another after every change worth showing; cheap to ask for."""
        return self._storage.stamp()

    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first."""
        return self._storage.studies()

    def study(self, name: str) -> StudyRecord:
        """One study's settings; StudyError if there is none of that name."""
        return self._storage.study(name)

    def summaries(self) -> list[StudySummary]:
        """One summary a study, oldest first."""
        return [self.summary(study) for study in self.studies()]

    def summary(self, study: StudyRecord) -> StudySummary:
        """How a study stands."""
        trials = self._storage.trials(study.id)
        ranked = leaderboard(trials, study.direction)
        ended = [trial.completed for trial in trials if trial.completed is not None]
        return StudySummary(
            study,
            state_counts(trials),
            ranked[0] if ranked else None,
            self._storage.is_running(study.id),
            max(ended, default=None),
            len(self._storage.confirmations(study.id)),
        )

    def is_running(self, study: StudyRecord) -> bool:
        """Whether a process drives the study now."""
        return self._storage.is_running(study.id)

    def trials(
        self,
        study: StudyRecord,
        numbers: Iterable[int] | None = None,
        *,
        epochs: bool = False,
        diagnostics: bool = False,
    ) -> list[TrialRecord]:
        """Trials in order, duplicates with the value of what they repeat; with epochs and diagnostics if asked for."""
        found = self._storage.trials(
            study.id, numbers=numbers, epochs=epochs, diagnostics=diagnostics
        )
        return resolve_duplicates(found)

    def verdicts(self, study: StudyRecord) -> list[tuple[datetime, Verdict]]:
        """Confirmations of a study with their time, oldest first."""
        stored = self._storage.confirmations(study.id)
        return readable((item.created, item.verdict) for item in stored)

    def close(self) -> None:
        """Give back the connections."""
        self._storage.database.close()
