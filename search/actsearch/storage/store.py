"""What the rest of the program asks of the database."""

from __future__ import annotations

import sqlalchemy as sa

from actsearch.records import StudyRecord
from actsearch.storage.confirmations import ConfirmationRepository
from actsearch.storage.database import retry_lost_connection
from actsearch.storage.overview import Overview, StudyProgress, read_overviews, read_progress
from actsearch.storage.studies import StudyRepository
from actsearch.storage.tables import ConfirmationRow, LeaseRow, StudyRow, TrialRow
from actsearch.storage.trials import TrialRepository

__all__ = ["Storage"]

_STAMP = sa.select(
    *(
        sa.select(aggregate).scalar_subquery()
        for aggregate in (
            sa.func.count(StudyRow.id),
            sa.func.max(StudyRow.id),
            sa.func.count(TrialRow.id),
            sa.func.max(TrialRow.id),
            sa.func.max(TrialRow.completed),
            sa.func.max(ConfirmationRow.id),
            sa.func.max(LeaseRow.renewed),  # every write of a driver renews its lease
        )
    )
)


class Storage(StudyRepository, TrialRepository, ConfirmationRepository):
    """Studies, trials and verdicts in one database; each method is one transaction."""

    @retry_lost_connection
    def overview(self) -> dict[int, Overview]:
        """By study id, what is counted in every study with trials, a verdict or a driver."""
        with self.database.reading() as session:
            return read_overviews(session)

    @retry_lost_connection
    def progress(self, study: StudyRecord, total: int, points: int) -> StudyProgress:
        """How the trials of a study did; see :func:`actsearch.storage.overview.read_progress`."""
        with self.database.reading() as session:
            directions = study.directions or (study.direction,)
            return read_progress(session, study.id, directions, total, points)

    @retry_lost_connection
    def stamp(self) -> tuple[object, ...]:
        """A value that changes with every write that a reader could show; cheap to ask for."""
        with self.database.reading() as session:
            return tuple(session.execute(_STAMP).one())
