"""Verdicts on their way, inside a transaction: what was trained for them, and what was looked at."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.records import Score
from actsearch.storage.convert import finite
from actsearch.storage.environment import environment_id
from actsearch.storage.tables import (
    ConfirmationRow,
    ConfirmationTrainingRow,
    LookRow,
    OpenConfirmationRow,
    utc_now,
)

__all__ = [
    "OpenConfirmation",
    "add_scores",
    "begin",
    "restart",
    "count_looks",
    "finish",
    "interrupted",
]

_log = logging.getLogger("actsearch")

_NONFINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class OpenConfirmation:
    """A confirmation whose verdict is not stored yet.

    Attributes:
        id: of its row.
        number: 0-based, in the order in which the confirmations of a study were begun; it keeps it when others are
            begun or stored before it ends.
        created: when it was begun, or begun anew.
        scores: of the trainings that are stored, by key.
    """

    id: int
    number: int
    created: datetime
    scores: Mapping[str, Score] = field(default_factory=dict)


def begin(session: Session, study_id: int, key: str, device: str) -> OpenConfirmation:
    """The row of a confirmation, made if it is not there; trainings of other versions or devices are dropped.

    Args:
        session: in a write transaction.
        study_id: whose.
        key: of everything that the verdict depends on, but for the versions of python and the libraries.
        device: kind of device that trains.
    """
    here = environment_id(session.connection())
    row = session.scalars(
        sa.select(OpenConfirmationRow).where(
            OpenConfirmationRow.study_id == study_id, OpenConfirmationRow.key == key
        )
    ).one_or_none()
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
            "a confirmation that was interrupted begins anew: it was begun with other versions of "
            "python, torch or actsearch, or on another kind of device"
        )
        session.execute(_trainings_of(row.id))
        row.environment_id, row.device = here, device
    if type(row.number) is not int or row.number < 0:  # another program wrote it
        row.number = _next_number(session, study_id)
    return OpenConfirmation(row.id, row.number, row.created, _scores(session, row.id))


def restart(session: Session, begun: OpenConfirmation) -> OpenConfirmation:
    """Drop the trainings of a confirmation; it keeps its number, and begins now."""
    session.execute(_trainings_of(begun.id))
    row = session.get_one(OpenConfirmationRow, begun.id)
    row.created = utc_now()
    return OpenConfirmation(row.id, begun.number, row.created)


def _next_number(session: Session, study_id: int) -> int:
    """How many confirmations of a study were begun: those that are stored, and those that are not."""
    stored = session.scalar(sa.select(sa.func.count()).where(ConfirmationRow.study_id == study_id))
    numbers = session.scalars(
        sa.select(OpenConfirmationRow.number).where(OpenConfirmationRow.study_id == study_id)
    ).all()
    after = [number + 1 for number in numbers if type(number) is int]
    return max([(stored or 0) + len(numbers), *after])


def _trainings_of(confirmation_id: int) -> sa.Delete:
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


def interrupted(session: Session, study_id: int) -> list[int]:
    """Stored trainings of each confirmation of a study whose verdict is not stored, oldest first."""
    table = ConfirmationTrainingRow
    stored = (
        sa.select(sa.func.count())
        .where(table.confirmation_id == OpenConfirmationRow.id)
        .scalar_subquery()
    )
    query = sa.select(stored).where(OpenConfirmationRow.study_id == study_id)
    return list(session.scalars(query.order_by(OpenConfirmationRow.id)))


def add_scores(session: Session, confirmation_id: int, scores: Mapping[str, Score]) -> None:
    """Store trainings; what stood under their keys could not be read."""
    table = ConfirmationTrainingRow
    session.execute(_trainings_of(confirmation_id).where(table.key.in_(list(scores))))
    session.add_all(
        table(
            confirmation_id=confirmation_id, key=key, score=_score_json(score), reason=score.reason
        )
        for key, score in scores.items()
    )


def _score_json(score: Score) -> dict[str, Any]:
    return {
        "valid": _json_number(score.valid),
        "test": _json_number(score.test),
        "blind": score.blind,
        "losses": [_json_number(loss) for loss in score.losses],
    }


def _json_number(value: float | None) -> float | str | None:
    number, text = finite(None if value is None else float(value))
    return number if text is None else text


def _score(data: Any, reason: Any) -> Score | None:
    """A stored training, to the last bit as it was; None for what no version wrote: it is trained again."""
    if not isinstance(data, dict) or set(data) != {"valid", "test", "blind", "losses"}:
        return None
    if type(data["blind"]) is not bool or not isinstance(data["losses"], list):
        return None
    try:
        valid, test, *losses = map(_number, (data["valid"], data["test"], *data["losses"]))
    except ValueError:
        return None
    if test is not None and not math.isfinite(test):
        return None
    return Score(valid, test, data["blind"], tuple(losses), str(reason))


def _number(value: Any) -> float | None:
    """A number as :func:`_json_number` wrote it; ValueError for anything else."""
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, str) and value in _NONFINITE:
        return float(value)
    raise ValueError(value)


def count_looks(
    session: Session, study_name: str, test_data: str, comparisons: Sequence[str]
) -> int:
    """See :meth:`actsearch.storage.Storage.count_looks`.

    What was made before is what lies before the last of these, so that it is the same number at any later time.
    """
    ours = sa.and_(LookRow.test_data == test_data, LookRow.key.in_(comparisons))
    known = set(session.scalars(sa.select(LookRow.key).where(ours)))
    now = utc_now()
    for key in dict.fromkeys(comparisons):
        if key not in known:
            session.add(
                LookRow(
                    test_data=test_data,
                    comparisons=1,
                    study_name=study_name,
                    created=now,
                    key=key,
                )
            )
    session.flush()
    last = sa.select(sa.func.max(LookRow.id)).where(ours).scalar_subquery()
    others = sa.or_(LookRow.key.is_(None), LookRow.key.not_in(comparisons))
    before = session.scalar(
        sa.select(sa.func.sum(LookRow.comparisons)).where(
            LookRow.test_data == test_data, others, LookRow.id < last
        )
    )
    return int(before or 0)


def finish(session: Session, study_id: int, key: str, verdict: Mapping[str, Any]) -> None:
    """Store a verdict in the place of what it was made of."""
    session.execute(
        sa.delete(OpenConfirmationRow).where(
            OpenConfirmationRow.study_id == study_id, OpenConfirmationRow.key == key
        )
    )
    count = session.scalar(sa.select(sa.func.count()).where(ConfirmationRow.study_id == study_id))
    session.add(
        ConfirmationRow(
            study_id=study_id,
            number=count or 0,
            key=key,
            verdict=dict(verdict),
            created=utc_now(),
        )
    )
