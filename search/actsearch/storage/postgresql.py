"""PostgreSQL: one writer at a time, as in a file, and whether a commit whose answer was lost took place."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection

from actsearch.errors import StorageError
from actsearch.storage.backend import BUSY_SECONDS, JSON, Opening
from actsearch.storage.redaction import split_secrets

__all__ = ["PostgreSQL"]

_LOCK = 0x616374736561  # "actsea": our key among the advisory locks of a database

# a driver that was stopped in the middle of a transaction must not keep the others out for ever
_BEGIN_WRITE = (
    f"SELECT set_config('lock_timeout', '{BUSY_SECONDS}s', true), "
    f"set_config('idle_in_transaction_session_timeout', '{BUSY_SECONDS}s', true), "
    f"pg_advisory_xact_lock({_LOCK}), txid_current()"
)
_BEGIN_READ = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_TRANSACTION = "actsearch_transaction"


class PostgreSQL:
    """A database of a server."""

    own = "a database"
    remote = True
    immutable = False

    def __init__(self, opening: Opening) -> None:
        self._shown = opening.shown
        url, secrets = split_secrets(opening.url.set(drivername="postgresql+psycopg"))
        arguments = _arguments(opening) | secrets
        try:
            self.engine = sa.create_engine(url, pool_pre_ping=True, connect_args=arguments, **JSON)
        except ImportError as error:
            raise StorageError(
                f"{opening.shown}: no driver for PostgreSQL is installed ({error}); "
                "pip install 'actsearch[postgresql]'"
            ) from error
        except (
            exc.ArgumentError,
            ValueError,
        ):  # such as more ports than hosts; its text may hold the URL
            raise StorageError(
                f"{opening.shown} cannot be read; write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
            ) from None

        @event.listens_for(self.engine, "begin")
        def on_begin(connection: Connection) -> None:
            if not connection.get_execution_options().get("actsearch_write", False):
                connection.exec_driver_sql(_BEGIN_READ)
                return
            row = connection.exec_driver_sql(_BEGIN_WRITE).one()
            connection.info[_TRANSACTION] = row[-1]

    def ready_to_write(self) -> None:
        """Nothing to do."""

    def alone(self) -> contextlib.AbstractContextManager[object]:
        """Nothing: every transaction has a connection of its own."""
        return contextlib.nullcontext()

    def before(self) -> None:
        """Nothing to do."""

    def failed(self, error: BaseException) -> None:
        """Nothing to do."""

    def transaction(self, connection: Connection) -> int | None:
        """The server's own number of the transaction."""
        return int(connection.info[_TRANSACTION])

    def committed(self, transaction: int | None) -> bool:
        """Ask the server what became of a transaction; it may be about to end it, or be starting again."""
        for _ in range(BUSY_SECONDS):
            try:
                with self.engine.connect() as fresh:
                    query = f"SELECT txid_status({transaction:d})"
                    found = fresh.exec_driver_sql(query).scalar()
            except exc.OperationalError:
                found = None
            if found in ("committed", "aborted"):
                return bool(found == "committed")
            time.sleep(1)
        raise StorageError(
            f"{self._shown}: the connection broke and the server does not say whether the last write was stored; "
            "once it answers again, run again to continue: what is stored twice is impossible"
        )

    def advice(self, error: exc.DBAPIError) -> str:
        """What to do about a server that is not there, a missing database, rights, a lock."""
        said = str(error.orig)
        state = getattr(error.orig, "sqlstate", None)
        if state == "55P03":
            return f"; another program has held it for {BUSY_SECONDS} s, end that and try again"
        if state == "53100":
            return "; make room and run again, finished trials are kept"
        if state == "42501":
            return "; give this user the right to make and use tables in this database"
        if self.is_full(error):
            return "; the server has no connection left: end other programs, or raise its max_connections"
        if "does not exist" in said and "database" in said:
            return "; make the database with createdb, create_study then fills it"
        if "authentication failed" in said or "no password supplied" in said:
            return "; check the user and the password in the URL"
        if state is None or state.startswith(("08", "57")):
            return "; check that the server runs and can be reached at this address"
        return ""

    def is_full(self, error: exc.DBAPIError) -> bool:
        """Whether the server has no connection left for the moment."""
        full = ("too many clients", "too many connections", "remaining connection slots")
        return any(text in str(error.orig) for text in full)


def _arguments(opening: Opening) -> dict[str, Any]:
    """Timeouts and a name for the server's list of connections, where the URL does not say them."""
    ours = {"connect_timeout": "10", "application_name": "actsearch"}
    return {name: value for name, value in ours.items() if name not in opening.url.query}
