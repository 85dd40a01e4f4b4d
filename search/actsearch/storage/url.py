"""Storage URLs: reading them, and refusing, with the right spelling, those that would store somewhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from actsearch.errors import StorageError
from actsearch.storage.redaction import escape_unprintable, is_ambiguous, may_hold_password, redact

__all__ = [
    "DEFAULT_STORAGE",
    "parse_any_url",
    "storage_file",
    "parse_url",
    "display_url",
    "sqlite_url",
    "storage_url",
]

DEFAULT_STORAGE = "sqlite:///studies/actsearch.db"
"""Where studies are kept that are not told where, by the command line and by ``acs.find``."""

_SCHEME = re.compile(r"[\w+]+://")
_MEMORY = ":memory:"
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_NEEDS_NO_ESCAPE = re.compile(rb"[A-Za-z0-9._~/-]")
# \udc80-\udcff: how Python writes the bytes of a name that is not UTF-8
_NEEDS_ESCAPE = re.compile(
    r"[%?\x00-\x1f\x7f\udc80-\udcff]|^\s+|\s+$" + ("" if os.name == "nt" else r"|\\")
)
_EXAMPLES = (
    "write sqlite:///FILE, as in sqlite:///studies/actsearch.db, "
    "or postgresql+psycopg://USER@HOST/DATABASE"
)
_HIDDEN = (
    " (the rest is hidden, it may hold a password; check the port, and write @ : / ? # in a user name "
    "or a password as %40 %3A %2F %3F %23)"
)


def parse_url(url: str | URL) -> URL:
    """Read a storage URL. Of a SQLite URL, the database is the path of the file, None in memory.

    A path is read as SQLAlchemy 2.1 reads it: ``%3F`` stands for ``?``. Earlier versions take it literally, so a path
    that differs between the two is refused where the literal one may be meant.

    Raises:
        StorageError: it is not a storage URL, or hardly means what was intended; the message has the right spelling.
    """
    text = _url_text(url)
    if not _SCHEME.match(text):
        raise _no_url(text, _suggest_correction(text))
    kind, _, rest = text.partition("://")
    system, _, driver = kind.partition("+")
    if system.lower() == "sqlite":
        database = _sqlite_file(rest, display_url(text))
        if system != "sqlite" or driver not in ("", "pysqlite"):
            right = "sqlite://" if database is None else sqlite_url(database)
            raise StorageError(
                f"{display_url(text)}: this version reaches SQLite through Python's sqlite3; write {right}"
            )
        return URL.create("sqlite", database=database)
    if kind in _POSTGRESQL:
        return parse_any_url(text)
    if system in ("postgres", "postgresql"):
        raise StorageError(
            f"{display_url(text)}: this version reaches PostgreSQL through psycopg; "
            "write postgresql+psycopg://USER@HOST/DATABASE"
        )
    raise StorageError(
        f"{display_url(text)}: this version stores in SQLite and PostgreSQL; {_EXAMPLES}"
    )


def storage_url(text: str) -> str:
    """A storage URL; the plain name of a file becomes one."""
    return text if may_hold_password(text) else sqlite_url(text)


def sqlite_url(path: str | Path) -> str:
    """The URL of a file, with those characters escaped that mean something else in a URL."""
    return "sqlite:///" + _NEEDS_ESCAPE.sub(
        lambda match: quote(os.fsencode(match[0]), safe=""), str(path)
    )


def storage_file(url: str) -> Path | None:
    """The file of a SQLite URL; None in memory and on a server.

    Raises:
        StorageError: as :func:`parse_url`.
    """
    read = parse_url(url)
    is_file = read.drivername == "sqlite" and read.database is not None
    return Path(str(read.database)) if is_file else None


def display_url(url: str) -> str:
    """A storage URL for messages: without a password, and of what a terminal can show."""
    return escape_unprintable(redact(url))


def _url_text(url: Any) -> str:
    if isinstance(url, URL):
        if url.drivername.partition("+")[0] == "sqlite" and url.database:  # not escaped by 2.0
            rest = url.set(database="").render_as_string(hide_password=False)
            head, mark, options = rest.partition("?")
            escaped = sqlite_url(url.database).removeprefix("sqlite:///")
            return head.removesuffix("/") + "/" + escaped + mark + options
        return url.render_as_string(hide_password=False)
    if isinstance(url, str):
        return url
    right = f"write {sqlite_url(url)}" if isinstance(url, Path) else _EXAMPLES
    raise StorageError(f"a storage is a URL, given as text, not {url!r}; {right}")


def _suggest_correction(text: str) -> str:
    """What to write instead of something without a scheme; examples where nothing can be inferred."""
    path = re.sub(r"^(sqlite|file):(//(?=/))?", "", text)
    plain = path.strip("/") and not re.search(r"[@?\0\ud800-\udfff]|://|^\w+:", path)
    return f"write {_suggest_url(path)}" if plain else _EXAMPLES


def parse_any_url(text: str) -> URL:
    """Read the URL of a database of any kind, such as an Optuna storage's.

    Raises:
        StorageError: it cannot be read, or in two ways.
    """
    try:
        read = make_url(text)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is not a number
        raise _no_url(text, _EXAMPLES) from None
    if is_ambiguous(text, read):
        raise _no_url(text, _EXAMPLES)
    return read


def _no_url(text: str, advice: str) -> StorageError:
    shown = display_url(text)
    hidden = _HIDDEN if shown.endswith("***") else ""
    return StorageError(f"{shown!r} is not a storage URL{hidden}; {advice}")


def _sqlite_file(rest: str, shown: str) -> str | None:
    """The path in what follows ``sqlite://``, None for a database in memory."""
    if rest in ("", "/" + _MEMORY):
        return None
    if not rest.startswith("/"):
        named = rest.rstrip("/") and not re.search(r"[@?]", rest)
        right = _suggest_url(rest) if named else "sqlite:///FILE"
        raise StorageError(
            f"{shown}: after two slashes comes a host, which SQLite does not have, and nothing would be stored; "
            f"write {right}, with three slashes"
        )
    text = rest[1:]
    if not text.strip("/"):
        raise StorageError(
            f"{shown} does not name a file; write sqlite:///FILE, as in sqlite:///studies/actsearch.db, "
            "or sqlite:// for a study in memory, which is not kept"
        )
    path, mark, options = text.partition("?")
    if mark:
        name = "" if "=" in options else f", as in {_suggest_url(text)}"
        raise StorageError(
            f"{shown}: a file takes no options; write {_suggest_url(path)}; "
            f"a ? in the name of a file or folder is written %3F{name}"
        )
    _refuse_text(text, shown)
    return _unescape(text, shown)


def _suggest_url(path: str) -> str:
    """The URL to write for a path, as far as it can be guessed; without the path if it may hold a password."""
    right = sqlite_url(os.path.expanduser(path.removeprefix("file:").strip()).rstrip("/"))
    return right if redact(right) == right else "sqlite:///FILE"


def _refuse_text(text: str, shown: str) -> None:
    """Refuse a path that would make a file or folder in an unintended place."""
    right = f"write {_suggest_url(text)}"
    itself = f"sqlite:///./{text} for a file or folder of that name"
    if text.startswith("file:"):
        reason = f"file: begins a URI of SQLite's; {right}, or {itself}"
    elif text.startswith("~") and os.path.expanduser(text) != text:
        reason = f"~ is not expanded in a URL; {right}, or {itself}"
    elif text.startswith("~") and "/" in text:
        reason = (
            f"there is no user {text[1:].partition('/')[0]!r} with a home folder; write {itself}"
        )
    elif os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", text):
        reason = "this is a path of Windows; write sqlite:///FILE with a path of this system"
    elif os.name != "nt" and "\\" in text:
        slashes = _suggest_url(text.replace("\\", "/"))
        reason = (
            f"folders are separated by /; write {slashes}; a \\ in the name itself is written %5C"
        )
    elif text != text.strip():
        reason = (
            f"it begins or ends with a blank; {right}; a blank in the name itself is written %20"
        )
    elif text.endswith("/"):
        reason = f"a storage is a file, this is a folder; write {_suggest_url(text)}/actsearch.db"
    else:
        return
    raise StorageError(f"{shown}: {reason}")


def _unescape(text: str, shown: str) -> str:
    """The path that a text with escapes stands for; StorageError if the text itself may be meant."""
    try:
        path = os.fsdecode(unquote_to_bytes(os.fsencode(text)))
    except UnicodeError:
        raise StorageError(
            f"{shown}: this is not a valid file name; use ordinary characters in the names of the file and its folders"
        ) from None
    if "\0" in path:
        raise StorageError(f"{shown}: a file name cannot contain a NUL character; leave it out")
    needless = any(
        _NEEDS_NO_ESCAPE.fullmatch(unquote_to_bytes(escape)) for escape in _ESCAPE.findall(text)
    )
    if path != text and (needless or _is_literal(Path(text), Path(path))):
        raise StorageError(
            f"{shown}: % begins an escape; for the file {text} write {sqlite_url(text)}, "
            f"for {path} write {sqlite_url(path)}"
        )
    return path


def _is_literal(literal: Path, unescaped: Path) -> bool:
    """Whether a path exists as it is written, and does not exist with its escapes read."""
    pairs = [(literal, unescaped), (literal.parent, unescaped.parent)]
    return any(
        one != other and os.path.exists(one) and not os.path.exists(other) for one, other in pairs
    )
