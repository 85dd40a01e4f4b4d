"""What each kind of database does in its own way: opening, beginning a transaction, and what to do about an error."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine

from actsearch.errors import StorageError
from actsearch.storage.tolerant import json_value

__all__ = [
    "BUSY_SECONDS",
    "READ_SECONDS",
    "JSON",
    "Backend",
    "ConnectionLost",
    "Opening",
    "cause",
]

BUSY_SECONDS = 60  # a writer waits this long for another one
READ_SECONDS = 10  # who only looks, this long: a page that is silent for a minute looks dead


class ConnectionLost(StorageError):
    """The connection to a server broke, and nothing of the transaction was stored: it may be made again."""


@dataclass(frozen=True)
class Opening:
    """How a database is to be opened.

    Attributes:
        url: where it is, as :func:`actsearch.storage.url.parsed` has read it.
        shown: the URL for messages.
        create: make it if it is missing.
        read_only: never write.
    """

    url: URL = field(repr=False)  # it holds the password
    shown: str
    create: bool
    read_only: bool


class Backend(Protocol):
    """One kind of database."""

    engine: Engine
    immutable: bool
    remote: bool  # reached over a connection that may break
    own: str  # what a user gives actsearch for itself: "a file", "a database"

    def ready_to_write(self) -> None:
        """Called once the database is known to be ours and will be written."""

    def alone(self) -> AbstractContextManager[object]:
        """What a transaction holds from before its beginning to after its end, where threads share a connection."""

    def before(self) -> None:
        """Called before a transaction."""

    def failed(self, error: BaseException) -> None:
        """Called when one has failed, with its connection given back."""

    def transaction(self, connection: Connection) -> int | None:
        """Inside a write transaction: the number under which :meth:`committed` knows it later."""

    def committed(self, transaction: int | None) -> bool:
        """Whether a transaction whose connection broke during its commit was stored; waits until that is known."""

    def is_full(self, error: exc.DBAPIError) -> bool:
        """Whether a connection was refused because there are too many for the moment."""

    def advice(self, error: exc.DBAPIError) -> str:
        """What a user can do about an error, beginning with "; "; empty if nothing is known."""


def cause(error: exc.DBAPIError) -> str:
    """What the database itself said."""
    return str(error.orig).strip() if error.orig is not None else str(error)


def _read_json(text: Any) -> Any:
    return [] if text == "[]" else {} if text == "{}" else json_value(text)  # as most are


def _write_json(value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise StorageError(f"what cannot be written as JSON cannot be stored: {error}") from error
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair: no database takes it but escaped
            return json.dumps(value, allow_nan=False)
    return text


JSON: dict[str, Any] = {
    "json_deserializer": _read_json,
    "json_serializer": _write_json,
}
