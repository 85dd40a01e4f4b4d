"""Checks of a database that only read it."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from actsearch.records import TrialState
from actsearch.storage.database import VERSION_TABLE, Database
from actsearch.storage.tables import Base

__all__ = ["check_database"]

_MANY = 5  # lines of one kind are enough


def check_database(database: Database) -> Iterator[tuple[str, list[str]]]:
    """Each check with its findings: the file, the schema, orphaned rows, trials that contradict themselves."""
    with database.reading() as session:
        connection = session.connection()
        yield "integrity", _integrity(connection)
        yield f"schema {_revision(connection)}", _schema(connection)
        yield "foreign keys", _orphans(connection)
        yield "trials", _trials(session)


def _revision(connection: Connection) -> str:
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    return ", ".join(map(str, connection.scalars(sa.select(table.c.version_num))))


def _integrity(connection: Connection) -> list[str]:
    """What the database itself reports of its pages and indexes; PostgreSQL lists what it marks as unusable."""
    if connection.dialect.name == "sqlite":
        messages = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        return [] if messages == ["ok"] else messages[:_MANY]
    if connection.dialect.name == "postgresql":
        broken = connection.scalars(
            sa.text(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid "
                "UNION ALL SELECT conname FROM pg_constraint WHERE NOT convalidated"
            )
        )
        return [f"{name} is not valid" for name in broken]
    return []


def _schema(connection: Connection) -> list[str]:
    """Tables and columns that are missing."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    findings = []
    for name, table in Base.metadata.tables.items():
        if name not in present:
            findings.append(f"table {name} is missing")
            continue
        columns = {column["name"] for column in inspector.get_columns(name)}
        findings += [
            f"column {name}.{c.name} is missing" for c in table.columns if c.name not in columns
        ]
    return findings


def _orphans(connection: Connection) -> list[str]:
    """Rows that belong to a row which does not exist."""
    findings = []
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            parent = key.column.table.alias("parent")
            missing = (
                sa.select(sa.func.count())
                .select_from(table.outerjoin(parent, parent.c[key.column.name] == key.parent))
                .where(key.parent.is_not(None), parent.c[key.column.name].is_(None))
            )
            if count := connection.scalar(missing):
                findings.append(
                    f"{count} rows of {table.name} belong to {key.column.table.name} that do not exist"
                )
    return findings


_TRIALS, _VALUES, _STUDIES = (
    Base.metadata.tables[name] for name in ("trials", "trial_values", "studies")
)
_ORIGINAL = _TRIALS.alias("original")
_WRONG: dict[str, tuple[sa.FromClause, sa.ColumnElement[bool]]] = {
    "is COMPLETE without a value": (
        _TRIALS.outerjoin(_VALUES, _VALUES.c.trial_id == _TRIALS.c.id),
        sa.and_(
            _TRIALS.c.state == TrialState.COMPLETE.value,
            _VALUES.c.value.is_(None),
            _VALUES.c.nonfinite.is_(None),
        ),
    ),
    "duplicates a trial that does not exist": (
        _TRIALS.outerjoin(
            _ORIGINAL,
            (_ORIGINAL.c.study_id == _TRIALS.c.study_id)
            & (_ORIGINAL.c.number == _TRIALS.c.duplicate_of),
        ),
        sa.and_(_TRIALS.c.duplicate_of.is_not(None), _ORIGINAL.c.id.is_(None)),
    ),
    "has a state that is not valid": (
        _TRIALS,
        _TRIALS.c.state.not_in([state.value for state in TrialState]),
    ),
}
"""Contradictions that only another program can have written: where to look, and for what."""


def _trials(session: Session) -> list[str]:
    """Trials that contradict themselves."""
    findings = []
    for words, (source, condition) in _WRONG.items():
        rows = session.execute(
            sa.select(_STUDIES.c.name, _TRIALS.c.number)
            .select_from(source.join(_STUDIES, _STUDIES.c.id == _TRIALS.c.study_id))
            .where(condition)
            .order_by(_TRIALS.c.id)
            .limit(_MANY)
        )
        findings += [f"trial {number} of study {name!r} {words}" for name, number in rows]
    gaps = session.execute(
        sa.select(_STUDIES.c.name, sa.func.count(), sa.func.max(_TRIALS.c.number))
        .join(_STUDIES, _STUDIES.c.id == _TRIALS.c.study_id)
        .group_by(_STUDIES.c.id, _STUDIES.c.name)
        .having(sa.func.max(_TRIALS.c.number) != sa.func.count() - 1)
        .limit(_MANY)
    )
    return findings + [
        f"study {name!r} has {count} trials, but numbers up to {last}"
        for name, count, last in gaps
    ]
