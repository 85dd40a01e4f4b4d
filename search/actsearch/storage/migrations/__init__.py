"""Alembic migrations, run inside the caller's transaction.

Alembic's own entry, an ``env.py`` with ``alembic.context`` and ``alembic.op``, hands the connection over in module
globals: of two threads that migrate, each writes into the other's database. So a migration is given its operations.
"""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

__all__ = ["upgrade"]

_ONE_AT_A_TIME = threading.Lock()
"""Alembic says nothing of threads. Taken inside of the transaction, so that nobody who has it waits for a database."""


def upgrade(connection: Connection, revision: str, version_table: str) -> None:
    """Bring a database to a revision; the caller's transaction makes it all or nothing."""
    with _ONE_AT_A_TIME:
        scripts = ScriptDirectory(str(Path(__file__).parent))
        context = MigrationContext.configure(
            connection,
            opts={
                "fn": lambda current, _: scripts._upgrade_revs(revision, current),
                "version_table": version_table,
                "transactional_ddl": True,
            },
        )
        context.run_migrations(op=Operations(context))
