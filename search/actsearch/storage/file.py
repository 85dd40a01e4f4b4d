"""The file under a SQLite database: whether it is still the one that was opened.

SQLite writes on to a file that was deleted or replaced, and to a write-ahead log that was removed, without a word.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from actsearch.errors import StorageError

__all__ = ["LostLog", "WatchedFile", "check_size"]

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
        """From now on it has to be this file."""
        self._identity = _identity(self.path)

    @property
    def is_replaced(self) -> bool:
        """Whether another file stands in its place."""
        return _identity(self.path) not in (None, self._identity)

    def check(self) -> None:
        """Raises StorageError where the file is not the one that was opened."""
        if self._identity is None:  # not opened yet
            return
        found = _identity(self.path)
        if found is None:
            raise StorageError(
                f"{self.path} was deleted or moved away while it was open, and nothing more is written; "
                "put it back and run again"
            )
        if found != self._identity:
            raise StorageError(
                f"{self.path} was replaced by another file while it was open, and nothing more is written; "
                "run again to go on with the one that is there now"
            )

    def check_log(self, notes: MutableMapping[Any, Any]) -> None:
        """Raises LostLog where the write-ahead log of an open connection, or the index of that, is gone.

        Args:
            notes: belong to the connection, which is in a write transaction and so has its log open.
        """
        for log in self._logs:
            found = _identity(log)
            if (
                notes.get(log) is None
            ):  # its first time; a database that is being made has none yet
                notes[log] = found
            elif found != notes[log]:
                raise LostLog(
                    f"{log} was removed while the database was open; what had been stored was saved, "
                    "run again, and leave the files beside a database alone"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_size(path: Path) -> None:
    """Raises StorageError for a file that was cut off within a page.

    SQLite takes one of a few bytes for an empty file, and fills up a last page that is not whole. Its size alone is
    looked at: to open and close the file would take away the locks of other connections in this process.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return  # whoever opens it says why
    if size % _SMALLEST_PAGE and not any(_has_content(path, end) for end in ("-wal", "-journal")):
        raise StorageError(
            f"{path} is damaged or not a database: it was cut off, or something else wrote it; "
            "restore it from a backup"
        )


def _has_content(path: Path, end: str) -> bool:
    try:
        return path.with_name(path.name + end).stat().st_size > 0
    except OSError:
        return False
