"""What each kind of database does in its own way: opening, beginning a transaction, and what to do about an error."""

from __future__ import annotations

import contextlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine

from actsearch.errors import StorageError
from actsearch.storage.tolerant import json_value

__all__ = [
    "BUSY_SECONDS",
    "DISK_FULL",
    "JSON",
    "READ_SECONDS",
    "Backend",
    "ConnectionLost",
    "OpenRequest",
    "held_by_another",
]

BUSY_SECONDS = 60  # how long a writer waits for another one
READ_SECONDS = 10  # how long a reader waits: a page that is silent for a minute looks dead

DISK_FULL = "; make room and run again, finished trials are kept"


def held_by_another(seconds: float) -> str:
    """Advice when a lock could not be acquired in time."""
    return f"; another program has held it for {seconds} s, end that and try again"


class ConnectionLost(StorageError):
    """The connection to a server broke, and nothing of the transaction was stored: it may be made again."""


@dataclass(frozen=True)
class OpenRequest:
    """How a database is to be opened.

    Attributes:
        url: where it is, as :func:`actsearch.storage.url.parse_url` has read it.
        shown: the URL for messages.
        create: make it if it is missing.
        read_only: never write.
    """

    url: URL = field(repr=False)  # it holds the password
    shown: str
    create: bool
    read_only: bool


class Backend:
    """One kind of database. A subclass overrides what it does in its own way.

    Attributes:
        engine: of SQLAlchemy.
        resource: what a user gives actsearch for itself: "a file", "a database".
        immutable: whether it is opened as a snapshot that never refreshes.
        remote: whether it is reached over a connection that may break.
        path: of its file; None where it is no file.
    """

    engine: Engine
    resource: str
    immutable = False
    remote = False
    path: Path | None = None

    def prepare_writing(self) -> None:
        """Called once the database is known to be ours and will be written."""

    def exclusive(self) -> AbstractContextManager[object]:
        """What a transaction holds from before its beginning to after its end, where threads share a connection."""
        return contextlib.nullcontext()

    def before_transaction(self) -> None:
        """Called before a transaction."""

    def after_failure(self, error: BaseException) -> None:
        """Called when a transaction has failed, with its connection given back."""

    def checkpoint(self) -> None:
        """Called when a study is let go: make the file whole by itself, as far as that goes without waiting."""

    def copy_into(self, path: Path) -> None:
        """Copy the database, as it is now, into an empty file.

        Raises:
            StorageError: it is on a server, which has tools of its own for that.
        """
        raise NotImplementedError

    def transaction_id(self, connection: Connection) -> int | None:
        """Inside a write transaction: the number under which :meth:`was_committed` knows it later."""
        return None

    def was_committed(self, transaction: int | None) -> bool:
        """Whether a transaction whose connection broke during its commit was stored; waits until that is known."""
        return False

    def is_full(self, error: exc.DBAPIError) -> bool:
        """Whether a connection was refused because there are too many for the moment."""
        return False

    def advice(self, error: exc.DBAPIError) -> str:
        """What a user can do about an error, beginning with "; "; empty if nothing is known."""
        raise NotImplementedError


def _read_json(text: Any) -> Any:
    return [] if text == "[]" else {} if text == "{}" else json_value(text)  # as most are


def _write_json(value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"only values that can be written as JSON can be stored: {error}"
        ) from error
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no database takes it but escaped
        return json.dumps(value, allow_nan=False)
    return text


JSON: dict[str, Any] = {
    "json_deserializer": _read_json,
    "json_serializer": _write_json,
}
"""Arguments of an engine."""
