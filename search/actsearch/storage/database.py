"""Opening a database, and transactions in which every SQLAlchemy error becomes one of ours."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from actsearch.errors import ActsearchError, StorageError
from actsearch.storage.file import LostLog, WatchedFile, check_size

__all__ = ["SCHEMA", "VERSION_TABLE", "Database", "redacted"]

SCHEMA = "0003"
"""Revision of the schema that this version reads and writes."""

_OLDER = ("0001", "0002")  # what it brings up to its own when it writes

VERSION_TABLE = "actsearch_schema"
_BUSY_SECONDS = 60  # a writer waits this long for another one


def redacted(url: str) -> str:
    """A storage URL without its password, for messages."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        return re.sub(r":[^:@/]*@", ":***@", str(url))


class Database:
    """An opened database.

    Attributes:
        url: as given, for messages.
        immutable: opened from a folder that cannot be written, as a picture that never refreshes.
    """

    def __init__(self, url: str, *, create: bool = False, read_only: bool = False) -> None:
        """Args:
        url: SQLAlchemy URL such as ``sqlite:///studies/actsearch.db``; ``sqlite://`` lives in memory.
        create: make the file and its folder if missing.
        read_only: never write.

        Raises:
            StorageError: cannot be opened, missing, not ours, or of a newer version.
        """
        self.url = redacted(url)
        self.immutable = False
        self._read = read_only
        self._file: WatchedFile | None = None
        try:
            parsed = make_url(url)
        except (exc.ArgumentError, ValueError):
            raise StorageError(
                f"{self.url!r} is no storage URL; write sqlite:///FILE, as in sqlite:///studies/actsearch.db"
            ) from None
        if parsed.get_backend_name() != "sqlite":
            raise StorageError(
                f"{self.url}: this version stores in SQLite only; write sqlite:///FILE"
            )
        self._engine = self._opened(parsed, create, read_only)
        with self.translated(), self._decoded():
            self._check_schema(create and not read_only, read_only)
            if not read_only:
                self._use_wal()
        if self._file is not None:
            self._file.remember()

    def _opened(self, url: URL, create: bool, read_only: bool) -> Engine:
        if url.database in (None, "", ":memory:"):
            return _engine(sa.create_engine("sqlite://", poolclass=StaticPool, **_JSON))
        path = Path(str(url.database))
        if path.is_dir():
            raise StorageError(
                f"{path} is a folder; a storage is a file: sqlite:///{path}/actsearch.db"
            )
        if not path.exists():
            if not create:
                raise StorageError(
                    f"there is no database at {path}; create_study makes one, "
                    "and a relative path starts from the current folder"
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"cannot make the folder {path.parent}: {error.strerror}"
                ) from None
        check_size(path)
        self._file = WatchedFile(path)
        if read_only:
            return self._read_only(path)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, **_JSON)
        watched = self._file

        @event.listens_for(engine, "do_connect")
        def before_connect(*_: Any) -> None:
            watched.check()  # SQLite would make a new file

        return _engine(engine)

    def _read_only(self, path: Path) -> Engine:
        """Open for reading; from a folder that cannot be written, as an unchanging picture."""
        location = "file:" + quote(str(path.resolve())) + "?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(location, uri=True)) as probe:
                probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            location += "&immutable=1"
            self.immutable = True
        except (sqlite3.DatabaseError, ValueError):
            pass  # said by the check of the schema

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                location, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
            )

        return _engine(
            sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool, **_JSON)
        )

    def _check_schema(self, create: bool, read_only: bool) -> None:
        with self._engine.connect() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if VERSION_TABLE in tables:
                found = connection.exec_driver_sql(
                    f"SELECT version_num FROM {VERSION_TABLE}"
                ).scalar()
                if found == SCHEMA:
                    return
                if found in _OLDER and read_only:
                    raise StorageError(
                        f"{self.url} has schema {found}, this version reads {SCHEMA}: "
                        "open it once with actsearch.load_study, which brings it up to date"
                    )
                if found in _OLDER:
                    self._upgrade()
                    return
                raise StorageError(
                    f"{self.url} has schema {found}, this version knows {SCHEMA}: "
                    "install the actsearch version that wrote it, or a newer one"
                )
        if tables:
            raise StorageError(
                f"{self.url} is a database of something else (tables: {', '.join(sorted(tables)[:5])}); "
                "give actsearch a file of its own"
            )
        if not create:
            raise StorageError(f"{self.url} is empty: create_study puts a study into it")
        self._upgrade()

    def _upgrade(self) -> None:
        """Bring the schema to this version's, or make it: all of it or nothing."""
        from actsearch.storage.migrations import upgrade  # alembic loads slowly: only when needed

        with self._begin(write=True) as connection:
            upgrade(connection, SCHEMA, VERSION_TABLE)

    def _use_wal(self) -> None:
        """Let readers and the writer go on at the same time; kept in the file, so only said once it is ours."""
        with contextlib.closing(self._engine.raw_connection()) as connection:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return  # two make the file at once: the other says it, or the next to open it
                raise StorageError(
                    f"{self.url}: {error}; check that the file and its folder can be written"
                ) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent picture of the database."""
        with self.translated(), self._decoded(), self._begin(write=False) as connection:
            with Session(connection, expire_on_commit=False) as session:
                yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one write transaction: all of it is stored, or nothing."""
        with self.translated(), self._begin(write=True) as connection:
            with Session(connection, expire_on_commit=False) as session:
                yield session
                session.flush()

    @contextlib.contextmanager
    def _begin(self, write: bool) -> Iterator[Connection]:
        if self._read and self._file is not None and self._file.is_replaced:
            self._engine.dispose()  # who only looks goes on with what is there now
            self._file.remember()
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(actsearch_write=write)
                with connection.begin():
                    if self._file is not None:
                        self._check_file(self._file, connection, write)
                    yield connection
        except LostLog:
            self._engine.dispose()  # closing writes into the file what the removed log held
            raise

    @staticmethod
    def _check_file(file: WatchedFile, connection: Connection, write: bool) -> None:
        file.check()
        if write:
            file.check_log(connection.info)

    @contextlib.contextmanager
    def _decoded(self) -> Iterator[None]:
        """Turn what damaged texts and numbers do to whoever reads them into StorageError."""
        try:
            yield
        except ActsearchError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise StorageError(
                f"{self.url} is damaged, it holds what no version wrote ({type(error).__name__}: {error}); "
                "restore it from a backup"
            ) from error

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn SQLAlchemy's errors into StorageError with what to do."""
        try:
            yield
        except ActsearchError:
            raise
        except exc.IntegrityError as error:
            raise StorageError(f"{self.url} refused a write: {_cause(error)}") from error
        except exc.OperationalError as error:
            hint, cause = "", _cause(error)
            if "locked" in cause:
                hint = (
                    f"; another program has held it for {_BUSY_SECONDS} s, end that and try again"
                )
            elif "full" in cause:
                hint = "; make room and run again, finished trials are kept"
            elif "disk I/O" in cause:
                hint = "; make room, or lift the limit on a file's size, and run again, finished trials are kept"
            elif "readonly" in cause or "unable to open" in cause:
                hint = "; check that the file and its folder can be written"
            raise StorageError(f"{self.url}: {cause}{hint}") from error
        except exc.DatabaseError as error:
            raise StorageError(
                f"{self.url} is damaged or not a database: {_cause(error)}; restore it from a backup"
            ) from error
        except exc.SQLAlchemyError as error:
            raise StorageError(f"{self.url}: {error}") from error

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()


def _read_json(text: str) -> Any:
    return [] if text == "[]" else {} if text == "{}" else json.loads(text)  # as most are


_JSON: dict[str, Any] = {
    "json_deserializer": _read_json,
    "json_serializer": functools.partial(json.dumps, allow_nan=False, ensure_ascii=False),
}


def _cause(error: exc.DBAPIError) -> str:
    return str(error.orig) if error.orig is not None else str(error)


def _engine(engine: Engine) -> Engine:
    """Let us say BEGIN ourselves: sqlite3 opens no transaction for DDL, and upgrades reads to writes unsafely."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("actsearch_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
