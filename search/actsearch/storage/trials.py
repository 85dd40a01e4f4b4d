"""Trials in the database: adding, starting, finishing and reading them.

Statements are made once, and rows are plain tuples and mappings: a study writes twice for each trial that it trains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.engine import Connection

from actsearch.errors import StorageError
from actsearch.records import HELD, Curve, EvaluationRecord, Outcome, TrialRecord, TrialState
from actsearch.storage import convert, diagnostics_rows, functions
from actsearch.storage.curves import Curves, first_curves
from actsearch.storage.database import retry_lost_connection
from actsearch.storage.environment import environment_id, versions
from actsearch.storage.lease import Lease
from actsearch.storage.repository import Repository
from actsearch.storage.tables import Base, utc_now
from actsearch.storage.trial_reader import TrialColumns, read_columns, read_trials

__all__ = ["TrialRepository", "insert_trials"]

_TRIALS = Base.metadata.tables["trials"]
_VALUES = Base.metadata.tables["trial_values"]
_EVALUATIONS = Base.metadata.tables["evaluations"]

_OF_STUDY = _TRIALS.c.study_id == bindparam("of_study")
_THIS = sa.and_(_OF_STUDY, _TRIALS.c.number == bindparam("of_number"))

_LAST = sa.select(sa.func.max(_TRIALS.c.number)).where(_OF_STUDY)
_IDS = sa.select(_TRIALS.c.number, _TRIALS.c.id, _TRIALS.c.user_attrs).where(
    _OF_STUDY, _TRIALS.c.number.in_(bindparam("numbers", expanding=True))
)


def _setting(*columns: str) -> sa.Update:
    """Set columns of one trial, from parameters that are named after them with "new_" before."""
    return (
        _TRIALS.update().where(_THIS).values({name: bindparam(f"new_{name}") for name in columns})
    )


_SCREENED = (
    "state",
    "reason",
    "warnings",
    "duplicate_of",
    "fingerprint",
    "alias",
    "mirror",
    "user_attrs",
)
_SCREEN = _setting(*_SCREENED)
_START = _setting("state", "started", "trained_in")
_PUT_BACK = _START.where(_TRIALS.c.state == TrialState.RUNNING.value)
_SET_ATTRIBUTES = _setting("user_attrs")
_FINISH = _setting("state", "spread", "spread_nonfinite", "reason", "seconds", "completed")
_DROP_EVALUATIONS = _EVALUATIONS.delete().where(
    _EVALUATIONS.c.trial_id.in_(bindparam("trials", expanding=True))
)
_ASSIGNED = sa.select(_EVALUATIONS.c.id, _EVALUATIONS.c.trial_id, _EVALUATIONS.c.seed).where(
    _EVALUATIONS.c.trial_id.in_(bindparam("trials", expanding=True))
)


class TrialRepository(Repository):
    """Reads and writes trials."""

    @retry_lost_connection
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
            diagnostics: read evaluations with their diagnostics.
        """
        with self.database.reading() as session:
            return read_trials(
                session, study_id, since, numbers, epochs=epochs, diagnostics=diagnostics
            )

    @retry_lost_connection
    def columns(
        self, study_id: int, objectives: int = 1, *, since: int = 0, numbers: Sequence[int] = ()
    ) -> TrialColumns:
        """Trials without what is large: from number ``since`` on, and those of some numbers besides."""
        with self.database.reading() as session:
            return read_columns(session, study_id, since, numbers, objectives)

    @retry_lost_connection
    def functions(self, study_id: int, digests: Collection[bytes]) -> dict[bytes, Curve]:
        """The stored functions of a study, of those with some digests."""
        with self.database.reading() as session:
            return functions.read(session.connection(), study_id, digests)

    @retry_lost_connection
    def curves(self, study_id: int, steps: Iterable[int] | None = None) -> Curves:
        """By number of trial, the metric's values (step, value) under its first seed; at some steps, or at all."""
        with self.database.reading() as session:
            return first_curves(session, study_id, steps)

    @retry_lost_connection
    def add_trials(
        self,
        study_id: int,
        records: Sequence[TrialRecord],
        lease: Lease | None,
        curves: Mapping[bytes, Curve] | None = None,
    ) -> list[TrialRecord]:
        """Store new trials; they are numbered on from the last one.

        Args:
            study_id: whose.
            records: the trials; numbers in ``duplicate_of`` count from the first of these when negative
                (-1 is the first, -2 the second), since final numbers are assigned here.
            lease: None only for trials that a user enqueues.
            curves: the functions of the trials, by the digests of their activations.
        """
        with self.database.writing() if lease is None else self._writing(lease) as session:
            functions.add(session.connection(), study_id, curves or {})
            return insert_trials(session.connection(), study_id, records)

    @retry_lost_connection
    def screen_trial(
        self,
        study_id: int,
        record: TrialRecord,
        lease: Lease,
        curves: Mapping[bytes, Curve] | None = None,
    ) -> None:
        """Store what screening said of a trial that was enqueued, and its functions, by digest."""
        with self._writing(lease) as session:
            connection = session.connection()
            functions.add(connection, study_id, curves or {})
            row = convert.trial_row(study_id, record, environment_id(connection))
            changes = {name: row[name] for name in _SCREENED}
            connection.execute(_SCREEN, _parameters(study_id, record.number, **changes))

    @retry_lost_connection
    def start_trials(self, study_id: int, numbers: Sequence[int], lease: Lease) -> datetime:
        """Mark trials RUNNING; returns when."""
        now = utc_now()
        with self._writing(lease) as session:
            here = environment_id(session.connection()) if numbers else None
            running = {"state": TrialState.RUNNING.value, "started": now, "trained_in": here}
            rows = [_parameters(study_id, number, **running) for number in numbers]
            _execute(session.connection(), _START, rows)
        return now

    @retry_lost_connection
    def put_back_trials(self, study_id: int, numbers: Sequence[int], lease: Lease) -> None:
        """Mark RUNNING trials WAITING again: they were never started."""
        waiting = {"state": TrialState.WAITING.value, "started": None, "trained_in": None}
        with self._writing(lease) as session:
            rows = [_parameters(study_id, number, **waiting) for number in numbers]
            _execute(session.connection(), _PUT_BACK, rows)

    @retry_lost_connection
    def finish_trials(
        self, study_id: int, outcomes: Mapping[int, Outcome], lease: Lease
    ) -> datetime:
        """Store what became of trials, with values, evaluations and epochs, in one transaction; returns when.

        Raises:
            StorageError: if one of them is not there.
        """
        now = utc_now()
        with self._writing(lease) as session:
            connection = session.connection()
            ids, before = _find(connection, study_id, outcomes)
            if held := [ids[number] for number, attrs in before.items() if HELD in attrs]:
                connection.execute(_DROP_EVALUATIONS, {"trials": held})
            ends = [_end(study_id, number, outcome, now) for number, outcome in outcomes.items()]
            _execute(connection, _FINISH, ends)
            values = [
                convert.value_row(ids[number], objective, value)
                for number, outcome in outcomes.items()
                if outcome.value is not None
                for objective, value in enumerate(outcome.values or (outcome.value,))
            ]
            _execute(connection, _VALUES.insert(), values)
            _insert_evaluations(connection, ids, outcomes)
            for number, outcome in outcomes.items():
                if outcome.user_attrs or HELD in before[number]:
                    merged = {**before[number], **outcome.user_attrs}
                    merged.pop(HELD, None)
                    changed = _parameters(study_id, number, user_attrs=merged)
                    connection.execute(_SET_ATTRIBUTES, changed)
        return now

    @retry_lost_connection
    def hold_trials(
        self,
        study_id: int,
        outcomes: Mapping[int, Outcome],
        described: Mapping[int, Mapping[str, Any]],
        lease: Lease,
    ) -> None:
        """Keep what came of trials that stay RUNNING, as it is not decided yet how they end.

        Args:
            study_id: whose.
            outcomes: by number, of which the evaluations are stored as they are.
            described: by number, the rest, for the attribute :data:`HELD`.
            lease: of the study.

        Raises:
            StorageError: if one of them is not there.
        """
        with self._writing(lease) as session:
            connection = session.connection()
            ids, before = _find(connection, study_id, outcomes)
            connection.execute(_DROP_EVALUATIONS, {"trials": list(ids.values())})
            _insert_evaluations(connection, ids, outcomes)
            rows = [
                _parameters(study_id, number, user_attrs={**before[number], HELD: dict(rest)})
                for number, rest in described.items()
            ]
            _execute(connection, _SET_ATTRIBUTES, rows)


def insert_trials(
    connection: Connection, study_id: int, records: Sequence[TrialRecord]
) -> list[TrialRecord]:
    """Insert trials, numbered on from the last one; see :meth:`TrialRepository.add_trials`."""
    if not records:
        return []
    last = connection.scalar(_LAST, {"of_study": study_id})
    first = 0 if last is None else last + 1
    now = utc_now()  # one moment for all: they were proposed together
    stored = []
    for number, record in enumerate(records, first):
        original = record.duplicate_of
        if original is not None and original < 0:
            original = first - 1 - original
        stored.append(
            dataclasses.replace(
                record,
                number=number,
                duplicate_of=original,
                created=record.created or now,
                proposed_with=versions(),
            )
        )
    here = environment_id(connection)
    rows = [convert.trial_row(study_id, record, here) for record in stored]
    connection.execute(_TRIALS.insert(), rows)
    return stored


def _find(
    connection: Connection, study_id: int, numbers: Iterable[int]
) -> tuple[dict[int, int], dict[int, dict[str, Any]]]:
    """Ids and attributes of trials, by number.

    Raises:
        StorageError: if one of them is not there.
    """
    wanted = list(numbers)
    rows = connection.execute(_IDS, {"of_study": study_id, "numbers": wanted}).all()
    ids = {number: trial_id for number, trial_id, _ in rows}
    if missing := sorted(set(wanted) - ids.keys()):
        raise StorageError(f"there is no trial {missing[0]} to finish: the study was changed")
    return ids, {number: dict(attrs or {}) for number, _, attrs in rows}


def _parameters(study_id: int, number: int, **changes: Any) -> dict[str, Any]:
    """What a statement of :func:`_setting` takes for one trial."""
    new = {f"new_{name}": value for name, value in changes.items()}
    return {"of_study": study_id, "of_number": number, **new}


def _execute(connection: Connection, statement: sa.Executable, rows: list[dict[str, Any]]) -> None:
    if rows:  # without any, the statement would run once with no values
        connection.execute(statement, rows)


def _end(study_id: int, number: int, outcome: Outcome, now: datetime) -> dict[str, Any]:
    return _parameters(
        study_id,
        number,
        state=outcome.state.value,
        reason=outcome.reason,
        seconds=outcome.seconds,
        completed=now,
        **convert.spread_columns(outcome.spread),
    )


def _insert_evaluations(
    connection: Connection, ids: Mapping[int, int], outcomes: Mapping[int, Outcome]
) -> None:
    """Insert evaluations, and then their diagnostics and epochs, which need the ids that are assigned here."""
    trainings = [
        (ids[number], record)
        for number, outcome in outcomes.items()
        for record in outcome.evaluations
    ]
    rows = [
        convert.evaluation_row(trial_id, record)
        | diagnostics_rows.evaluation_columns(record.diagnostics)
        for trial_id, record in trainings
    ]
    if not rows:
        return
    connection.execute(_EVALUATIONS.insert(), rows)
    assigned = connection.execute(_ASSIGNED, {"trials": list(ids.values())})
    keys = {(trial_id, seed): evaluation_id for evaluation_id, trial_id, seed in assigned}
    records = [(keys[trial_id, record.seed], record) for trial_id, record in trainings]
    diagnostics_rows.insert_rows(
        connection, [(key, record.diagnostics) for key, record in records]
    )
    _insert_epochs(connection, records)


def _insert_epochs(connection: Connection, records: list[tuple[int, EvaluationRecord]]) -> None:
    """Insert epochs through the driver itself: a batch has thousands, each of them nothing but numbers."""
    rows = [convert.epoch_row(key, epoch) for key, record in records for epoch in record.epochs]
    if rows:
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        columns = convert.EPOCH_COLUMNS
        marks = ", ".join([mark] * len(columns))
        statement = f"INSERT INTO epochs ({', '.join(columns)}) VALUES ({marks})"
        connection.exec_driver_sql(statement, rows)
