"""What is decided before any trial: the direction, and whether the task is the stored one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.halving import Competition, SuccessiveHalving
from actsearch.records import StudyRecord
from actsearch.storage import Storage
from actsearch.strategies import SiteGroups
from actsearch.task.identity import CHANGES

__all__ = [
    "LATER",
    "group_samples",
    "make_competition",
    "read_competition",
    "resolve_direction",
    "task_differences",
]

VALUES = "values"
"""Key of the values of a task's functions in its description."""

LATER = (VALUES, "buffers")
"""Keys that the first versions did not store."""

_DIFFERENT_LINES = 10  # of a model's repr; an error message has to stay readable


def resolve_direction(study: StudyRecord, subject: Subject) -> str:
    """The direction: the study's, or the metric's own.

    Raises:
        StudyError: they contradict each other, or neither is set.
    """
    own = subject.direction
    if own is not None and study.direction not in (None, own):
        raise StudyError(
            f"study {study.name!r} would {study.direction} {subject.metric}, whose direction is {own!r}: "
            "leave direction= out, or make the study anew"
        )
    if (direction := study.direction or own) is None:
        raise StudyError(
            f"the direction is not set, and {subject.metric!r} does not tell which way is better: "
            "create_study(direction='maximize') or 'minimize'"
        )
    return direction


def task_differences(
    stored: Mapping[str, Any], given: Mapping[str, Any], ignoring: Collection[str] = ()
) -> list[str]:
    """What changed in a task, a line each; of a model, the lines of its repr that differ.

    Values of functions and buffers are compared where they are stored (the first versions did not), and where training
    leaves them as they are, then and now.
    """
    differences = []
    for key in sorted({*stored, *given} - set(ignoring)):
        before, now = stored.get(key), given.get(key)
        if before == now or CHANGES in (before, now) or (key in LATER and before is None):
            continue
        if key == VALUES and isinstance(before, Mapping) and isinstance(now, Mapping):
            differences += task_differences(before, now)
        elif isinstance(before, list) and isinstance(now, list) and key == "model":
            lines = [line for line in difflib.ndiff(before, now) if line[0] in "+-"]
            differences += [f"{key} {line}" for line in lines[:_DIFFERENT_LINES]]
        else:
            differences.append(f"{key}: {now!r}, stored {before!r}")
    return differences


def make_competition(study: StudyRecord, subject: Subject) -> Competition | None:
    """A study's pruner at work, before any trial; None where there is none, or it has no say."""
    if study.pruner is None or study.directions:
        return None
    pruner = SuccessiveHalving.from_json(study.pruner)
    assert study.direction is not None
    if pruner.min_correlation is not None and subject.epochs is None:
        return None  # where a function ends is not known
    return Competition(
        pruner, study.direction, study.seed, subject.epochs,
        interval=subject.evaluation_interval, unit=subject.unit, end=subject.end,
    )  # fmt: skip


def read_competition(
    storage: Storage, study: StudyRecord, subject: Subject, exempt: Collection[int]
) -> Competition | None:
    """What the stored trials of a study reached at the rungs of its pruner; None where there is none, or it has no say.

    Args:
        storage: where they are.
        study: whose.
        subject: what it optimises.
        exempt: numbers of trials that do not compete, as that of the model unchanged.
    """
    competition = make_competition(study, subject)
    if competition is not None:
        curves = storage.curves(study.id, competition.steps())
        competition.read({number: curves[number] for number in curves if number not in exempt})
    return competition


def group_samples(subject: Subject, sites: Mapping[str, Sequence[str]]) -> dict[str, list[Tensor]]:
    """What arrives at the sites of each group, for screening; all hidden sites are the group ``"*"``.

    Args:
        subject: whose model.
        sites: paths of the sites of each group.
    """
    arriving = subject.pre_activations()
    groups = {
        group: [arriving[path] for path in paths if path in arriving]
        for group, paths in sites.items()
    }
    return groups | dict.fromkeys(SiteGroups.shared().all_keys, list(arriving.values()))
