"""Which subject stands for what a user gave."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from actsearch.errors import StudyError
from actsearch.evaluation.subject.base import Subject
from actsearch.evaluation.subject.of_callable import CallableSubject
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.task import Task

__all__ = ["make_subject"]


def make_subject(objective: Any) -> Subject:
    """The subject of a Task, or of any ``objective(candidate, run)``.

    The only place that tells the two apart. Subjects of one Task object share what was found out about it.

    Raises:
        StudyError: it is neither, or a model, or cannot be called with a candidate and a run.
    """
    if isinstance(objective, Task):
        return TaskSubject(objective)
    if _is_model(objective):
        name = objective.__name__ if isinstance(objective, type) else type(objective).__name__
        raise StudyError(
            f"the objective is a model ({name}): a study needs its data and loss as well; "
            "give acs.Task(model=..., train=..., valid=..., loss=..., metric=...)"
        )
    if callable(objective):
        _check_arguments(objective)
        return CallableSubject(objective)
    raise StudyError(
        "the objective must be a Task or a function objective(candidate, run), "
        f"not {type(objective).__name__}"
    )


def _is_model(objective: Any) -> bool:
    return isinstance(objective, nn.Module) or (
        isinstance(objective, type) and issubclass(objective, nn.Module)
    )


def _check_arguments(objective: Any) -> None:
    """Refuse at once what every trial would fail on; what has no signature is left to be tried."""
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(objective, "__qualname__", type(objective).__qualname__)
        raise StudyError(
            f"the objective {name}{signature} cannot be called as objective(candidate, run), which every trial does: "
            "take both arguments and return a number; for a function that builds a model, give acs.Task(model=...)"
        ) from None
