"""Reading and writing the trials of a study, inside a transaction.

Statements are made once, and rows are plain tuples and mappings: a study reads every trial it has when it starts, and
writes twice for each one it trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from actsearch.errors import StorageError
from actsearch.records import EvaluationRecord, Outcome, TrialRecord, TrialState
from actsearch.storage import convert, insight, tolerant
from actsearch.storage.environment import all_versions, environment_id, versions
from actsearch.storage.tables import Base, EpochRow, EvaluationRow, utc_now

__all__ = ["add", "finish", "no_collection", "read", "screen", "start"]

_TRIALS = Base.metadata.tables["trials"]
_VALUES = Base.metadata.tables["trial_values"]
_EVALUATIONS = Base.metadata.tables["evaluations"]

_OF_STUDY = _TRIALS.c.study_id == bindparam("of_study")
_THIS = sa.and_(_OF_STUDY, _TRIALS.c.number == bindparam("of_number"))

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
_LAST = sa.select(sa.func.max(_TRIALS.c.number)).where(_OF_STUDY)
_IDS = sa.select(_TRIALS.c.number, _TRIALS.c.id).where(
    _OF_STUDY, _TRIALS.c.number.in_(bindparam("numbers", expanding=True))
)
_START = (
    _TRIALS.update()
    .where(_THIS)
    .values(state=TrialState.RUNNING.value, started=bindparam("now"), trained_in=bindparam("here"))
)

_MOST_OBJECTIVES = 1000  # no study has as many

_PUT_BACK = (
    _TRIALS.update()
    .where(_THIS, _TRIALS.c.state == TrialState.RUNNING.value)
    .values(state=TrialState.WAITING.value, started=None, trained_in=None)
)


def _setting(*columns: str) -> sa.Update:
    """Set columns of one trial, from parameters that are named after them with "new_" before."""
    return (
        _TRIALS.update().where(_THIS).values({name: bindparam(f"new_{name}") for name in columns})
    )


_SCREENED = ("state", "reason", "warnings", "duplicate_of", "fingerprint", "alias", "mirror")
_SCREEN = _setting(*_SCREENED)
_ATTRIBUTES = sa.select(_TRIALS.c.user_attrs).where(_THIS)
_ADD_ATTRIBUTES = _setting("user_attrs")
_FINISH = _setting("state", "spread", "spread_nonfinite", "reason", "seconds", "completed")
_GIVEN = sa.select(_EVALUATIONS.c.id, _EVALUATIONS.c.trial_id, _EVALUATIONS.c.seed).where(
    _EVALUATIONS.c.trial_id.in_(bindparam("trials", expanding=True))
)


def read(
    session: Session,
    study_id: int,
    since: int = 0,
    numbers: Iterable[int] | None = None,
    *,
    epochs: bool = False,
    diagnostics: bool = False,
) -> list[TrialRecord]:
    """Trials in order of their numbers; see :meth:`actsearch.storage.Storage.trials`."""
    query, others, bound = _READ, _OTHERS, {"of_study": study_id, "since": since}
    if numbers is not None:
        wanted = _TRIALS.c.number.in_(sorted(set(numbers)))
        query, others = query.where(wanted), others.where(wanted)
    with no_collection():
        rows = session.connection().execute(query, bound).all()
        found = all_versions(session.connection())
        evaluations = (
            _evaluations(session, query.params(bound), epochs, diagnostics)
            if epochs or diagnostics
            else {}
        )
        more = _other_values(session, others, study_id)
        return [
            convert.trial_record(
                row, found, evaluations.get(row.id, ()), _values(row, more.get(row.id))
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
    """Without the garbage collector, which half of the time would look through what is only just being made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def add(
    connection: Connection, study_id: int, records: Sequence[TrialRecord]
) -> list[TrialRecord]:
    """Insert trials, numbered on from the last one; see :meth:`actsearch.storage.Storage.add_trials`."""
    last = connection.scalar(_LAST, {"of_study": study_id})
    first = 0 if last is None else last + 1
    now = utc_now()  # one moment for all: they were proposed together
    stored = []
    for offset, record in enumerate(records):
        original = record.duplicate_of
        if original is not None and original < 0:
            original = first - 1 - original
        stored.append(
            dataclasses.replace(
                record,
                number=first + offset,
                duplicate_of=original,
                created=record.created or now,
                proposed_with=versions(),
            )
        )
    if stored:
        here = environment_id(connection)
        rows = [convert.trial_row(study_id, record, here) for record in stored]
        connection.execute(_TRIALS.insert(), rows)
    return stored


def screen(connection: Connection, study_id: int, record: TrialRecord) -> None:
    """Set what screening said of a trial."""
    row = convert.trial_row(study_id, record, environment_id(connection))
    found = {f"new_{name}": row[name] for name in _SCREENED}
    connection.execute(_SCREEN, {"of_study": study_id, "of_number": record.number, **found})


def start(connection: Connection, study_id: int, numbers: Sequence[int], now: datetime) -> None:
    """Mark trials RUNNING."""
    if numbers:
        here = environment_id(connection)
        bound = [
            {"of_study": study_id, "of_number": number, "now": now, "here": here}
            for number in numbers
        ]
        connection.execute(_START, bound)


def put_back(connection: Connection, study_id: int, numbers: Sequence[int]) -> None:
    """Mark RUNNING trials WAITING again."""
    if numbers:
        connection.execute(
            _PUT_BACK, [{"of_study": study_id, "of_number": number} for number in numbers]
        )


def finish(
    connection: Connection, study_id: int, outcomes: Mapping[int, Outcome], now: datetime
) -> None:
    """Set what became of trials, and insert their values, evaluations and epochs.

    Raises:
        StorageError: if one of them is not there.
    """
    found = connection.execute(_IDS, {"of_study": study_id, "numbers": list(outcomes)})
    ids = {number: trial_id for number, trial_id in found}
    if missing := sorted(outcomes.keys() - ids.keys()):
        raise StorageError(f"there is no trial {missing[0]} to finish: the study was changed")
    for statement, rows in (
        (
            _FINISH,
            [_ended(study_id, number, outcome, now) for number, outcome in outcomes.items()],
        ),
        (
            _VALUES.insert(),
            [
                convert.value_row(ids[number], objective, value)
                for number, outcome in outcomes.items()
                if outcome.value is not None
                for objective, value in enumerate(outcome.values or (outcome.value,))
            ],
        ),
    ):
        if rows:
            connection.execute(statement, rows)
    _add_epochs(connection, _add_evaluations(connection, ids, outcomes))
    for number, outcome in outcomes.items():
        if outcome.user_attrs:
            _add_attributes(connection, study_id, number, outcome.user_attrs)


def _add_attributes(
    connection: Connection, study_id: int, number: int, more: Mapping[str, Any]
) -> None:
    bound = {"of_study": study_id, "of_number": number}
    before = connection.scalar(_ATTRIBUTES, bound)
    connection.execute(_ADD_ATTRIBUTES, {**bound, "new_user_attrs": {**(before or {}), **more}})


def _ended(study_id: int, number: int, outcome: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "of_study": study_id,
        "of_number": number,
        "new_state": outcome.state.value,
        **{f"new_{name}": value for name, value in convert.spread_columns(outcome.spread).items()},
        "new_reason": outcome.reason,
        "new_seconds": outcome.seconds,
        "new_completed": now,
    }


def _add_epochs(connection: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Insert epochs as the driver takes them: a batch has thousands, each of them nothing but numbers."""
    if rows:
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        columns = convert.EPOCH_COLUMNS
        marks = ", ".join([mark] * len(columns))
        statement = f"INSERT INTO epochs ({', '.join(columns)}) VALUES ({marks})"
        connection.exec_driver_sql(statement, rows)


def _add_evaluations(
    connection: Connection, ids: Mapping[int, int], outcomes: Mapping[int, Outcome]
) -> list[tuple[Any, ...]]:
    """Insert evaluations; the rows of their epochs, which need the ids that are given here."""
    records = [
        (ids[number], record)
        for number, outcome in outcomes.items()
        for record in outcome.evaluations
    ]
    if not records:
        return []
    rows = [
        convert.evaluation_row(trial_id, record) | insight.evaluation_columns(record.diagnostics)
        for trial_id, record in records
    ]
    connection.execute(_EVALUATIONS.insert(), rows)
    found = connection.execute(_GIVEN, {"trials": list(ids.values())})
    given = {(trial_id, seed): evaluation_id for evaluation_id, trial_id, seed in found}
    insight.add(
        connection,
        [(given[trial_id, record.seed], record.diagnostics) for trial_id, record in records],
    )
    return [
        convert.epoch_row(given[trial_id, record.seed], epoch)
        for trial_id, record in records
        for epoch in record.epochs
    ]


def _evaluations(
    session: Session, trials: sa.Select[*tuple[Any, ...]], with_epochs: bool, diagnostics: bool
) -> dict[int, tuple[EvaluationRecord, ...]]:
    """Evaluations, by trial id, of the trials that a query selects, with their epochs and diagnostics if asked for.

    The query goes along as a subquery: a list of ids would meet the database's limit on parameters.
    """
    ids = trials.with_only_columns(_TRIALS.c.id).order_by(None)
    of_trials = sa.select(EvaluationRow).where(EvaluationRow.trial_id.in_(ids))
    rows = session.scalars(of_trials.order_by(EvaluationRow.id)).all()
    epochs = _epochs(session, of_trials) if with_epochs else {}
    seen = insight.read(session, of_trials) if diagnostics else {}
    found: dict[int, list[EvaluationRecord]] = defaultdict(list)
    for row in rows:
        if type(row.seed) is not int:  # another program changed it
            continue
        look = insight.record(row, seen.get(row.id, ()))
        found[row.trial_id].append(convert.evaluation_record(row, epochs.get(row.id, []), look))
    return {trial_id: tuple(items) for trial_id, items in found.items()}


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
