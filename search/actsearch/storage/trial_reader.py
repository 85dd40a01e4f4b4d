"""Reading the trials of a study, inside a transaction; a study reads every trial it has when it starts."""

from __future__ import annotations

import contextlib
import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.orm import Session

from actsearch.records import EvaluationRecord, TrialRecord
from actsearch.storage import convert, insight, tolerant
from actsearch.storage.environment import all_versions
from actsearch.storage.tables import Base, EpochRow, EvaluationRow

__all__ = ["no_collection", "read_trials"]

_TRIALS = Base.metadata.tables["trials"]
_VALUES = Base.metadata.tables["trial_values"]

_OF_STUDY = _TRIALS.c.study_id == bindparam("of_study")
_READ = (
    sa.select(_TRIALS, _VALUES.c.value, _VALUES.c.nonfinite)
    .outerjoin(_VALUES, (_VALUES.c.trial_id == _TRIALS.c.id) & (_VALUES.c.objective == 0))
    .where(_OF_STUDY, _TRIALS.c.number >= bindparam("since"))
    .order_by(_TRIALS.c.number)
)
_OTHERS = (
    sa.select(_VALUES.c.trial_id, _VALUES.c.objective, _VALUES.c.value, _VALUES.c.nonfinite)
    .join(_TRIALS, _VALUES.c.trial_id == _TRIALS.c.id)
    .where(_OF_STUDY, _VALUES.c.objective > 0)
    .order_by(_VALUES.c.trial_id, _VALUES.c.objective)
)

_MOST_OBJECTIVES = 1000  # no study has as many; a larger number, which another program wrote, would fill the memory


def read_trials(
    session: Session,
    study_id: int,
    since: int = 0,
    numbers: Iterable[int] | None = None,
    *,
    epochs: bool = False,
    diagnostics: bool = False,
) -> list[TrialRecord]:
    """Trials in order of their numbers; see :meth:`actsearch.storage.Storage.trials`."""
    query, others = _READ, _OTHERS
    bound = {"of_study": study_id, "since": since}
    if numbers is not None:
        wanted = _TRIALS.c.number.in_(sorted(set(numbers)))
        query, others = query.where(wanted), others.where(wanted)
    with no_collection():
        connection = session.connection()
        rows = connection.execute(query, bound).all()
        environments = all_versions(connection)
        evaluations = {}
        if epochs or diagnostics:
            evaluations = _evaluations(session, query.params(bound), epochs, diagnostics)
        more = _other_values(session, others, study_id)
        return [
            convert.trial_record(
                row, environments, evaluations.get(row.id, ()), _values(row, more.get(row.id))
            )
            for row in rows
            if type(row.number) is int  # one that another program changed is no trial any more
        ]


def _other_values(
    session: Session, query: sa.Select[*tuple[Any, ...]], study_id: int
) -> dict[int, list[float | None]]:
    """By trial id, the values in all objectives but the first."""
    found: dict[int, list[float | None]] = defaultdict(list)
    for trial_id, objective, value, text in session.execute(query, {"of_study": study_id}):
        values = found[trial_id]
        if type(objective) is int and objective < _MOST_OBJECTIVES:
            values += [None] * (objective - 1 - len(values))  # one that is missing moves no other
            values.append(tolerant.number(value, text))
    return found


def _values(row: sa.Row[Any], more: list[float | None] | None) -> tuple[float | None, ...]:
    return (tolerant.number(row.value, row.nonfinite), *more) if more else ()


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Without the garbage collector: it would take half of the time, looking through records that are being made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _evaluations(
    session: Session, trials: sa.Select[*tuple[Any, ...]], with_epochs: bool, diagnostics: bool
) -> dict[int, tuple[EvaluationRecord, ...]]:
    """Evaluations, by trial id, of the trials that a query selects, with their epochs and diagnostics if asked for.

    The query is a subquery here: a list of ids would meet the database's limit on parameters.
    """
    ids = trials.with_only_columns(_TRIALS.c.id).order_by(None)
    of_trials = sa.select(EvaluationRow).where(EvaluationRow.trial_id.in_(ids))
    rows = session.scalars(of_trials.order_by(EvaluationRow.id)).all()
    epochs = _epochs(session, of_trials) if with_epochs else {}
    observed = insight.read(session, of_trials) if diagnostics else {}
    records: dict[int, list[EvaluationRecord]] = defaultdict(list)
    for row in rows:
        if type(row.seed) is not int:  # another program changed it
            continue
        diagnosis = insight.record(row, observed.get(row.id, ()))
        record = convert.evaluation_record(row, epochs.get(row.id, []), diagnosis)
        records[row.trial_id].append(record)
    return {trial_id: tuple(items) for trial_id, items in records.items()}


def _epochs(
    session: Session, evaluations: sa.Select[*tuple[Any, ...]]
) -> dict[int, list[EpochRow]]:
    found: dict[int, list[EpochRow]] = defaultdict(list)
    for epoch in session.scalars(
        sa.select(EpochRow)
        .where(EpochRow.evaluation_id.in_(evaluations.with_only_columns(EvaluationRow.id)))
        .order_by(EpochRow.evaluation_id, EpochRow.epoch)
    ):
        found[epoch.evaluation_id].append(epoch)
    return found
