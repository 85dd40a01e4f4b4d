"""Verdicts: those that are stored, the finished trainings of those that are not yet, and looks at test data."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.records import ROW_GROUPS, Score, StudyRecord
from actsearch.storage.convert import finite
from actsearch.storage.database import retry_lost_connection
from actsearch.storage.environment import environment_id
from actsearch.storage.lease import Lease
from actsearch.storage.repository import Repository
from actsearch.storage.tables import (
    ConfirmationRow,
    ConfirmationTrainingRow,
    LookRow,
    OpenConfirmationRow,
    StudyRow,
    utc_now,
)

__all__ = ["Confirmation", "ConfirmationRepository", "OpenConfirmation", "StoredTraining"]

_log = logging.getLogger("actsearch")

_NONFINITE = ("nan", "inf", "-inf")
_SCORE = {"valid", "test", "blind", "losses"}
_NOTED = {"ended", "phase", "label", "seed"}  # for readers alone; no result depends on it


@dataclass(frozen=True)
class Confirmation:
    """A stored verdict.

    Attributes:
        study_name: the study it belongs to; "" where it was found by its key.
        number: 0-based position among the study's verdicts.
        verdict: its data, as the report wrote it.
    """

    study_name: str
    number: int
    verdict: Mapping[str, Any]
    created: datetime


@dataclass(frozen=True)
class OpenConfirmation:
    """A confirmation whose verdict is not stored yet.

    Attributes:
        id: of its row.
        number: 0-based, in the order in which the confirmations of a study were begun; it keeps it when others are
            begun or stored before it ends.
        created: when it was begun, or started over.
        scores: of the trainings that are stored, by key.
    """

    id: int
    number: int
    created: datetime
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredTraining:
    """A training of a verdict that is not stored yet, as readers see it.

    Attributes:
        ended: when it was stored; None for those of earlier versions, which did not note it nor what follows.
        phase: "search" while finalists are chosen, "confirm" on test data; "" where it is not known.
        label: of what was trained.
        seed: under which.
    """

    ended: datetime | None = None
    phase: str = ""
    label: str = ""
    seed: int = 0


class ConfirmationRepository(Repository):
    """Reads and writes verdicts."""

    @retry_lost_connection
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
            return [_confirmation(row, name) for row, name in session.execute(query)]

    @retry_lost_connection
    def find_confirmation(self, study_id: int, key: str) -> Confirmation | None:
        """The verdict stored under a key of its settings, if there is one."""
        query = sa.select(ConfirmationRow).filter_by(study_id=study_id, key=key)
        with self.database.reading() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else _confirmation(row)

    @retry_lost_connection
    def begin_confirmation(
        self, study_id: int, key: str, device: str, lease: Lease
    ) -> OpenConfirmation:
        """Begin a confirmation, or go on with the one that was interrupted under the same key.

        Trainings that were made with other versions or on another kind of device are dropped.

        Args:
            study_id: whose.
            key: of everything that its verdict depends on, but for versions and device.
            device: kind of device that it is trained on.
            lease: of the study.
        """
        with self._writing(lease) as session:
            here = environment_id(session.connection())
            query = sa.select(OpenConfirmationRow).filter_by(study_id=study_id, key=key)
            row = session.scalars(query).one_or_none()
            if row is None:
                row = OpenConfirmationRow(
                    study_id=study_id,
                    number=_next_number(session, study_id),
                    key=key,
                    environment_id=here,
                    device=device,
                    created=utc_now(),
                )
                session.add(row)
                session.flush()
            elif (row.environment_id, row.device) != (here, device):
                _log.warning(
                    "an interrupted confirmation starts over: it was begun with other versions of "
                    "python, torch or actsearch, or on another kind of device"
                )
                session.execute(_delete_trainings(row.id))
                row.environment_id, row.device, row.created = here, device, utc_now()
            if type(row.number) is not int or row.number < 0:  # another program wrote it
                row.number = _next_number(session, study_id)
            return OpenConfirmation(row.id, row.number, row.created, _scores(session, row.id))

    @retry_lost_connection
    def restart_confirmation(self, begun: OpenConfirmation, lease: Lease) -> OpenConfirmation:
        """Drop the trainings of a confirmation; it keeps its number, and begins now."""
        with self._writing(lease) as session:
            session.execute(_delete_trainings(begun.id))
            row = session.get_one(OpenConfirmationRow, begun.id)
            row.created = utc_now()
            return OpenConfirmation(row.id, begun.number, row.created)

    @retry_lost_connection
    def interrupted_confirmations(self, study_id: int) -> list[int]:
        """Of each confirmation without a verdict, how many trainings are stored; oldest first."""
        stored = (
            sa.select(sa.func.count())
            .where(ConfirmationTrainingRow.confirmation_id == OpenConfirmationRow.id)
            .scalar_subquery()
        )
        query = sa.select(stored).where(OpenConfirmationRow.study_id == study_id)
        with self.database.reading() as session:
            return list(session.scalars(query.order_by(OpenConfirmationRow.id)))

    @retry_lost_connection
    def stored_trainings(self, study_id: int) -> list[list[StoredTraining]]:
        """Of each confirmation without a verdict, what is stored; oldest first."""
        table = ConfirmationTrainingRow
        query = (
            sa.select(OpenConfirmationRow.id, table.key, table.score)
            .outerjoin(table, table.confirmation_id == OpenConfirmationRow.id)
            .where(OpenConfirmationRow.study_id == study_id)
            .order_by(OpenConfirmationRow.id)
        )
        found: dict[int, list[StoredTraining]] = {}
        with self.database.reading() as session:
            for number, key, data in session.execute(query):
                trainings = found.setdefault(number, [])
                if key is not None:
                    trainings.append(_stored_training(data))
        return list(found.values())

    @retry_lost_connection
    def add_scores(
        self,
        begun: OpenConfirmation,
        scores: Mapping[str, Score],
        lease: Lease,
        notes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        """Store trainings of a confirmation that have ended, by their keys.

        Rows that already have these keys could not be read, or the trainings would not have been repeated.

        Args:
            begun: whose.
            scores: by key.
            lease: of the study.
            notes: for readers, by key: "phase", "label" and "seed".
        """
        stale = ConfirmationTrainingRow.key.in_(list(scores))
        ended = utc_now().isoformat()
        with self._writing(lease) as session:
            session.execute(_delete_trainings(begun.id).where(stale))
            session.add_all(
                ConfirmationTrainingRow(
                    confirmation_id=begun.id,
                    key=key,
                    score={**_score_json(score), **notes.get(key, {}), "ended": ended},
                    reason=score.reason,
                )
                for key, score in scores.items()
            )

    @retry_lost_connection
    def count_looks(
        self, study: StudyRecord, test_data: str, comparisons: Sequence[str], lease: Lease
    ) -> int:
        """Record that comparisons are about to be made on some test data, each one once.

        In one transaction, so that two studies that confirm at once both see a number that holds.

        Args:
            study: whose.
            test_data: what they are made on.
            comparisons: a key for each, of everything that its result depends on.
            lease: of the study.

        Returns:
            How many others had been made on it before the last of these, by every study of this database, deleted
            ones included: the same number at any later time.
        """
        with self._writing(lease) as session:
            of_data = LookRow.test_data == test_data
            ours = sa.and_(of_data, LookRow.key.in_(comparisons))
            known = set(session.scalars(sa.select(LookRow.key).where(ours)))
            now = utc_now()
            session.add_all(
                LookRow(
                    test_data=test_data,
                    comparisons=1,
                    study_name=study.name,
                    created=now,
                    key=key,
                )
                for key in dict.fromkeys(comparisons)
                if key not in known
            )
            session.flush()
            last = sa.select(sa.func.max(LookRow.id)).where(ours).scalar_subquery()
            others = sa.or_(LookRow.key.is_(None), LookRow.key.not_in(comparisons))
            before = sa.select(sa.func.sum(LookRow.comparisons)).where(
                of_data, others, LookRow.id < last
            )
            return int(session.scalar(before) or 0)

    @retry_lost_connection
    def add_confirmation(
        self, study_id: int, key: str, verdict: Mapping[str, Any], lease: Lease
    ) -> None:
        """Store a verdict; the trainings that it was made of are stored no longer."""
        of_study = ConfirmationRow.study_id == study_id
        with self._writing(lease) as session:
            session.execute(sa.delete(OpenConfirmationRow).filter_by(study_id=study_id, key=key))
            number = session.scalar(sa.select(sa.func.count()).where(of_study)) or 0
            session.add(
                ConfirmationRow(
                    study_id=study_id,
                    number=number,
                    key=key,
                    verdict=dict(verdict),
                    created=utc_now(),
                )
            )


def _confirmation(row: ConfirmationRow, study_name: str = "") -> Confirmation:
    return Confirmation(study_name, row.number, row.verdict, row.created)


def _next_number(session: Session, study_id: int) -> int:
    """How many confirmations of a study were begun: those that are stored, and those that are not."""
    stored = session.scalar(sa.select(sa.func.count()).where(ConfirmationRow.study_id == study_id))
    numbers = session.scalars(
        sa.select(OpenConfirmationRow.number).where(OpenConfirmationRow.study_id == study_id)
    ).all()
    after = [number + 1 for number in numbers if type(number) is int]
    return max([(stored or 0) + len(numbers), *after])


def _delete_trainings(confirmation_id: int) -> sa.Delete:
    table = ConfirmationTrainingRow
    return sa.delete(table).where(table.confirmation_id == confirmation_id)


def _scores(session: Session, confirmation_id: int) -> dict[str, Score]:
    table = ConfirmationTrainingRow
    rows = session.execute(
        sa.select(table.key, table.score, table.reason).where(
            table.confirmation_id == confirmation_id
        )
    )
    read = {str(key): _score(data, reason) for key, data, reason in rows}
    return {key: score for key, score in read.items() if score is not None}


def _score_json(score: Score) -> dict[str, Any]:
    data: dict[str, Any] = {
        "valid": _json_number(score.valid),
        "test": _json_number(score.test),
        "blind": score.blind,
        "losses": [_json_number(loss) for loss in score.losses],
    }
    return data | {"without": list(map(float, score.without))} if score.without else data


def _json_number(value: float | None) -> float | str | None:
    number, text = finite(None if value is None else float(value))
    return number if text is None else text


def _score(data: Any, reason: Any) -> Score | None:
    """A stored training, to the last bit as it was; None for what no version wrote: it is trained again."""
    if not isinstance(data, dict) or set(data) - {"without", *_NOTED} != _SCORE:
        return None
    if type(data["blind"]) is not bool or not isinstance(data["losses"], list):
        return None
    try:
        valid, test, *losses = map(_number, (data["valid"], data["test"], *data["losses"]))
    except ValueError:
        return None
    if test is not None and not math.isfinite(test):
        return None
    without = data.get("without", [])  # none from before it was measured
    if not _is_without(without):
        return None
    return Score(valid, test, data["blind"], tuple(losses), str(reason), tuple(without))


def _stored_training(data: Any) -> StoredTraining:
    """What is noted of a training; nothing of what no version wrote."""
    if not isinstance(data, dict) or not data.keys() >= _NOTED:
        return StoredTraining()
    ended, phase, label, seed = (data[name] for name in ("ended", "phase", "label", "seed"))
    if not all(isinstance(text, str) for text in (ended, phase, label)) or type(seed) is not int:
        return StoredTraining()
    try:
        moment = datetime.fromisoformat(ended)
    except ValueError:
        return StoredTraining()
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return StoredTraining(aware, phase, label, seed)


def _is_without(data: Any) -> bool:
    """Whether data is the score without each group of rows, or an empty list."""
    if not isinstance(data, list) or len(data) == 1 or len(data) > ROW_GROUPS:
        return False
    return all(type(item) is float and math.isfinite(item) for item in data)


def _number(value: Any) -> float | None:
    """A number as :func:`_json_number` wrote it; ValueError for anything else."""
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, str) and value in _NONFINITE:
        return float(value)
    raise ValueError(value)
