"""One file that holds a whole storage, also while others write to it."""

from __future__ import annotations

from pathlib import Path

from actsearch.errors import StorageError
from actsearch.report.writing import write_whole
from actsearch.storage import Storage

__all__ = ["back_up"]


def back_up(url: str, target: str) -> int:
    """Copy a storage in a file into another file; returns how many studies it holds.

    A copy of the file by other means may lack what was stored last, which can lie in the write-ahead log beside it.

    Args:
        url: of the storage.
        target: the file to write; a database that stands there is not overwritten.

    Raises:
        StorageError: the storage is on a server or cannot be read, or the target cannot be written.
    """
    storage = Storage(url, read_only=True)
    try:
        studies = len(storage.studies())
        write_whole(target, lambda path: _copy(storage, path), url)
    finally:
        storage.database.close()
    return studies


def _copy(storage: Storage, path: Path) -> None:
    if not path.is_file():
        raise StorageError(f"{path} is no file: a backup is one")
    storage.database.copy_into(path)
