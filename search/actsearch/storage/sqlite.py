"""SQLite: a file that is never made by accident nor swapped unnoticed, and transactions that begin as we say."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import LRUCache

from actsearch.errors import StorageError
from actsearch.storage.backend import (
    BUSY_SECONDS,
    DISK_FULL,
    JSON,
    READ_SECONDS,
    Backend,
    OpenRequest,
    held_by_another,
)
from actsearch.storage.file import LostLog, WatchedFile, locate_file
from actsearch.storage.network import check_local

__all__ = ["Sqlite", "connector"]

_READERS_SECONDS = 2.0  # waited at the end of a call for readers, which must not hold anybody up

_random = random.SystemRandom()  # the global stream belongs to the user


_ADVICE = (  # by what SQLite says
    ("full", DISK_FULL),
    (
        "disk I/O",
        "; make room, or lift the limit on a file's size, and run again, finished trials are kept",
    ),
    ("readonly", "; check that the file and its folder can be written"),
    ("unable to open", "; check that the file and its folder can be written"),
)


class Sqlite(Backend):
    """A database in a file, or in memory."""

    resource = "a file"

    def __init__(self, request: OpenRequest) -> None:
        self._shown = request.shown
        self._read_only = request.read_only
        self._patience = READ_SECONDS if request.read_only else BUSY_SECONDS
        self._file: WatchedFile | None = None
        self._exclusive: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if request.url.database is None:
            self._exclusive = threading.RLock()  # threads share the one connection, in turns
            self.engine = _engine(StaticPool(_connect_memory, dialect=_dialect()))
        else:
            if not request.read_only:
                check_local(str(request.url.database))
            create = request.create and not request.read_only
            self._file = WatchedFile(locate_file(str(request.url.database), create))
            self._file.remember()
            self._file.check()
            self.path = self._file.path
            self.engine = self._file_engine(self.path)
        self._listen()

    def _file_engine(self, path: Path) -> Engine:
        mode = "ro" if self._read_only else "rw"  # never "rwc", which makes a missing file anew
        location = "file:" + quote(os.fsencode(path)) + f"?mode={mode}"
        if self._read_only and _requires_immutable(location):
            location += "&immutable=1"
            self.immutable = True

        def connect() -> Any:
            return sqlite3.connect(
                location, uri=True, timeout=self._patience, check_same_thread=False
            )

        # a connection for each thread: one that waits for the writer does not keep the next from reading
        return _engine(sa.QueuePool(connect, max_overflow=-1, dialect=_dialect()))

    def _listen(self) -> None:
        """Say BEGIN ourselves: sqlite3 opens no transaction for DDL, and begins a write as a read.

        A read that becomes a write fails at once when somebody else writes; BEGIN IMMEDIATE waits for its turn.
        """

        @event.listens_for(self.engine, "connect")
        def on_connect(connection: sqlite3.Connection, _: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA foreign_keys = ON")  # off by default, for old programs
            # in WAL mode a killed process loses nothing with NORMAL, and a commit need not wait for the disk
            connection.execute("PRAGMA synchronous = NORMAL")

        @event.listens_for(self.engine, "begin")
        def on_begin(connection: Connection) -> None:
            write = connection.get_execution_options().get("actsearch_write", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
            if self._file is not None:
                self._file.check()
                if write:
                    self._file.check_log(connection.info)

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """A lock for a database in memory; every transaction on a file has a connection of its own."""
        return self._exclusive

    def before_transaction(self) -> None:
        """Refuse a file that is gone; a reader goes on with the one that is there now, such as a restored backup."""
        if self._file is None:
            return
        if self._read_only and self._file.is_replaced:
            self.engine.dispose()
            self._file.remember()
        self._file.check()

    def after_failure(self, error: BaseException) -> None:
        """Closing the connections writes into the file what a removed log held."""
        if isinstance(error, LostLog):
            self.engine.dispose()

    def prepare_writing(self) -> None:
        """Let readers and the writer go on at the same time (WAL); stored in the file, so only done once it is ours.

        SQLite does not wait for a lock here, since two connections that change the mode would wait for each other.
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
                        advice = held_by_another(self._patience)
                        raise StorageError(f"{self._shown}: {error}{advice}") from error
                # out of step with others that do the same
                time.sleep(_random.uniform(0.001, 0.05))

    def checkpoint(self) -> None:
        """Write into the file what its write-ahead log holds; as long as anybody has it open, that stays in the log."""
        if self._file is None:
            return
        with (
            contextlib.suppress(exc.SQLAlchemyError, sqlite3.Error),
            contextlib.closing(self.engine.raw_connection()) as connection,
        ):
            late = time.monotonic() + _READERS_SECONDS
            while True:
                # PASSIVE waits for nobody; what a reader still needs of an older state is left in the log
                row = connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                _, logged, written = row
                if written >= logged or time.monotonic() > late:
                    return
                time.sleep(0.05)  # pages read for moments: until that one has gone

    def copy_into(self, path: Path) -> None:
        """As one file, what its write-ahead log holds included."""
        with (
            contextlib.closing(self.engine.raw_connection()) as connection,
            contextlib.closing(sqlite3.connect(path)) as copy,
        ):
            source: Any = connection.driver_connection
            source.backup(copy)  # in one step, or each write of others would begin it anew
            # one file, and no log beside it, until it is opened for writing
            copy.execute("PRAGMA journal_mode = DELETE")

    def advice(self, error: exc.DBAPIError) -> str:
        """What to do about a lock, a full disk, missing permissions, a damaged file."""
        message = str(error.orig)
        if "locked" in message:
            return held_by_another(self._patience)
        for words, advice in _ADVICE:
            if words in message:
                return advice
        if not isinstance(error, (exc.OperationalError, exc.ProgrammingError)):
            return "; it is damaged or not a database: restore it from a backup"
        return ""


@functools.cache
def _dialect() -> Dialect:
    """One for all databases, as it is after a first connection."""
    engine = sa.create_engine("sqlite://", **JSON)
    with engine.connect() as connection:
        dialect = connection.dialect
    engine.dispose()
    return dialect


_compiled: MutableMapping[Any, Any] = LRUCache(500)  # as many as SQLAlchemy keeps for an engine
"""Statements as text, by dialect: to compile those of a small study takes longer than to run them."""


def _engine(pool: sa.Pool) -> Engine:
    return sa.Engine(
        pool, _dialect(), sa.make_url("sqlite://"), execution_options={"compiled_cache": _compiled}
    )


def _connect_memory() -> Any:
    return sqlite3.connect(":memory:", check_same_thread=False)


def _requires_immutable(location: str) -> bool:
    """Whether a file can be read only as a snapshot that never changes: its folder cannot be written.

    In WAL mode even a reader makes a -shm file beside the database.
    """
    try:
        # no wait: "locked" is answer enough
        with contextlib.closing(sqlite3.connect(location, uri=True, timeout=0)) as probe:
            probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return "locked" not in str(error)  # by another program, for the moment
    except (sqlite3.DatabaseError, ValueError):
        pass  # the check of the schema reports it
    return False


def connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """Opens the file of another library's database by its path, made if it is missing."""
    return functools.partial(sqlite3.connect, str(path), check_same_thread=False)
