"""How studies stand, counted and ranked by the database, so that a list of studies reads no trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from actsearch.records import TrialRecord, TrialState
from actsearch.storage.lease import is_alive
from actsearch.storage.tables import ConfirmationRow, LeaseRow, TrialRow, TrialValueRow
from actsearch.storage.trial_reader import count_trials, read_trials

__all__ = ["Overview", "StudyProgress", "read_overviews", "read_progress"]

_LARGEST = 1.7976931348623157e308  # finite double; SQLite has no function that tells infinity

Counts = dict[TrialState, int]


class Overview(NamedTuple):
    """What is counted in one study.

    Attributes:
        counts: trials by state, every state named.
        verdicts: how many there are.
        is_running: whether a living process drives it.
    """

    counts: Counts
    verdicts: int
    is_running: bool


class StudyProgress(NamedTuple):
    """How the trials of one study did.

    Attributes:
        best: the COMPLETE trial with the best finite value; of equal ones the one that is best in the next objective,
            so that no other dominates it, and then the earliest.
        line: the best value so far at some numbers of trials, evenly spread; None before the first value.
        last_change: when the last trial ended.
    """

    best: TrialRecord | None
    line: tuple[float | None, ...]
    last_change: datetime | None


def read_overviews(session: Session) -> dict[int, Overview]:
    """By study id, of every study with trials, a verdict or a driver."""
    query = sa.select(ConfirmationRow.study_id, sa.func.count()).group_by(ConfirmationRow.study_id)
    verdicts = {study_id: count for study_id, count in session.execute(query)}
    running = {row.study_id for row in session.scalars(sa.select(LeaseRow)) if is_alive(row)}
    by_study = count_trials(session)
    return {
        study_id: Overview(
            by_study.get(study_id, dict.fromkeys(TrialState, 0)),
            verdicts.get(study_id, 0),
            study_id in running,
        )
        for study_id in by_study.keys() | verdicts.keys() | running
    }


def read_progress(
    session: Session, study_id: int, directions: Sequence[str | None], total: int, points: int
) -> StudyProgress:
    """Best trial, history line and last change of one study.

    Args:
        session: on one snapshot of the database.
        study_id: whose.
        directions: of each objective "minimize", or anything else for the largest value.
        total: how many trials there are.
        points: length of the line at most.
    """
    value = TrialValueRow.value
    of_study = (
        TrialRow.study_id == study_id,
        TrialRow.state == TrialState.COMPLETE.value,
        TrialValueRow.trial_id == TrialRow.id,
        TrialValueRow.objective == 0,
        # leaves out infinity and texts, which another program may have written
        value.between(-_LARGEST, _LARGEST),
    )
    orders: list[Any] = [value.asc() if directions[0] == "minimize" else value.desc()]
    for objective, direction in enumerate(directions[1:], start=1):
        other = aliased(TrialValueRow)
        at = sa.select(other.value).where(
            other.trial_id == TrialRow.id, other.objective == objective
        )
        further = at.scalar_subquery()
        orders.append(sa.nulls_last(further.asc() if direction == "minimize" else further.desc()))
    number = session.scalar(
        sa.select(TrialRow.number).where(*of_study).order_by(*orders, TrialRow.number).limit(1)
    )
    return StudyProgress(
        None if number is None else read_trials(session, study_id, numbers=[number])[0],
        () if number is None else _line(session, of_study, directions[0], total, points),
        session.scalar(
            sa.select(sa.func.max(TrialRow.completed)).where(TrialRow.study_id == study_id)
        ),
    )


def _line(
    session: Session, of_study: tuple[Any, ...], direction: str | None, total: int, points: int
) -> tuple[float | None, ...]:
    """The best value so far; the database finds the best of each stretch, so that little is read of many trials."""
    best: Callable[[float, float], float] = min if direction == "minimize" else max
    aggregate = sa.func.min if direction == "minimize" else sa.func.max
    points = min(points, total)
    stretch = TrialRow.number * points // total
    query = sa.select(stretch.label("stretch"), aggregate(TrialValueRow.value)).where(*of_study)
    bests = {index: value for index, value in session.execute(query.group_by("stretch"))}
    line: list[float | None] = []
    for index in range(points):
        before, here = line[-1] if line else None, bests.get(index)
        known = [value for value in (before, here) if value is not None]
        line.append(None if not known else known[0] if len(known) == 1 else best(*known))
    return tuple(line)
