"""Which way each objective is better: what was given, what the study has, what a task says itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actsearch.checks import check_one_of
from actsearch.errors import StudyError
from actsearch.evaluation import Objectives
from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.records import StudyRecord
from actsearch.strategies import make_strategy, refuse_unsupported
from actsearch.task import Task

__all__ = ["given_directions", "objectives_of", "refuse_pruner", "settled"]

_WAYS = ("maximize", "minimize")


def given_directions(direction: Any, directions: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Directions and names as create_study was given them; both empty where nothing was said.

    Raises:
        StudyError: they are none, or both arguments were given.
    """
    check_one_of("direction", direction, (*_WAYS, None), StudyError)
    if directions is None:
        return (() if direction is None else (direction,)), ()
    if direction is not None:
        raise StudyError("give direction= for one objective, or directions= for several, not both")
    is_list = isinstance(directions, (Mapping, Sequence)) and not isinstance(directions, str)
    ways = (
        list(directions.values() if isinstance(directions, Mapping) else directions)
        if is_list
        else []
    )
    if not ways or any(way not in _WAYS for way in ways):
        raise StudyError(
            "directions must be 'maximize' or 'minimize' for each objective, as ('maximize', 'minimize') or "
            f"{{'accuracy': 'maximize', 'latency': 'minimize'}}, not {directions!r}"
        )
    names = tuple(map(str, directions)) if isinstance(directions, Mapping) else ()
    return tuple(ways), names


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


def settled(study: StudyRecord, objective: ObjectiveCallable) -> dict[str, Any]:
    """What is to be written down of a study's objectives now that one is known; empty where nothing is new.

    Raises:
        StudyError: study and task differ in number, names or directions, or a direction is not known.
    """
    own = objective.objective_directions if isinstance(objective, Task) else {}
    ways = study.directions or (() if study.direction is None else (study.direction,))
    if len(own) < 2 and len(ways) < 2:
        return {}
    if own and ways and len(own) != len(ways):
        raise StudyError(
            f"study {study.name!r} has {len(ways)} direction{'s' * (len(ways) > 1)} ({', '.join(ways)}), the task "
            f"{len(own)} objective{'s' * (len(own) > 1)} ({', '.join(own)}): give one direction for each objective"
        )
    names = study.objectives or tuple(own)
    if own and tuple(own) != names:
        raise StudyError(
            f"study {study.name!r} has the objectives {', '.join(names)}, the task {', '.join(own)}"
        )
    for name, way in zip(own, ways, strict=False):
        if own[name] not in (None, way):
            raise StudyError(
                f"study {study.name!r} would {way} {name}, which is there to {own[name]}: mend directions="
            )
    if not ways:
        unknown = [name for name, way in own.items() if way is None]
        if unknown:
            raise StudyError(
                f"nobody says which way {unknown[0]} is better: create_study(directions=(...)), one for each of "
                f"{', '.join(own)}"
            )
        ways = tuple(str(way) for way in own.values())
    refuse_pruner(study.pruner, ways)
    refuse_unsupported(make_strategy(study.strategy), directions=len(ways))
    changes: dict[str, Any] = {}
    if study.directions != ways:
        changes["directions"] = list(ways)
    if study.objectives != names:
        changes["objectives"] = list(names)
    return changes


def objectives_of(study: StudyRecord) -> Objectives | None:
    """What a trial's values are; None where there is one."""
    count = len(study.directions)
    return Objectives(count, study.objectives) if count > 1 else None
