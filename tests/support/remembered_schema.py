"""The tables of an empty database are made by the migrations once in a process, and then as the first time.

A new database passes through every migration there has been, which takes Alembic a tenth of a second. Most tests make
one or more, and are about something else. Those of the migrations themselves ask for the fixture ``migrations_run``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

__all__ = ["remembering"]

Upgrade = Callable[[Connection, str, str], None]
_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")


def remembering(upgrade: Upgrade) -> Upgrade:
    """The same, quicker for an empty database after the first one of its kind."""
    statements: dict[tuple[str, str, str], list[tuple[str, Any]]] = {}

    def quick(connection: Connection, revision: str, version_table: str) -> None:
        key = (connection.dialect.name, revision, version_table)
        if sa.inspect(connection).get_table_names():
            upgrade(connection, revision, version_table)
        elif key in statements:
            for statement, parameters in statements[key]:
                connection.exec_driver_sql(statement, parameters)
        else:
            statements[key] = _recorded(upgrade, connection, revision, version_table)

    return quick


def _recorded(upgrade: Upgrade, connection: Connection, *arguments: str) -> list[tuple[str, Any]]:
    """The statements that change something."""
    made: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.lstrip().upper().startswith(_CHANGES):
            made.append((statement, parameters or None))

    sa.event.listen(connection, "before_cursor_execute", note)
    try:
        upgrade(connection, *arguments)
    finally:
        sa.event.remove(connection, "before_cursor_execute", note)
    return made
