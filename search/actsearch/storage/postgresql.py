"""PostgreSQL: one writer at a time, as in a file, and whether a commit whose answer was lost took place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection

from actsearch.errors import StorageError
from actsearch.storage.backend import (
    BUSY_SECONDS,
    DISK_FULL,
    JSON,
    Backend,
    OpenRequest,
    held_by_another,
)
from actsearch.storage.redaction import split_secrets

__all__ = ["PostgreSQL"]

_LOCK = 0x616374736561  # "actsea": our key among the advisory locks of a database

# The advisory lock makes it one writer at a time, as in SQLite, so that code is right for both. A driver that was
# stopped in the middle of a transaction must not keep the others out for ever: the server ends its session.
_BEGIN_WRITE = (
    f"SELECT set_config('lock_timeout', '{BUSY_SECONDS}s', true), "
    f"set_config('idle_in_transaction_session_timeout', '{BUSY_SECONDS}s', true), "
    f"pg_advisory_xact_lock({_LOCK}), txid_current()"
)
# REPEATABLE READ: all statements of a reader see one snapshot; the default sees a new one with each statement
_BEGIN_READ = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_TRANSACTION = "actsearch_transaction"


_ADVICE = {  # by SQLSTATE
    "55P03": held_by_another(BUSY_SECONDS),  # lock_not_available
    "53100": DISK_FULL,
    "42501": "; give this user the right to make and use tables in this database",
}
_FULL = ("too many clients", "too many connections", "remaining connection slots")


class PostgreSQL(Backend):
    """A database of a server."""

    resource = "a database"
    remote = True

    def __init__(self, request: OpenRequest) -> None:
        self._shown = request.shown
        url, secrets = split_secrets(request.url.set(drivername="postgresql+psycopg"))
        arguments = _arguments(request) | secrets
        try:
            # servers and proxies end idle connections: each is tried before it is used
            self.engine = sa.create_engine(url, pool_pre_ping=True, connect_args=arguments, **JSON)
        except ImportError as error:
            raise StorageError(
                f"{request.shown}: no driver for PostgreSQL is installed ({error}); "
                "install actsearch with its extra, actsearch[postgresql]"
            ) from error
        except (exc.ArgumentError, ValueError):  # as more ports than hosts; it may quote the URL
            raise StorageError(
                f"{request.shown} cannot be read; write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
            ) from None

        @event.listens_for(self.engine, "begin")
        def on_begin(connection: Connection) -> None:
            if not connection.get_execution_options().get("actsearch_write", False):
                connection.exec_driver_sql(_BEGIN_READ)
                return
            row = connection.exec_driver_sql(_BEGIN_WRITE).one()
            connection.info[_TRANSACTION] = row[-1]

    def transaction_id(self, connection: Connection) -> int | None:
        """The server's own number of the transaction."""
        return int(connection.info[_TRANSACTION])

    def was_committed(self, transaction: int | None) -> bool:
        """Ask the server what became of a transaction; it may still be ending it, or be restarting."""
        for _ in range(BUSY_SECONDS):  # once a second
            try:
                with self.engine.connect() as fresh:
                    query = f"SELECT txid_status({transaction:d})"
                    status = fresh.exec_driver_sql(query).scalar()
            except exc.OperationalError:
                status = None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            time.sleep(1)
        raise StorageError(
            f"{self._shown}: the connection broke and the server does not say whether the last write was stored; "
            "once it answers again, run again to continue: nothing is stored twice"
        )

    def copy_into(self, path: Path) -> None:
        """Refused."""
        raise StorageError(
            f"{self._shown} is on a server: pg_dump copies its database, and actsearch export a study"
        )

    def advice(self, error: exc.DBAPIError) -> str:
        """What to do about an unreachable server, a missing database, missing rights, a lock."""
        message = str(error.orig)
        state = getattr(error.orig, "sqlstate", None)
        if state in _ADVICE:
            return _ADVICE[state]
        if self.is_full(error):
            return "; the server has no connection left: end other programs, or raise its max_connections"
        if "does not exist" in message and "database" in message:
            return "; make the database with createdb, create_study then fills it"
        if "authentication failed" in message or "no password supplied" in message:
            return "; check the user and the password in the URL"
        if state is None or state.startswith(("08", "57")):  # connection, operator intervention
            return "; check that the server runs and can be reached at this address"
        return ""

    def is_full(self, error: exc.DBAPIError) -> bool:
        """Whether the server has no connection left for the moment."""
        return any(text in str(error.orig) for text in _FULL)


def _arguments(request: OpenRequest) -> dict[str, Any]:
    """Timeouts and a name for the server's list of connections, where the URL does not set them."""
    # without one, a server that does not answer is waited for as long as the system's TCP does: minutes
    ours = {"connect_timeout": "10", "application_name": "actsearch"}
    return {name: value for name, value in ours.items() if name not in request.url.query}
