"""Data without a length: whether they come to an end, where a training needs one."""

from __future__ import annotations

import time
from typing import Any

import torch

from actsearch.errors import TaskError
from actsearch.task import Batches, Task, reading_copy

__all__ = ["check_ends"]

_MOST_BATCHES = 10_000  # read of a stream that does not end
_LONGEST = 20.0  # seconds; a stream that is read no faster may end later


def check_ends(task: Task) -> None:
    """Read data that do not know their length, where an epoch or an evaluation waits for their end.

    Raises:
        TaskError: there is no end.
    """
    ways = {"valid": "give data that end, as a list of batches or a Dataset with a __len__"}
    if task.steps is None:
        ways["train"] = "give steps= in the place of epochs=, or a Dataset with a __len__"
    for name, way in ways.items():
        source = getattr(task, name)
        if not _has_length(source) and _goes_on(source, task.batch_size):
            raise TaskError(
                f"{name} data have no length and did not end within {_MOST_BATCHES:,} batches: {way}"
            )


def _has_length(source: Any) -> bool:
    try:
        len(source)
    except TypeError:
        return False
    return True


def _goes_on(source: Any, batch_size: int) -> bool:
    started = time.perf_counter()
    batches = Batches(reading_copy(source), batch_size, torch.device("cpu"), None)
    for count, _ in enumerate(batches, start=1):
        if count == _MOST_BATCHES:
            return True
        if time.perf_counter() - started > _LONGEST:
            break
    return False
