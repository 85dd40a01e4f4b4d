"""Reading a storage without ever writing to it, for the dashboard and the command line."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from actsearch.errors import ActsearchError
from actsearch.halving import SuccessiveHalving
from actsearch.records import Curve, RunGoal, StudyRecord, TrialRecord, TrialState
from actsearch.report.columns import (
    columns_frame,
    count_objectives,
    has_counts,
    merge_columns,
    open_numbers,
)
from actsearch.report.pruning import Pruning, summarize_pruning
from actsearch.report.tables import resolve_duplicates
from actsearch.report.verdict import Verdict, read_verdicts
from actsearch.storage import Overview, Storage, StoredTraining

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reader", "StudySummary"]

_POINTS = 40  # of the line in the list of studies
_MOST_OPEN = 5000  # trials to ask for by number; databases limit the parameters of a query


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
        line: the best value so far, at some 40 numbers of trials; None before the first value.
    """

    study: StudyRecord
    counts: dict[TrialState, int]
    best: TrialRecord | None
    is_running: bool
    last_change: datetime | None
    verdicts: int
    line: tuple[float | None, ...] = ()

    @property
    def stage(self) -> str:
        """The stage of the study, in a word.

        "running"; "interrupted", where a process ended amid its trials; "confirmed", with a verdict; "failed", where
        all that were trained failed; "searched", also with proposals of the last batch that were not trained;
        "resumable", where none was trained yet; "empty".
        """
        if self.is_running:
            return "running"
        if self.counts[TrialState.RUNNING]:
            return "interrupted"
        if self.verdicts:
            return "confirmed"
        trained = {state for state, count in self.counts.items() if count and state.is_trained}
        if trained:
            return "failed" if trained == {TrialState.FAILED} else "searched"
        if self.counts[TrialState.WAITING]:
            return "resumable"
        return "searched" if any(self.counts.values()) else "empty"


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

    def summaries(self, before: Sequence[StudySummary] = ()) -> list[StudySummary]:
        """One summary a study, oldest first.

        Args:
            before: what an earlier call returned; of studies in which no trial was added and none ended since then, the
                trials are not read again.
        """
        known = {(item.study.id, item.study.created): item for item in before}
        overview = self._storage.overview()
        return [
            self._summary(study, overview.get(study.id), known.get((study.id, study.created)))
            for study in self.studies()
        ]

    def summary(self, study: StudyRecord) -> StudySummary:
        """One study's summary."""
        return self._summary(study, self._storage.overview().get(study.id), None)

    def _summary(
        self, study: StudyRecord, overview: Overview | None, before: StudySummary | None
    ) -> StudySummary:
        if overview is None:
            return StudySummary(study, dict.fromkeys(TrialState, 0), None, False, None, 0)
        counts, verdicts, is_running = overview
        if before is not None and before.counts == counts:
            best, line, change = before.best, before.line, before.last_change
        else:
            best, line, change = self._storage.progress(study, sum(counts.values()), _POINTS)
        return StudySummary(study, counts, best, is_running, change, verdicts, line)

    def is_running(self, study: StudyRecord) -> bool:
        """Whether a process drives the study now."""
        return self._storage.is_running(study.id)

    def driver(self, study: StudyRecord) -> tuple[str, int] | None:
        """Machine and number of the process that drives the study now; None if nobody drives it."""
        return self._storage.driver(study.id)

    def run_goal(self, study: StudyRecord) -> RunGoal | None:
        """What the process that drives the study is about; None if nobody drives it or it did not say."""
        return self._storage.run_goal(study.id)

    def aim(self, study: StudyRecord) -> RunGoal | None:
        """Deprecated: :meth:`run_goal`."""
        warnings.warn(
            "Reader.aim is called run_goal now; aim will be removed in a later release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.run_goal(study)

    def trials(
        self,
        study: StudyRecord,
        numbers: Iterable[int] | None = None,
        *,
        epochs: bool = False,
        diagnostics: bool = False,
    ) -> list[TrialRecord]:
        """Trials in order, duplicates with the value of what they repeat; with epochs and diagnostics if asked for."""
        trials = self._storage.trials(
            study.id, numbers=numbers, epochs=epochs, diagnostics=diagnostics
        )
        return resolve_duplicates(trials)

    def functions(self, study: StudyRecord, digests: Collection[bytes]) -> dict[bytes, Curve]:
        """The functions that are stored with a study, by the digests of their activations.

        Those of trials that were refused, repeated others, or were stored before schema 0008 are not.
        """
        return self._storage.functions(study.id, digests)

    def frame(self, study: StudyRecord, before: pd.DataFrame | None = None) -> pd.DataFrame:
        """The trials as columns, see :data:`actsearch.report.COLUMNS`; fast however many there are.

        Args:
            study: whose.
            before: what an earlier call returned: only what was added or ended since then is read. It is not changed,
                and returned if nothing was.
        """
        objectives = len(study.directions) or 1
        if before is not None and len(before) and count_objectives(before) == objectives:
            waiting = open_numbers(before)
            if len(waiting) <= _MOST_OPEN:
                since = int(before["number"].iloc[-1]) + 1
                new = self._storage.columns(study.id, objectives, since=since, numbers=waiting)
                merged = merge_columns(before, new.cells)
                if has_counts(merged, new.total):
                    return merged
        return columns_frame(self._storage.columns(study.id, objectives).cells)

    def pruning(self, study: StudyRecord, numbers: Iterable[int]) -> Pruning | None:
        """What a study's pruner saved in some trials, and what it costs; None without one that can be read."""
        try:
            pruner = SuccessiveHalving.from_json(study.pruner or {})
        except ActsearchError:  # made by another version, or changed by another program
            return None
        return summarize_pruning(self.trials(study, numbers, epochs=True), pruner)

    def stored_trainings(self, study: StudyRecord) -> list[list[StoredTraining]]:
        """Of each verdict that is not made yet, the trainings that are stored; oldest first."""
        return self._storage.stored_trainings(study.id)

    def verdicts(self, study: StudyRecord) -> list[tuple[datetime, Verdict]]:
        """Confirmations of a study with their time, oldest first."""
        stored = self._storage.confirmations(study.id)
        return read_verdicts((item.created, item.verdict) for item in stored)

    def close(self) -> None:
        """Give back the connections."""
        self._storage.database.close()
