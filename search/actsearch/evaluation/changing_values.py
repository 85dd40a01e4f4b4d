"""Values of a task's functions that training changes: counters, caches, running means. They are not settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from actsearch.task import Task
from actsearch.task.identity import FUNCTIONS, task_values

__all__ = ["find_changing_values"]

# For each function that is alive: once it was called, a cache is full and does not change any more.
_changing: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def find_changing_values(
    task: Task, before: Mapping[str, str], run: Callable[[], None]
) -> set[str]:
    """Names of the values that are not the same before and after the task was run.

    Args:
        task: whose functions are looked at.
        before: its values.
        run: calls each of its functions, as the check before a search does.
    """
    run()
    # a model may number itself, or take the time
    after = task_values(task, with_model=any(name.startswith("model.") for name in before))
    changed = {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }
    return changed.union(*(_remember(task, name, changed) for name in FUNCTIONS))


def _remember(task: Task, field: str, changed: set[str]) -> set[str]:
    own = {name for name in changed if name.partition(".")[0] == field}
    try:
        known = _changing.setdefault(getattr(task, field), set())
    except TypeError:  # an object that takes no weak reference, or has no hash
        return own
    known |= own
    return known
