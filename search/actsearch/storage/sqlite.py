"""SQLite: a file that is never made by accident nor swapped unnoticed, and transactions that begin as we say."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool

from actsearch.errors import StorageError
from actsearch.storage.backend import BUSY_SECONDS, JSON, READ_SECONDS, Opening
from actsearch.storage.file import LostLog, WatchedFile, check_size

__all__ = ["Sqlite"]


class Sqlite:
    """A database in a file, or in memory."""

    own = "a file"
    remote = False

    def __init__(self, opening: Opening) -> None:
        self._shown = opening.shown
        self.immutable = False
        self._file: WatchedFile | None = None
        self._read_only = opening.read_only
        self._patience = READ_SECONDS if opening.read_only else BUSY_SECONDS
        if opening.url.database in (None, "", ":memory:"):
            shared = {"check_same_thread": False}  # a study in memory may be run in a thread
            self.engine = sa.create_engine(
                "sqlite://", poolclass=StaticPool, connect_args=shared, **JSON
            )
        else:
            self._file = WatchedFile(_checked(opening))
            self._file.remember()
            self.engine = self._opened(self._file.path, opening.read_only)
        self._listen()

    def _opened(self, path: Path, read_only: bool) -> Engine:
        mode = "ro" if read_only else "rw"  # never "rwc": a file that vanishes is not made anew
        location = "file:" + quote(str(path)) + f"?mode={mode}"
        if read_only and _needs_a_picture(location):
            location += "&immutable=1"
            self.immutable = True

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                location, uri=True, timeout=self._patience, check_same_thread=False
            )

        return sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool, **JSON)

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
        """Let readers and the writer go on at the same time; kept in the file, so only said once it is ours."""
        with contextlib.closing(self.engine.raw_connection()) as connection:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return  # two make the file at once: the other says it, or the next to open it
                raise StorageError(
                    f"{self._shown}: {error}; check that the file and its folder can be written"
                ) from error

    def transaction(self, connection: Connection) -> int | None:
        """None: no connection to a file breaks."""
        return None

    def committed(self, transaction: int | None) -> bool:
        """False, as no connection to a file breaks."""
        return False

    def advice(self, error: exc.DBAPIError) -> str:
        """What to do about a lock, a full disk, missing permissions, a damaged file."""
        said = str(error.orig)
        if "locked" in said:
            return f"; another program has held it for {self._patience} s, end that and try again"
        if "full" in said:
            return "; make room and run again, finished trials are kept"
        if "disk I/O" in said:
            return "; make room, or lift the limit on a file's size, and run again, finished trials are kept"
        if "readonly" in said or "unable to open" in said:
            return "; check that the file and its folder can be written"
        if not isinstance(error, (exc.OperationalError, exc.ProgrammingError)):
            return "; it is damaged or not a database: restore it from a backup"
        return ""


def _checked(opening: Opening) -> Path:
    """The file, absolute, so that a later change of the folder leads nowhere else; made if it is to be."""
    path = Path(str(opening.url.database))
    if opening.url.query:
        raise StorageError(f"{opening.shown}: a file takes no options; write sqlite:///{path}")
    if path.is_dir():
        raise StorageError(
            f"{path} is a folder; a storage is a file: sqlite:///{path}/actsearch.db"
        )
    if not path.exists():
        if not opening.create or opening.read_only:
            raise StorageError(
                f"there is no database at {path}; create_study makes one, "
                "and a relative path starts from the current folder"
            )
        _make(path)
    check_size(path)
    return path.resolve()


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    try:
        path.touch()
    except OSError as error:
        raise StorageError(
            f"cannot make the file {path}: {error.strerror}; check that its folder can be written"
        ) from None


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
