"""Which earlier studies a new one begins with: those of ``create_study(warm_start_from=...)``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from actsearch.errors import StudyError
from actsearch.storage import Storage, quote_name
from actsearch.study.earlier import MOST_STUDIES, OldStudy
from actsearch.study.study import Study

__all__ = ["Sources", "means_all", "names_of", "read_sources"]

_log = logging.getLogger("actsearch")

ALL = "all"
"""Every other study of the storage, where none has this name."""

Sources = Study | str | Sequence[Study | str]


def names_of(sources: Sources) -> str | list[str]:
    """The name of the study, or the names of several; "all" as it is given.

    Raises:
        StudyError: this is no study.
    """
    names = [one if isinstance(one, str) else one.study_name for one in _listed(sources)]
    return names[0] if len(names) == 1 else names


def means_all(sources: Sources, storage: Storage) -> bool:
    """Whether every other study is meant: "all", and no study is called so."""
    return isinstance(sources, str) and sources == ALL and storage.find_study(ALL) is None


def read_sources(sources: Sources, storage: Storage, new: str) -> list[OldStudy]:
    """The studies, in the order in which they are given; of all those of a storage the newest first.

    Args:
        sources: as given.
        storage: of the new study.
        new: name of the new study.

    Raises:
        StudyError: there is none of a name.
    """
    if means_all(sources, storage):
        return _read_all(storage, new)
    return [_read(one, storage) for one in _listed(sources)]


def _listed(sources: Sources) -> list[Study | str]:
    listed: list[Any] = list(sources) if isinstance(sources, list | tuple) else [sources]
    for one in listed:
        if not isinstance(one, Study | str):
            raise StudyError(
                "warm_start_from must be a study or the name of one in this storage, or a list of these, "
                f"not {quote_name(one)}"
            )
    if not listed:
        raise StudyError("warm_start_from is an empty list: name a study, or leave it out")
    return list(dict.fromkeys(listed))


def _read(source: Study | str, storage: Storage) -> OldStudy:
    if isinstance(source, Study):
        return OldStudy(source.record, [trial.record for trial in source.trials])
    record = storage.study(source)
    return OldStudy(record, storage.trials(record.id))


def _read_all(storage: Storage, new: str) -> list[OldStudy]:
    found: list[OldStudy] = []
    for record in reversed(storage.studies()):
        if record.name == new:
            continue
        old = OldStudy(record, storage.trials(record.id))
        if not any(trial.candidate.single for trial in old.ranked):
            _log.warning(
                "study %s is left out: it has no complete trial of one activation for all sites",
                quote_name(record.name),
            )
            continue
        if len(found) == MOST_STUDIES:
            _log.warning("of all studies the %d newest are taken", MOST_STUDIES)
            break
        found.append(old)
    return found
