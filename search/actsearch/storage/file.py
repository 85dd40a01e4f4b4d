"""The file of a SQLite database: finding and making it, and whether it is still the one that was opened.

SQLite goes on writing to a file that was deleted or replaced, and to a write-ahead log that was removed, without an
error. It names the log after the file: a file with two names (a hard link) has two logs, and each name sees one.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from actsearch.errors import StorageError
from actsearch.storage.redaction import escape_unprintable
from actsearch.storage.url import sqlite_url

__all__ = ["COMPANIONS", "LostLog", "WatchedFile", "locate_file", "suggest_name"]

_log = logging.getLogger("actsearch")

COMPANIONS = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database, and deletes when it no longer needs them."""

_MAGIC = b"SQLite format 3\0"  # how every SQLite database begins
_LONGEST_NAME = 255 - len("-journal")  # bytes: file systems take 255, with the suffixes of SQLite
_LONGEST_PATH = 500  # bytes; SQLite takes 512, with its suffixes
_SHOWN = 100  # characters of a path that is too long to be shown whole
_MAKING = threading.Lock()
"""Closing a file drops all locks that this process has on it (POSIX), so it is made before any thread has it open."""

_SMALLEST_PAGE = 512  # every page size of SQLite is a multiple of it


class LostLog(StorageError):
    """The write-ahead log or its index was removed; what is in it is saved by closing the connections."""


class WatchedFile:
    """A database file, remembered as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # the current folder may change
        self._logs = [self.path.with_name(self.path.name + end) for end in ("-wal", "-shm")]
        self._identity: tuple[int, int] | None = None

    def remember(self) -> None:
        """Expect the file that is there now from now on."""
        self._identity = _identity(_status(self.path))

    @property
    def is_replaced(self) -> bool:
        """Whether another file stands in its place."""
        return _identity(_status(self.path)) not in (None, self._identity)

    def check(self) -> None:
        """Raise StorageError if the file is not the one that was opened, or has a second name."""
        if self._identity is None:  # not opened yet
            return
        status = _status(self.path)
        identity = _identity(status)
        if identity is None:
            raise StorageError(
                f"{self.path} was deleted or moved away while it was open, and nothing more is written; "
                "put it back and run again"
            )
        if identity != self._identity:
            raise StorageError(
                f"{self.path} was replaced by another file while it was open, and nothing more is written; "
                "run again to go on with the one that is there now"
            )
        if status is not None and status.st_nlink > 1:
            raise StorageError(
                f"{self.path} has {status.st_nlink} names (hard links), and what is stored under one of them is lost "
                f"under the other, so it is neither written nor read; find the others with "
                f"find FOLDER -samefile {shlex.quote(str(self.path))}, remove them, and run again; "
                "for a second name make a symbolic link (ln -s), for a backup a copy (cp)"
            )

    def check_log(self, notes: MutableMapping[Any, Any]) -> None:
        """Raise LostLog if the write-ahead log of an open connection, or its index, was removed.

        Args:
            notes: kept with the connection, which is in a write transaction and so has its log open.
        """
        for log in self._logs:
            identity = _identity(_status(log))
            if notes.get(log) is None:  # its first time; a new database has no log yet
                notes[log] = identity
            elif identity != notes[log]:
                raise LostLog(
                    f"{log} was removed while the database was open; what had been stored was saved, "
                    "run again, and leave the files beside a database alone"
                )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return None if status is None else (status.st_dev, status.st_ino)


def suggest_name(path: Path) -> Path | None:
    """Another name for a file that SQLite would take for one of its own, and delete; None if it would not."""
    end = next((end for end in COMPANIONS if path.name.lower().endswith(end)), None)
    if end is None:
        return None
    stem, kept = Path(path.name[: -len(end)]), path.name[-len(end) :]
    return path.with_name(f"{stem.stem}{kept}{stem.suffix or '.db'}")


def locate_file(name: str, create: bool) -> Path:
    """The absolute path of a database file, so that a change of the current folder does not matter; made if asked for.

    Symbolic links are followed, since the log lies beside the file itself.

    Raises:
        StorageError: it is missing, cannot be made, or is not a file that SQLite can take.
    """
    shown = escape_unprintable(name)
    try:
        path = Path(name).resolve()
        _check_length(path)
        _check_name(Path(name), path)
        with _MAKING:
            if not path.exists():
                if not create:
                    raise StorageError(
                        f"there is no database at {shown}; create_study makes one, "
                        "and a relative path starts from the current folder"
                    )
                _make(path)
        mode = path.stat().st_mode
    except StorageError:
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{shown} cannot be opened: {escape_unprintable(reason)}; check the path and its permissions"
        ) from None
    if stat.S_ISDIR(mode):
        raise StorageError(
            f"{shown} is a folder; a storage is a file: {sqlite_url(Path(name) / 'actsearch.db')}"
        )
    if not stat.S_ISREG(mode):
        raise StorageError(
            f"{shown} is a device or a pipe, which stores nothing; give a file, as in sqlite:///studies/actsearch.db"
        )
    _check_size(path)
    return path


def _check_name(given: Path, path: Path) -> None:
    """Raise StorageError if SQLite would take the file for another database's log, or a database for its log."""
    for one in (given, path):
        if (right := suggest_name(one)) is not None:
            raise StorageError(
                f"{escape_unprintable(one)} is a name that SQLite gives to a file that it keeps beside a database and "
                f"deletes, so it cannot be the name of a database; write {sqlite_url(right)}"
                + (", after renaming the file, if it is a database" if one.exists() else "")
            )
    for end in ("-wal", "-journal"):  # opening and closing -shm would drop locks on it
        beside = path.with_name(path.name + end)
        if _is_database(beside):
            raise StorageError(
                f"{escape_unprintable(beside)} is a database, which SQLite would take for the log of "
                f"{escape_unprintable(path)} and delete, so this is not opened; "
                f"rename it first, as in {escape_unprintable(suggest_name(beside))}"
            )


def _is_database(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _check_length(path: Path) -> None:
    length, longest = len(os.fsencode(path)), max(map(len, map(os.fsencode, path.parts)))
    last = len(os.fsencode(path.name))
    if last > _LONGEST_NAME or longest > _LONGEST_NAME + len("-journal"):
        raise StorageError(
            f"the name of a file or folder is too long, {longest} bytes: {escape_unprintable(path)[:_SHOWN]}...; "
            f"give the file one of at most {_LONGEST_NAME} bytes, folders of 255"
        )
    if length > _LONGEST_PATH:
        raise StorageError(
            f"the path is too long for SQLite, {length} bytes from / on: {escape_unprintable(path)[:_SHOWN]}...; "
            f"move the file to where it has at most {_LONGEST_PATH}"
        )


def _make(path: Path) -> None:
    is_new = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {escape_unprintable(path.parent)}: {error.strerror}"
        ) from None
    if is_new:  # a misspelt one would otherwise be noticed when the study is looked for
        _log.warning("made the folder %s for the database", escape_unprintable(path.parent))
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        pass  # another process has made it meanwhile
    except OSError as error:
        raise StorageError(
            f"cannot make the file {escape_unprintable(path)}: {error.strerror}; check that its folder can be written"
        ) from None


def _check_size(path: Path) -> None:
    """Raise StorageError for a file that was cut off within a page.

    SQLite takes a file of a few bytes for an empty one, and fills up an incomplete last page. Only the size is
    checked: opening and closing the file would drop the locks of other connections in this process.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return  # opening it reports why
    if size % _SMALLEST_PAGE and not any(_has_content(path, end) for end in ("-wal", "-journal")):
        raise StorageError(
            f"{escape_unprintable(path)} is damaged or not a database: it was cut off, or something else wrote it; "
            "restore it from a backup"
        )


def _has_content(path: Path, end: str) -> bool:
    try:
        return path.with_name(path.name + end).stat().st_size > 0
    except OSError:
        return False
