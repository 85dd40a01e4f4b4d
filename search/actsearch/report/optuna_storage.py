"""Writing into an Optuna storage so that what is there afterwards is a whole study, or none of ours.

Optuna stores a study, its attributes and each of its trials in transactions of their own. A new SQLite file is
therefore made beside its place. In a storage that exists, a second, empty study stands there for as long as the first
is being written: where a later export finds it, the first was cut off, and is made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from actsearch.errors import StorageError
from actsearch.report.writing import is_same_file, replace_file, sqlite_file, temporary_file
from actsearch.storage import Secrets
from actsearch.storage.database import is_ours
from actsearch.storage.file import suggest_name
from actsearch.storage.sqlite import connector
from actsearch.storage.url import display_url, parse_any_url, sqlite_url

__all__ = ["write"]

_COMPLETE = "actsearch_complete"
Fill = Callable[[Any], optuna.Study]


def write(name: str, origin: dict[str, Any], url: str, own: str, fill: Fill) -> int:
    """Write a study into the storage at a URL; returns the number of trials written.

    Args:
        name: of the study.
        origin: what its attribute "actsearch" says of where it comes from.
        url: the Optuna storage; an SQLite file is made if it is missing.
        own: URL of the storage that is exported.
        fill: makes the study in an opened storage.

    Raises:
        StorageError: the storage is one of ours, cannot be written, or holds another study of that name.
    """
    shown = display_url(url)
    # what cannot be read Optuna would repeat, with the password
    secrets = Secrets(parse_any_url(url))
    _check(url, own)
    path = sqlite_file(url)
    try:
        if path is None or path.exists():
            return _write_into(_open(url, path), name, origin, shown, fill)
        path = path.resolve()
        with temporary_file(path) as part:
            count = _write_into(_open(url, part, is_new=True), name, origin, shown, fill)
            if path.exists():
                raise StorageError(f"{shown} was made by another program meanwhile: run again")
            replace_file(part, path)
        return count
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {shown}: {error.strerror or error}") from error
    except Exception as error:  # whatever Optuna's database layer raises
        said = secrets.clean(str(error))
        raise StorageError(f"cannot write the Optuna storage {shown}: {said}") from secrets.origin(
            error
        )


def _check(url: str, own: str) -> None:
    """Refuse what can be no Optuna storage: a database of ours, and one that ends with the process."""
    shown, path = display_url(url), sqlite_file(url)
    if path is None and url.startswith("sqlite"):
        raise StorageError(f"{shown} would be in memory and lost at once: write sqlite:///FILE")
    source = sqlite_file(own) if own else None
    if path is not None and path.is_dir():
        raise StorageError(
            f"{path} is a folder; an Optuna storage is a file: sqlite:///{path}/optuna.db"
        )
    for name in () if path is None else (path, path.resolve()):
        if (right := suggest_name(name)) is not None:
            raise StorageError(
                f"{shown} is not written: SQLite deletes a file of such a name; write {sqlite_url(right)}"
            )
    is_source = path is not None and source is not None and is_same_file(path, source)
    if is_source or is_ours(url):
        raise StorageError(
            f"{shown} is a storage of actsearch, and Optuna's tables do not belong there; "
            "write into another one, such as sqlite:///optuna.db"
        )


def _write_into(
    opened: AbstractContextManager[Any], name: str, origin: dict[str, Any], shown: str, fill: Fill
) -> int:
    with opened as storage:
        sign = f"{name} (being written by actsearch)"
        names = optuna.get_all_study_names(storage)
        if name in names:
            if not (sign in names and _is_cut_off(storage, name, origin)):
                if sign in names:  # the study was finished, and the process ended just then
                    optuna.delete_study(study_name=sign, storage=storage)
                raise _name_is_taken(shown, name)
            optuna.delete_study(study_name=name, storage=storage)
        if sign not in names:
            # before the study itself, and deleted after it: it outlives a kill in between
            optuna.create_study(study_name=sign, storage=storage)
        try:
            made = fill(storage)
            made.set_user_attr(_COMPLETE, True)
        except optuna.exceptions.DuplicatedStudyError:  # another program made it just now
            optuna.delete_study(study_name=sign, storage=storage)
            raise _name_is_taken(shown, name) from None
        except BaseException:
            for left in (name, sign):
                with contextlib.suppress(Exception):
                    optuna.delete_study(study_name=left, storage=storage)
            raise
        optuna.delete_study(study_name=sign, storage=storage)
        return len(made.get_trials(deepcopy=False))


def _name_is_taken(shown: str, name: str) -> StorageError:
    return StorageError(
        f"{shown} holds an Optuna study {name!r} already: delete it there or give another URL"
    )


def _is_cut_off(storage: Any, name: str, origin: dict[str, Any]) -> bool:
    """Whether a study beside its sign is an export of the same study that was not finished."""
    export = optuna.load_study(study_name=name, storage=storage)
    attributes = export.user_attrs
    if not attributes:  # it ended before the first of them was written
        return not export.get_trials(deepcopy=False)
    return _COMPLETE not in attributes and attributes.get("actsearch") == origin


@contextlib.contextmanager
def _open(url: str, path: Path | None, is_new: bool = False) -> Iterator[Any]:
    """Closed afterwards, so that a file may be moved; Optuna takes long to check the schema of a new one, too.

    A file is opened by its path: versions of SQLAlchemy differ in how they read the escapes in a URL.
    """
    if path is None:
        storage = RDBStorage(url)
    else:
        storage = RDBStorage(
            "sqlite:///optuna.db",
            engine_kwargs={"creator": connector(path)},
            skip_compatibility_check=is_new,
        )
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
