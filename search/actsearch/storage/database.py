"""Opening a database, and transactions in which every SQLAlchemy error becomes one of ours."""

from __future__ import annotations

import contextlib
import functools
import random
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from actsearch.errors import ActsearchError, StorageError
from actsearch.storage.backend import Backend, ConnectionLost, OpenRequest
from actsearch.storage.creation import create_tables
from actsearch.storage.forks import detach_at_forks, hold_forks
from actsearch.storage.postgresql import PostgreSQL
from actsearch.storage.redaction import Secrets
from actsearch.storage.sqlite import Sqlite
from actsearch.storage.url import display_url, parse_url

__all__ = ["SCHEMA", "VERSION_TABLE", "Database", "is_ours", "retry_lost_connection"]

SCHEMA = "0008"
"""Revision of the schema that this version reads and writes."""

_OLDER = [f"{number:04}" for number in range(1, int(SCHEMA))]  # upgraded when they are written

VERSION_TABLE = "actsearch_schema"
_random = random.SystemRandom()  # the global stream belongs to the user
# seconds before a transaction whose connection broke is made again: half a minute in all, in which a server restarts
_PAUSES = (0, 1, 2, 4, 8, 15)


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def retry_lost_connection(method: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A method that is one transaction is called again when the connection to the server broke.

    Only when nothing of it was stored: a commit whose answer was lost is looked up, see :meth:`Database.writing`.
    """

    @functools.wraps(method)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        for pause in _PAUSES:
            try:
                return method(*args, **kwargs)
            except ConnectionLost:
                time.sleep(pause)
        return method(*args, **kwargs)

    return call


class Database:
    """An opened database.

    Attributes:
        url: as given, for messages.
        immutable: opened from a folder that cannot be written, as a snapshot that never refreshes.
    """

    def __init__(self, url: str, *, create: bool = False, read_only: bool = False) -> None:
        """Args:
        url: such as ``sqlite:///studies/actsearch.db``, see :func:`actsearch.storage.url.parse_url`; ``sqlite://``
            lives in memory; ``postgresql+psycopg://user@host/database`` is on a server.
        create: make the file and its folder, and the tables, if missing; a server's database must exist.
        read_only: never write.

        Raises:
            StorageError: cannot be opened, missing, not ours, or of a newer version.
        """
        where = parse_url(url)
        self.url = display_url(url)
        self._read_only = read_only
        self._secrets = Secrets(where)
        self._backend = _backend(OpenRequest(where, self.url, create, read_only))
        self.immutable = self._backend.immutable
        # a study that is forgotten closes its connections, although nobody calls close
        weakref.finalize(self, self._backend.engine.dispose)
        detach_at_forks(self._backend.engine)
        with self._translating(), self._translate_damage(), hold_forks():
            self._check_schema(create and not read_only, read_only)
            if not read_only:
                self._backend.prepare_writing()

    def _check_schema(self, create: bool, read_only: bool) -> None:
        with self._begin(write=False) as connection:
            if self._read_schema(connection, create, read_only) == SCHEMA:
                return
        with self._begin(write=True) as connection:  # all of it or nothing
            revision = self._read_schema(connection, create, read_only)
            if revision is None:
                create_tables(connection, SCHEMA, VERSION_TABLE)
            elif revision != SCHEMA:  # else another process has upgraded it meanwhile
                from actsearch.storage import migrations  # alembic loads slowly: only when needed

                migrations.upgrade(connection, SCHEMA, VERSION_TABLE)

    def _read_schema(self, connection: Connection, create: bool, read_only: bool) -> str | None:
        """Revision of the schema, ours or an earlier one; None of an empty database that may be filled.

        Raises:
            StorageError: it is neither, or it may not be changed.
        """
        tables = set(sa.inspect(connection).get_table_names())
        if VERSION_TABLE in tables:
            query = f"SELECT version_num FROM {VERSION_TABLE}"
            revision = str(connection.exec_driver_sql(query).scalar())
            if revision not in (SCHEMA, *_OLDER):
                raise StorageError(
                    f"{self.url} has schema {revision}, this version knows {SCHEMA}: "
                    "install the actsearch version that wrote it, or a newer one"
                )
            if revision != SCHEMA and read_only:
                raise StorageError(
                    f"{self.url} has schema {revision}, this version reads {SCHEMA}: "
                    "open it once with actsearch.load_study, which brings it up to date"
                )
            return revision
        if tables:
            raise StorageError(
                f"{self.url} is a database of another program (tables: {', '.join(sorted(tables)[:5])}); "
                f"give actsearch {self._backend.resource} of its own"
            )
        if not create:
            raise StorageError(f"{self.url} is empty: create_study puts a study into it")
        return None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot of the database."""
        with self._translating(), self._translate_damage(), self._explain_schema():
            with self._begin(write=False) as connection:
                # rows are still read after the end of the transaction
                with Session(connection, expire_on_commit=False) as session:
                    yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one write transaction: all of it is stored, or nothing; one writer at a time.

        Raises:
            StorageError: nothing was stored.
        """
        if self._read_only:
            raise StorageError(f"{self.url} was opened for reading only")
        with self._translating(), self._begin(write=True) as connection:
            with Session(connection, expire_on_commit=False) as session:
                yield session
                session.flush()  # the session does not commit: the transaction is the connection's

    @contextlib.contextmanager
    def _begin(self, write: bool) -> Iterator[Connection]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._backend.exclusive())
            self._backend.before_transaction()
            # before there is a connection that a fork could inherit
            stack.enter_context(hold_forks())
            try:
                with self._connect() as connection, self._transaction(connection, write) as begun:
                    yield begun
            except StorageError as error:
                self._backend.after_failure(error)
                raise

    @contextlib.contextmanager
    def _transaction(self, connection: Connection, write: bool) -> Iterator[Connection]:
        connection = connection.execution_options(actsearch_write=write)
        transaction = connection.begin()
        number = self._backend.transaction_id(connection) if write else None
        try:
            yield connection
        except BaseException:
            if transaction.is_active:
                # a rollback that fails, on a connection that broke, must not hide the error
                with contextlib.suppress(exc.SQLAlchemyError):
                    transaction.rollback()
            raise
        try:
            transaction.commit()
        except exc.DBAPIError as error:
            is_unsure = write and error.connection_invalidated
            if not (is_unsure and self._backend.was_committed(number)):
                raise

    @contextlib.contextmanager
    def _explain_schema(self) -> Iterator[None]:
        """Where a newer version has changed the schema meanwhile, report that rather than the missing table."""
        try:
            yield
        except exc.DBAPIError as error:
            if not error.connection_invalidated and not self._backend.advice(error):
                with contextlib.suppress(exc.SQLAlchemyError):
                    self._check_schema(create=False, read_only=True)
            raise

    @contextlib.contextmanager
    def _translate_damage(self) -> Iterator[None]:
        """Turn what reading damaged texts and numbers raises into StorageError."""
        try:
            yield
        except ActsearchError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise StorageError(
                f"{self.url} is damaged: it holds data that no version wrote ({type(error).__name__}: {error}); "
                "restore it from a backup"
            ) from error

    def _connect(self) -> Connection:
        pauses = iter(_PAUSES)
        while True:
            try:
                return self._backend.engine.connect()
            except exc.OperationalError as error:
                pause = next(pauses, None) if self._backend.is_full(error) else None
                if pause is None:
                    if self._backend.remote:
                        raise self._lost(error) from self._secrets.origin(error)
                    raise
            # so that not all that wait try again at the same moment
            time.sleep(pause + _random.random())

    def _lost(self, error: exc.DBAPIError) -> ConnectionLost:
        return ConnectionLost(f"{self.url}: {self._cause(error)}{self._backend.advice(error)}")

    def _cause(self, error: exc.DBAPIError) -> str:
        return self._secrets.clean(str(error if error.orig is None else error.orig).strip())

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn SQLAlchemy's errors into StorageError with what to do."""
        try:
            yield
        except ActsearchError:
            raise
        except exc.SQLAlchemyError as error:
            raise self._translation(error) from self._secrets.origin(error)

    def _translation(self, error: exc.SQLAlchemyError) -> StorageError:
        if not isinstance(error, exc.DBAPIError):
            return StorageError(f"{self.url}: {self._secrets.clean(str(error))}")
        if isinstance(error, exc.IntegrityError):
            return StorageError(f"{self.url} refused a write: {self._cause(error)}")
        if error.connection_invalidated and self._backend.remote:
            return self._lost(error)
        return StorageError(f"{self.url}: {self._cause(error)}{self._backend.advice(error)}")

    @property
    def in_memory(self) -> bool:
        """Whether it lives and ends with this object."""
        return isinstance(self._backend.engine.pool, StaticPool)

    @property
    def path(self) -> Path | None:
        """Its file; None where it is no file."""
        return self._backend.path

    def checkpoint(self) -> None:
        """Make the file whole by itself, so that a copy of it lacks nothing; as far as that goes, and never raises."""
        with contextlib.suppress(StorageError), self._backend.exclusive(), hold_forks():
            self._backend.before_transaction()
            self._backend.checkpoint()

    def copy_into(self, path: Path) -> None:
        """Copy the database, as it is now, into an empty file, also while others write.

        Raises:
            StorageError: it is on a server, or cannot be read or written.
        """
        with self._translating(), self._backend.exclusive(), hold_forks():
            self._backend.before_transaction()
            self._backend.copy_into(path)

    def close(self) -> None:
        """Give back every connection."""
        self._backend.engine.dispose()


def is_ours(url: str) -> bool:
    """Whether there is a database of actsearch, of whichever version; nothing is made or changed."""
    try:
        backend = _backend(
            OpenRequest(parse_url(url), display_url(url), create=False, read_only=True)
        )
    except StorageError:
        return False
    try:
        with backend.engine.connect() as connection:
            return VERSION_TABLE in sa.inspect(connection).get_table_names()
    except exc.SQLAlchemyError:
        return False
    finally:
        backend.engine.dispose()


def _backend(request: OpenRequest) -> Backend:
    return Sqlite(request) if request.url.drivername == "sqlite" else PostgreSQL(request)
