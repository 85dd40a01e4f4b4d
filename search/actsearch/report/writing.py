"""Files that are written whole or not at all: beside their place first, and then put into it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from actsearch.errors import StorageError
from actsearch.storage import may_hold_password, storage_file
from actsearch.storage.file import COMPANIONS, suggest_name

__all__ = [
    "temporary_file",
    "is_same_file",
    "replace_file",
    "sqlite_file",
    "write_file",
    "write_whole",
]

_HEADS = (
    b"SQLite format 3\0",  # a database
    b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83",  # its write-ahead log, in either byte order
    b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",  # its rollback journal
)  # fmt: skip
_PART = ".actsearch-part"  # the end of the name of a file that is being written
_SHOWN = 40  # characters of the target's name in that name, which may have 255 bytes in all
_FORGOTTEN = 3600.0  # seconds after which such a file is one that a killed process left


def write_file(target: str, write: Callable[[TextIO], object], storage: str = "") -> None:
    """Write a text file; what stood in its place before stays, whole, until the new one is on the disk.

    A symbolic link stays one, and the file that it leads to is replaced; permissions stay as they were. Into a pipe or
    a device is written as it is.

    Args:
        target: where to.
        write: writes the text into an opened file, which keeps ends of lines as they are given.
        storage: URL of the storage that is read, which must not be overwritten.

    Raises:
        StorageError: the target is a database, a folder or write-protected, cannot be written, or was hardly meant.
    """

    def write_text(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            write(file)

    write_whole(target, write_text, storage)


def write_whole(target: str, write: Callable[[Path], object], storage: str = "") -> None:
    """As :func:`write_file`, where what writes opens the file itself.

    Args:
        target: where to.
        write: fills an empty file that is at another path, or a pipe or device.
        storage: URL of the storage that is read, which must not be overwritten.

    Raises:
        StorageError: as there.
    """
    try:
        _check_meant(target)
        path = _check_path(Path(target), storage)
        if path.exists() and not path.is_file():
            write(path)
            return
        path = path.resolve()
        with temporary_file(path) as part:
            write(part)
            replace_file(part, path)
    except StorageError:  # a RuntimeError too
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; NUL in a name
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"cannot write {target}: {reason}") from error


def _check_meant(target: str) -> None:
    """Refuse a target that would make a file of a name that nobody wants."""
    if not target:
        raise StorageError("the name of the file to write is empty; give one, as in trials.csv")
    if target == "-":
        raise StorageError(
            "- would be a file of that name; write /dev/stdout for the standard output, ./- for the file"
        )
    if may_hold_password(target):
        raise StorageError(
            "the name of the file to write looks like a URL or like connection settings, which may hold a password; "
            "give the name of a file, as in trials.csv"
        )
    expanded = os.path.expanduser(target)
    if expanded != target:
        raise StorageError(
            f"cannot write {target}: ~ is not expanded here; write {expanded}, or ./{target} for that name"
        )
    folder = Path(target).resolve().parent
    if not os.path.lexists(folder):
        raise StorageError(
            f"cannot write {target}: there is no folder {folder}; make it first: mkdir -p {shlex.quote(str(folder))}"
        )


def _check_path(path: Path, storage: str) -> Path:
    """The path of a file that may be overwritten.

    The storage itself is recognised by ``stat`` alone: to open and close a database takes away the locks that this
    process has on it. Any other file is looked into.
    """
    if path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder; name a file in it")
    own = sqlite_file(storage) if storage else None
    if own is not None:
        for end in ("", *COMPANIONS):
            if is_same_file(path, own.with_name(own.name + end)):
                raise _refusal(path, "is the storage that is exported, or belongs to it")
    for name in (path, path.resolve()):
        if _is_companion(name):
            raise _refusal(path, "belongs to the database beside it")
        if (right := suggest_name(name)) is not None:
            raise StorageError(
                f"cannot write {path}: SQLite takes a file of such a name for its own and deletes it; write {right}"
            )
    if path.is_file():
        if not os.access(path, os.W_OK):
            raise StorageError(f"cannot write {path}: it is write-protected")
        if _is_database(path):
            raise _refusal(path, "is an SQLite database")
    return path


def _refusal(path: Path, why: str) -> StorageError:
    return StorageError(f"{path} {why}, and is not overwritten; name another file to export to")


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two names lead to one file, through links of either kind; also where there is none yet."""
    try:
        return path.samefile(other)
    except OSError:
        return path.resolve() == other.resolve()


def _is_companion(path: Path) -> bool:
    """Whether SQLite would take a file for the log or journal of a database beside it."""
    return any(
        path.name.endswith(end) and _is_database(path.with_name(path.name.removesuffix(end)))
        for end in COMPANIONS
    )


def _is_database(path: Path) -> bool:
    """Whether a file begins as a database of SQLite, or a log or journal of one, does."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(_HEADS)


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for one in memory, and for any other database.

    Raises:
        StorageError: it begins as such a URL, and is not one.
    """
    if not url.startswith("sqlite"):
        return None  # an Optuna storage may be on a server that ours never are on
    path = storage_file(url)
    return None if path is None else path.absolute()


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """A new empty file in the folder of ``path``, to be :func:`replace_file` there; removed afterwards if it was not.

    Its name is ``.NAME.RANDOM.actsearch-part``. Those for the same target that killed processes left more than an hour
    ago are removed.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    folder, start = path.parent, f".{path.name[:_SHOWN]}."
    for left in [item for item in folder.iterdir() if _is_forgotten(item, start)]:
        left.unlink(missing_ok=True)
    part = folder / f"{start}{secrets.token_hex(8)}{_PART}"
    # O_EXCL: a link that somebody put there is not followed; the mode is less the umask
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
    finally:
        for end in ("", *COMPANIONS):
            part.with_name(part.name + end).unlink(missing_ok=True)


def _is_forgotten(path: Path, start: str) -> bool:
    if not path.name.startswith(start) or _PART not in path.name:
        return False
    try:
        return time.time() - path.stat().st_mtime > _FORGOTTEN
    except OSError:
        return False


def replace_file(part: Path, path: Path) -> None:
    """Put a finished file in its place, with the permissions of the one that was there, safe from a loss of power."""
    with contextlib.suppress(OSError):
        before = path.stat()
        part.chmod(before.st_mode & 0o7777)
        os.chown(part, before.st_uid, before.st_gid)  # may be refused: then it is the writer's
    # before it is renamed: else a loss of power may leave an empty file under the right name
    _sync(part)
    os.replace(part, path)
    with contextlib.suppress(OSError):  # some file systems cannot do that with a folder
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
