"""SQLite: a file that is never made by accident nor swapped unnoticed, and transactions that begin as we say."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from actsearch.errors import StorageError
from actsearch.storage.backend import BUSY_SECONDS, JSON, READ_SECONDS, Opening
from actsearch.storage.file import LostLog, WatchedFile, located

__all__ = ["Sqlite", "connector"]

_random = random.SystemRandom()  # the global stream is the user's


class Sqlite:
    """A database in a file, or in memory."""

    own = "a file"
    remote = False

    def __init__(self, opening: Opening) -> None:
        self._shown = opening.shown
        self.immutable = False
        self._file: WatchedFile | None = None
        self._alone: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        self._read_only = opening.read_only
        self._patience = READ_SECONDS if opening.read_only else BUSY_SECONDS
        if opening.url.database is None:
            self._alone = threading.RLock()  # threads share the one connection, in turns
            shared = {"check_same_thread": False}
            self.engine = sa.create_engine(
                "sqlite://", poolclass=StaticPool, connect_args=shared, **JSON
            )
        else:
            create = opening.create and not opening.read_only
            self._file = WatchedFile(located(str(opening.url.database), create))
            self._file.remember()
            self._file.check()
            self.engine = self._opened(self._file.path, opening.read_only)
        self._listen()

    def _opened(self, path: Path, read_only: bool) -> Engine:
        mode = "ro" if read_only else "rw"  # never "rwc": a file that vanishes is not made anew
        location = "file:" + quote(os.fsencode(path)) + f"?mode={mode}"
        if read_only and _needs_a_picture(location):
            location += "&immutable=1"
            self.immutable = True

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                location, uri=True, timeout=self._patience, check_same_thread=False
            )

        # a connection for each thread: one that waits for the writer does not keep the next from reading
        return sa.create_engine(
            "sqlite://", creator=connect, poolclass=sa.QueuePool, max_overflow=-1, **JSON
        )

    def _listen(self) -> None:
        """Say BEGIN ourselves: sqlite3 opens no transaction for DDL, and upgrades reads to writes unsafely."""

        @event.listens_for(self.engine, "connect")
        def on_connect(connection: sqlite3.Connection, _: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")

        @event.listens_for(self.engine, "begin")
        def on_begin(connection: Connection) -> None:
            write = connection.get_execution_options().get("actsearch_write", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
            if self._file is not None:
                self._file.check()
                if write:
                    self._file.check_log(connection.info)

    def alone(self) -> contextlib.AbstractContextManager[object]:
        """A lock for a database in memory; every transaction on a file has a connection of its own."""
        return self._alone

    def before(self) -> None:
        """Say that the file is gone; who only looks goes on with what is there now, such as a backup put back."""
        if self._file is None:
            return
        if self._read_only and self._file.is_replaced:
            self.engine.dispose()
            self._file.remember()
        self._file.check()

    def failed(self, error: BaseException) -> None:
        """Closing writes into the file what a removed log held."""
        if isinstance(error, LostLog):
            self.engine.dispose()

    def ready_to_write(self) -> None:
        """Let readers and the writer go on at the same time; kept in the file, so only said once it is ours.

        SQLite does not wait for a lock where it changes this, lest two that do both wait for the other.
        """
        ends = time.monotonic() + self._patience
        with contextlib.closing(self.engine.raw_connection()) as connection:
            while True:
                try:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise StorageError(
                            f"{self._shown}: {error}; check that the file and its folder can be written"
                        ) from error
                    if time.monotonic() > ends:
                        raise StorageError(f"{self._shown}: {error}{self._held}") from error
                time.sleep(_random.uniform(0.001, 0.05))  # not in step with those who do the same

    @property
    def _held(self) -> str:
        return f"; another program has held it for {self._patience} s, end that and try again"

    def transaction(self, connection: Connection) -> int | None:
        """None: no connection to a file breaks."""
        return None

    def committed(self, transaction: int | None) -> bool:
        """False, as no connection to a file breaks."""
        return False

    def is_full(self, error: exc.DBAPIError) -> bool:
        """False: a file has no limit of connections."""
        return False

    def advice(self, error: exc.DBAPIError) -> str:
        """What to do about a lock, a full disk, missing permissions, a damaged file."""
        said = str(error.orig)
        if "locked" in said:
            return self._held
        if "full" in said:
            return "; make room and run again, finished trials are kept"
        if "disk I/O" in said:
            return "; make room, or lift the limit on a file's size, and run again, finished trials are kept"
        if "readonly" in said or "unable to open" in said:
            return "; check that the file and its folder can be written"
        if not isinstance(error, (exc.OperationalError, exc.ProgrammingError)):
            return "; it is damaged or not a database: restore it from a backup"
        return ""


def _needs_a_picture(location: str) -> bool:
    """Whether a file can be read only as something that never changes: its folder cannot be written."""
    try:
        with contextlib.closing(sqlite3.connect(location, uri=True, timeout=0)) as probe:
            probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return "locked" not in str(error)  # by another program, for the moment
    except (sqlite3.DatabaseError, ValueError):
        pass  # said by the check of the schema
    return False


def connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """Opens the file of another library's database by its path, made if it is missing."""
    return functools.partial(sqlite3.connect, str(path), check_same_thread=False)
