"""Studies in the database: making, finding, changing and deleting them, and the processes that run them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.checks import nearest
from actsearch.errors import StorageError, StudyError
from actsearch.records import RunGoal, StudyRecord, TrialRecord
from actsearch.storage.convert import study_record, study_row
from actsearch.storage.database import retry_lost_connection
from actsearch.storage.lease import Lease, is_alive
from actsearch.storage.redaction import hide_password, quote_name
from actsearch.storage.repository import Repository
from actsearch.storage.tables import LeaseRow, StudyRow
from actsearch.storage.trials import insert_trials

__all__ = ["StudyRepository"]

_log = logging.getLogger("actsearch")


class StudyRepository(Repository):
    """Reads and writes studies and their leases."""

    @retry_lost_connection
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
            row = _find(session, record.name)
            if row is not None and not load_if_exists:
                raise StudyError(
                    f"there is a study {quote_name(record.name)} in {self.database.url} already: "
                    "use load_if_exists=True, load_study, or another name"
                )
            if row is None:
                row = study_row(record)
                session.add(row)
                session.flush()
                insert_trials(session.connection(), row.id, first)
            return study_record(row)

    @retry_lost_connection
    def study(self, name: str) -> StudyRecord:
        """Read one study.

        Raises:
            StudyError: if there is none of that name; suggests the nearest.
        """
        with self.database.reading() as session:
            row = _find(session, name)
            if row is None:
                known = list(map(hide_password, session.scalars(sa.select(StudyRow.name))))
                hint = nearest(name, known) if known else "; it holds no study"
                raise StudyError(
                    f"there is no study {quote_name(name)} in {self.database.url}{hint}"
                )
            return study_record(row)

    @retry_lost_connection
    def find_study(self, name: str) -> StudyRecord | None:
        """Read one study, if there is one of that name."""
        with self.database.reading() as session:
            row = _find(session, name)
            return None if row is None else study_record(row)

    @retry_lost_connection
    def studies(self) -> list[StudyRecord]:
        """Every study, oldest first; one that cannot be read is left out and logged."""
        records = []
        with self.database.reading() as session:
            for row in session.scalars(sa.select(StudyRow).order_by(StudyRow.id)):
                try:
                    records.append(study_record(row))
                except StorageError as error:
                    _log.warning("%s", error)
        return records

    @retry_lost_connection
    def update_study(self, study_id: int, lease: Lease, **changes: Any) -> None:
        """Set direction, task or user_attrs of a study that is leased."""
        with self._writing(lease) as session:
            session.execute(sa.update(StudyRow).where(StudyRow.id == study_id).values(**changes))

    @retry_lost_connection
    def set_direction(self, study: StudyRecord, direction: str) -> bool:
        """Set the direction where neither the study nor a metric has set it yet, unless the study is leased.

        Returns:
            Whether it is set now; else the lease has to be acquired first.

        Raises:
            StudyError: if the study goes the other way, or was deleted.
        """
        with self.database.writing() as session:
            row = _find(session, study.name)
            if row is None or row.id != study.id:
                raise StudyError(f"study {quote_name(study.name)} was deleted in the meantime")
            if row.direction not in (None, direction):
                raise StudyError(
                    f"the direction of study {quote_name(study.name)} is {row.direction!r}: create another study"
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

    @retry_lost_connection
    def _delete(self, record: StudyRecord, lease: Lease) -> None:
        with self._writing(lease) as session:
            session.execute(sa.delete(StudyRow).where(StudyRow.id == record.id))

    def lease(self, study: StudyRecord) -> Lease:
        """A lease on a study, not yet acquired."""
        return Lease(self.database, study.id, study.name)

    @retry_lost_connection
    def is_running(self, study_id: int) -> bool:
        """Whether a living process holds the lease of a study."""
        with self.database.reading() as session:
            row = session.get(LeaseRow, study_id)
            return row is not None and is_alive(row)

    @retry_lost_connection
    def driver(self, study_id: int) -> tuple[str, int] | None:
        """Machine and number of the living process that holds the lease of a study; None without one."""
        with self.database.reading() as session:
            row = session.get(LeaseRow, study_id)
            return (row.host, row.pid) if row is not None and is_alive(row) else None

    @retry_lost_connection
    def run_goal(self, study_id: int) -> RunGoal | None:
        """The goal of the living process that holds the lease of a study; None without one, or one not published."""
        with self.database.reading() as session:
            row = session.get(LeaseRow, study_id)
            if row is None or row.purpose not in ("search", "confirm") or not is_alive(row):
                return None
            target = row.target if isinstance(row.target, int) else None
            return RunGoal(row.purpose, target, row.until, row.acquired)


def _find(session: Session, name: str) -> StudyRow | None:
    return session.scalars(sa.select(StudyRow).where(StudyRow.name == name)).one_or_none()
