"""The tables of a new database, as they are in the newest schema.

Their statements are made once in a process, and without Alembic, which takes longer to load than the tables to be made.
"""

from __future__ import annotations

import functools

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from actsearch.storage.tables import Base

__all__ = ["create_tables"]


def create_tables(connection: Connection, revision: str, version_table: str) -> None:
    """Make every table of an empty database, and write down its revision where Alembic looks for it."""
    dialect = connection.dialect
    for statement in _statements(f"{dialect.name}+{dialect.driver}://", version_table):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"INSERT INTO {version_table} (version_num) VALUES ('{revision}')")


@functools.cache
def _statements(url: str, version_table: str) -> tuple[str, ...]:
    """What makes the tables of the models and that of the revision, for one kind of database."""
    made: list[str] = []
    dialect = sa.make_url(url).get_dialect()()
    engine = sa.create_mock_engine(
        url, lambda sql, *_, **__: made.append(str(sql.compile(dialect=dialect)))
    )
    Base.metadata.create_all(engine, checkfirst=False)
    revisions = sa.Table(  # as Alembic makes it
        version_table, sa.MetaData(), sa.Column("version_num", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name=f"{version_table}_pkc"),
    )  # fmt: skip
    revisions.create(engine, checkfirst=False)
    return tuple(made)
