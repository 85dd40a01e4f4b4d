"""The direction of each objective: as given, as the study has it, and the task's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actsearch.checks import check_one_of
from actsearch.errors import StudyError
from actsearch.evaluation import Objectives, Subject
from actsearch.halving import WHERE_IT_PAYS
from actsearch.records import StudyRecord
from actsearch.strategies import make_strategy, refuse_unsupported
from actsearch.task.objectives import MEASURED

__all__ = [
    "given_directions",
    "is_timed",
    "study_objectives",
    "refuse_pruner",
    "resolve_objectives",
]

_DIRECTIONS = ("maximize", "minimize")


def given_directions(direction: Any, directions: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directions and names as create_study was given them; both empty where nothing was said.

    Raises:
        StudyError: they are not valid directions, or both arguments were given.
    """
    check_one_of("direction", direction, (*_DIRECTIONS, None), StudyError)
    if directions is None:
        return (() if direction is None else (direction,)), ()
    if direction is not None:
        raise StudyError("give direction= for one objective, or directions= for several, not both")
    is_list = isinstance(directions, (Mapping, Sequence)) and not isinstance(directions, str)
    given = (
        list(directions.values() if isinstance(directions, Mapping) else directions)
        if is_list
        else []
    )
    if not given or any(direction not in _DIRECTIONS for direction in given):
        raise StudyError(
            "directions must be 'maximize' or 'minimize' for each objective, as ('maximize', 'minimize') or "
            f"{{'accuracy': 'maximize', 'latency': 'minimize'}}, not {directions!r}"
        )
    names = tuple(map(str, directions)) if isinstance(directions, Mapping) else ()
    return tuple(given), names


def refuse_pruner(pruner: Any, directions: Sequence[str]) -> None:
    """As Optuna does: an early value of one objective says nothing of a front.

    Raises:
        StudyError: there are several objectives and a pruner.
    """
    if pruner is not None and len(directions) > 1:
        raise StudyError(
            "a pruner compares one value, and this study has "
            f"{len(directions)} objectives: leave pruner= out"
        )


def resolve_objectives(study: StudyRecord, subject: Subject) -> dict[str, Any]:
    """What is to be written down of a study's objectives now that one is known; empty where nothing is new.

    Raises:
        StudyError: study and task differ in number, names or directions, or a direction is not known.
    """
    own = subject.objectives
    directions = study.directions or (() if study.direction is None else (study.direction,))
    if len(own) < 2 and len(directions) < 2:
        return {}
    if own and directions and len(own) != len(directions):
        raise StudyError(
            f"study {study.name!r} has {len(directions)} direction{'s' * (len(directions) > 1)} "
            f"({', '.join(directions)}), the task "
            f"{len(own)} objective{'s' * (len(own) > 1)} ({', '.join(own)}): give one direction for each objective"
        )
    names = study.objectives or tuple(own)
    if own and tuple(own) != names:
        raise StudyError(
            f"study {study.name!r} has the objectives {', '.join(names)}, the task {', '.join(own)}"
        )
    for name, direction in zip(own, directions, strict=False):
        if own[name] not in (None, direction):
            raise StudyError(
                f"study {study.name!r} would {direction} {name}, whose direction is {own[name]!r}: correct directions="
            )
    if not directions:
        unknown = [name for name, direction in own.items() if direction is None]
        if unknown:
            raise StudyError(
                f"the direction of {unknown[0]} is not set: create_study(directions=(...)), one for each of "
                f"{', '.join(own)}"
            )
        directions = tuple(str(direction) for direction in own.values())
    if study.pruner != WHERE_IT_PAYS.describe():  # which nobody asked for, and has no say then
        refuse_pruner(study.pruner, directions)
    refuse_unsupported(make_strategy(study.strategy), directions=len(directions))
    changes: dict[str, Any] = {}
    if study.directions != directions:
        changes["directions"] = list(directions)
    if study.objectives != names:
        changes["objectives"] = list(names)
    return changes


def study_objectives(study: StudyRecord) -> Objectives | None:
    """What a trial's values are; None where there is one."""
    count = len(study.directions)
    return Objectives(count, study.objectives) if count > 1 else None


def is_timed(study: StudyRecord) -> bool:
    """Whether an objective measures time."""
    return any(name in MEASURED and MEASURED[name].is_timed for name in study.objectives)
