"""Alembic migrations, run inside the caller's transaction.

Alembic's own entry, an ``env.py`` with ``alembic.context`` and ``alembic.op``, keeps the connection in module globals:
of two threads that migrate, each writes into the other's database. So a migration is given its operations.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

__all__ = ["stamp", "upgrade"]

_ONE_AT_A_TIME = threading.Lock()
"""Alembic promises nothing of threads. Acquired inside the transaction, so that its holder waits for no database."""


def stamp(connection: Connection, revision: str, version_table: str) -> None:
    """Write down which revision a database has."""
    with _ONE_AT_A_TIME:
        context = MigrationContext.configure(connection, opts={"version_table": version_table})
        context.stamp(_scripts(), revision)


def upgrade(connection: Connection, revision: str, version_table: str) -> None:
    """Bring a database from an earlier revision to another; the caller's transaction makes it all or nothing."""
    with _ONE_AT_A_TIME:
        scripts = _scripts()
        context = MigrationContext.configure(
            connection,
            opts={
                "fn": lambda current, _: scripts._upgrade_revs(revision, current),
                "version_table": version_table,
                "transactional_ddl": True,  # Alembic thinks that SQLite has none; ours begins it
            },
        )
        context.run_migrations(op=Operations(context))


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))
