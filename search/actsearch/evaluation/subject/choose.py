"""Which subject stands for what a user gave."""

from __future__ import annotations

from typing import Any

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
        StudyError: it is neither.
    """
    if isinstance(objective, Task):
        return TaskSubject(objective)
    if callable(objective):
        return CallableSubject(objective)
    raise StudyError(
        "the objective must be a Task or a function objective(candidate, run), "
        f"not {type(objective).__name__}"
    )
