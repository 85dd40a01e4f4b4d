"""What the rest of the program asks of the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.errors import StorageError, StudyError, nearest
from actsearch.records import Outcome, RunGoal, Score, StudyRecord, TrialRecord
from actsearch.storage import columns as narrow
from actsearch.storage import confirming, convert, trials
from actsearch.storage.confirming import OpenConfirmation
from actsearch.storage.curves import Curves, first_curves
from actsearch.storage.database import Database, retried
from actsearch.storage.lease import Lease, is_alive
from actsearch.storage.overview import Overview, StudyProgress, read_overviews, read_progress
from actsearch.storage.redaction import quoted, without_password
from actsearch.storage.tables import (
    ConfirmationRow,
    LeaseRow,
    StudyRow,
    TrialRow,
    utc_now,
)

__all__ = ["Confirmation", "Storage"]

_log = logging.getLogger("actsearch")

_STAMP = sa.select(
    *(
        sa.select(what).scalar_subquery()
        for what in (
            sa.func.count(StudyRow.id),
            sa.func.max(StudyRow.id),
            sa.func.count(TrialRow.id),
            sa.func.max(TrialRow.id),
            sa.func.max(TrialRow.completed),
            sa.func.max(ConfirmationRow.id),
            sa.func.max(LeaseRow.renewed),
        )
    )
)


@dataclass(frozen=True)
class Confirmation:
    """A stored verdict.

    Attributes:
        study_name: the study it belongs to.
        number: 0-based position among the study's verdicts.
        verdict: its data, as the report wrote it.
    """

    study_name: str
    number: int
    verdict: Mapping[str, Any]
    created: datetime


class Storage:
    """Studies and trials in one database; each method is one transaction."""

    def __init__(self, url: str, *, create: bool = False, read_only: bool = False) -> None:
        """See :class:`actsearch.storage.database.Database`."""
        self.database = Database(url, create=create, read_only=read_only)

    # studies

    @retried
    def create_study(
        self,
        record: StudyRecord,
        first: Sequence[TrialRecord] = (),
        *,
        load_if_exists: bool = False,
    ) -> StudyRecord:
        """Store a new study, with trials that it begins with; its id is assigned.

        Returns:
            The new study, or the one that has the name where that is to be loaded: ``created`` tells them apart.

        Raises:
            StudyError: if the name is taken.
        """
        with self.database.writing() as session:
            taken = _find(session, record.name)
            if taken is not None and load_if_exists:
                return convert.study_record(taken)
            if taken is not None:
                raise StudyError(
                    f"there is a study {quoted(record.name)} in {self.database.url} already: "
                    "use load_if_exists=True, load_study, or another name"
                )
            row = StudyRow(
                name=record.name,
                seed=record.seed,
                direction=record.direction,
                space=dict(record.space),
                strategy=dict(record.strategy),
                task=None if record.task is None else dict(record.task),
                versions=dict(record.versions),
                user_attrs=dict(record.user_attrs),
                created=utc_now(),
                pruner=None if record.pruner is None else dict(record.pruner),
                directions=list(record.directions) or None,
                objectives=list(record.objectives) or None,
            )
            session.add(row)
            session.flush()
            if first:
                trials.add(session.connection(), row.id, first)
            return convert.study_record(row)

    @retried
    def study(self, name: str) -> StudyRecord:
        """Read one study.

        Raises:
            StudyError: if there is none of that name; suggests the nearest.
        """
        with self.database.reading() as session:
            row = _find(session, name)
            if row is None:
                names = session.scalars(sa.select(StudyRow.name)).all()
                known = map(without_password, names)
                hint = nearest(name, known) if names else "; it holds no study"
                raise StudyError(f"there is no study {quoted(name)} in {self.database.url}{hint}")
            return convert.study_record(row)

    @retried
    def find_study(self, name: str) -> StudyRecord | None:
        """Read one study, if there is one of that name."""
        with self.database.reading() as session:
            row = _find(session, name)
            return None if row is None else convert.study_record(row)

    @retried
    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first; one that cannot be read is left out and logged."""
        found = []
        with self.database.reading() as session:
            for row in session.scalars(sa.select(StudyRow).order_by(StudyRow.id)):
                try:
                    found.append(convert.study_record(row))
                except StorageError as error:
                    _log.warning("%s", error)
        return found

    @retried
    def update_study(self, study_id: int, lease: Lease, **changes: Any) -> None:
        """Set direction, task or user_attrs of a study that is leased."""
        with self.database.writing() as session:
            lease.check(session)
            session.execute(sa.update(StudyRow).where(StudyRow.id == study_id).values(**changes))

    @retried
    def set_direction(self, study: StudyRecord, direction: str) -> bool:
        """Say which way is better, where neither the study nor a metric has said it yet, unless a lease lies on it.

        Returns:
            Whether it is so now; else the lease is to be taken first.

        Raises:
            StudyError: if the study goes the other way, or was deleted.
        """
        with self.database.writing() as session:
            row = _find(session, study.name)
            if row is None or row.id != study.id:
                raise StudyError(f"study {quoted(study.name)} was deleted meanwhile")
            if row.direction not in (None, direction):
                raise StudyError(
                    f"the direction of study {quoted(study.name)} is {row.direction!r}: make another one"
                )
            if row.direction is None and session.get(LeaseRow, row.id) is not None:
                return False
            row.direction = direction
            return True

    def delete_study(self, name: str) -> None:
        """Remove a study with all its trials.

        Raises:
            StudyError: if there is none of that name, or it is being run.
        """
        record = self.study(name)
        lease = self.lease(record)
        lease.acquire()
        try:
            self._delete(record, lease)
        finally:
            lease.release()

    @retried
    def _delete(self, record: StudyRecord, lease: Lease) -> None:
        with self.database.writing() as session:
            lease.check(session)
            session.execute(sa.delete(StudyRow).where(StudyRow.id == record.id))

    def lease(self, study: StudyRecord) -> Lease:
        """A lease on a study, not yet acquired."""
        return Lease(self.database, study.id, study.name)

    @retried
    def is_running(self, study_id: int) -> bool:
        """Whether a living process holds the lease of a study."""
        with self.database.reading() as session:
            row = session.get(LeaseRow, study_id)
            return row is not None and is_alive(row)

    @retried
    def run_goal(self, study_id: int) -> RunGoal | None:
        """What the living process that holds the lease of a study is about; None if nobody does or it was not said."""
        with self.database.reading() as session:
            row = session.get(LeaseRow, study_id)
            if row is None or row.purpose not in ("search", "confirm") or not is_alive(row):
                return None
            target = row.target if isinstance(row.target, int) else None
            return RunGoal(row.purpose, target, row.until, row.acquired)

    @retried
    def overview(self) -> dict[int, Overview]:
        """By study id, what is counted in every study with trials, a verdict or a driver."""
        with self.database.reading() as session:
            return read_overviews(session)

    @retried
    def progress(self, study: StudyRecord, total: int, points: int) -> StudyProgress:
        """How the trials of a study did; see :func:`actsearch.storage.overview.read_progress`."""
        with self.database.reading() as session:
            return read_progress(session, study.id, study.direction, total, points)

    @retried
    def stamp(self) -> tuple[object, ...]:
        """Something that is another after every write that a reader could show; cheap to ask for."""
        with self.database.reading() as session:
            return tuple(session.execute(_STAMP).one())

    # trials

    @retried
    def trials(
        self,
        study_id: int,
        *,
        since: int = 0,
        numbers: Iterable[int] | None = None,
        epochs: bool = False,
        diagnostics: bool = False,
    ) -> list[TrialRecord]:
        """Trials in order of their numbers.

        Args:
            study_id: whose.
            since: smallest number to read.
            numbers: only these.
            epochs: read evaluations with their epochs as well.
            diagnostics: read evaluations with what was seen inside of them.
        """
        with self.database.reading() as session:
            return trials.read(
                session, study_id, since, numbers, epochs=epochs, diagnostics=diagnostics
            )

    @retried
    def columns(
        self, study_id: int, objectives: int = 1, *, since: int = 0, numbers: Sequence[int] = ()
    ) -> narrow.Columns:
        """Trials without what is large: from number ``since`` on, and those of some numbers besides."""
        with self.database.reading() as session:
            return narrow.read(session, study_id, since, numbers, objectives)

    @retried
    def curves(self, study_id: int, steps: Iterable[int] | None = None) -> Curves:
        """By number of trial, the metric's values (step, value) under its first seed; at some steps, or at all."""
        with self.database.reading() as session:
            return first_curves(session, study_id, steps)

    @retried
    def add_trials(
        self, study_id: int, records: Sequence[TrialRecord], lease: Lease | None
    ) -> list[TrialRecord]:
        """Store new trials; they are numbered on from the last one.

        Args:
            study_id: whose.
            records: the trials; numbers in ``duplicate_of`` count from the first of these when negative
                (-1 is the first, -2 the second), since final numbers are assigned here.
            lease: None only for trials that a user enqueues.
        """
        with self.database.writing() as session:
            if lease is not None:
                lease.check(session)
            return trials.add(session.connection(), study_id, records)

    @retried
    def screen_trial(self, study_id: int, record: TrialRecord, lease: Lease) -> None:
        """Store what screening said of a trial that was enqueued."""
        with self.database.writing() as session:
            lease.check(session)
            trials.screen(session.connection(), study_id, record)

    @retried
    def start_trials(self, study_id: int, numbers: Sequence[int], lease: Lease) -> datetime:
        """Mark trials RUNNING; returns when."""
        now = utc_now()
        with self.database.writing() as session:
            lease.check(session)
            trials.start(session.connection(), study_id, numbers, now)
        return now

    @retried
    def put_back_trials(self, study_id: int, numbers: Sequence[int], lease: Lease) -> None:
        """Mark RUNNING trials WAITING again: they were never started."""
        with self.database.writing() as session:
            lease.check(session)
            trials.put_back(session.connection(), study_id, numbers)

    @retried
    def finish_trials(
        self, study_id: int, outcomes: Mapping[int, Outcome], lease: Lease
    ) -> datetime:
        """Store what became of trials, in one transaction; returns when."""
        now = utc_now()
        with self.database.writing() as session:
            lease.check(session)
            trials.finish(session.connection(), study_id, outcomes, now)
        return now

    # confirmations

    @retried
    def confirmations(self, study_id: int | None = None) -> list[Confirmation]:
        """Stored verdicts, oldest first, of one study or of all."""
        query = (
            sa.select(ConfirmationRow, StudyRow.name)
            .join(StudyRow, StudyRow.id == ConfirmationRow.study_id)
            .order_by(ConfirmationRow.id)
        )
        if study_id is not None:
            query = query.where(ConfirmationRow.study_id == study_id)
        with self.database.reading() as session:
            return [
                Confirmation(name, row.number, row.verdict, row.created)
                for row, name in session.execute(query)
            ]

    @retried
    def find_confirmation(self, study_id: int, key: str) -> Confirmation | None:
        """The verdict stored under a key of its settings, if there is one."""
        with self.database.reading() as session:
            row = session.scalars(
                sa.select(ConfirmationRow).where(
                    ConfirmationRow.study_id == study_id, ConfirmationRow.key == key
                )
            ).one_or_none()
            if row is None:
                return None
            return Confirmation("", row.number, row.verdict, row.created)

    @retried
    def begin_confirmation(
        self, study_id: int, key: str, device: str, lease: Lease
    ) -> OpenConfirmation:
        """Begin a confirmation, or go on with the one that was interrupted under the same key.

        Args:
            study_id: whose.
            key: of everything that its verdict depends on, but for versions and device.
            device: kind of device that it is trained on.
            lease: of the study.
        """
        with self.database.writing() as session:
            lease.check(session)
            return confirming.begin(session, study_id, key, device)

    @retried
    def interrupted_confirmations(self, study_id: int) -> list[int]:
        """Of each confirmation without a verdict, how many trainings are stored."""
        with self.database.reading() as session:
            return confirming.interrupted(session, study_id)

    @retried
    def restart_confirmation(self, begun: OpenConfirmation, lease: Lease) -> OpenConfirmation:
        """Drop the trainings that are stored of a confirmation."""
        with self.database.writing() as session:
            lease.check(session)
            return confirming.restart(session, begun)

    @retried
    def add_scores(
        self, begun: OpenConfirmation, scores: Mapping[str, Score], lease: Lease
    ) -> None:
        """Store trainings of a confirmation that have ended, by their keys."""
        with self.database.writing() as session:
            lease.check(session)
            confirming.add_scores(session, begun.id, scores)

    @retried
    def count_looks(
        self, study: StudyRecord, test_data: str, comparisons: Sequence[str], lease: Lease
    ) -> int:
        """Write down that comparisons are about to be made on some test data, each one once.

        In one transaction, so that two studies that confirm at once both see a number that holds.

        Args:
            study: whose.
            test_data: what they are made on.
            comparisons: a key for each, of everything that its result depends on.
            lease: of the study.

        Returns:
            How many others had been made on it before, by every study of this database, deleted ones included: the
            same number when these are begun again.
        """
        with self.database.writing() as session:
            lease.check(session)
            return confirming.count_looks(session, study.name, test_data, comparisons)

    @retried
    def add_confirmation(
        self, study_id: int, key: str, verdict: Mapping[str, Any], lease: Lease
    ) -> None:
        """Store a verdict; the trainings that it was made of are stored no longer."""
        with self.database.writing() as session:
            lease.check(session)
            confirming.finish(session, study_id, key, verdict)


def _find(session: Session, name: str) -> StudyRow | None:
    return session.scalars(sa.select(StudyRow).where(StudyRow.name == name)).one_or_none()
