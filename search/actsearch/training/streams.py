"""Data without a length: whether they come to an end, where a training needs one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from actsearch.errors import TaskError
from actsearch.task import Batches, Task, reading_copy

__all__ = ["EndingBatches", "check_ends", "has_length"]

_MOST_BATCHES = 10_000  # read of a stream that does not end
_LONGEST = 20.0  # seconds; a stream that is read no faster may end later


def check_ends(task: Task, names: Iterable[str] = ("train", "valid")) -> None:
    """Read data that do not know their length, where an epoch or an evaluation waits for their end.

    Args:
        task: whose data.
        names: of those that are about to be used.

    Raises:
        TaskError: there is no end.
    """
    for name in names:
        source = getattr(task, name)
        is_cut = task.steps is not None if name == "train" else task.evaluate is not None
        if source is None or is_cut or has_length(source):
            continue
        if _goes_on(source, task.batch_size):
            way = (
                "give steps= in the place of epochs=" if name == "train" else "give data that end"
            )
            raise TaskError(
                f"{name} data have no length and did not end within {_MOST_BATCHES:,} batches: {way}, or a Dataset "
                "with a __len__"
            )


def has_length(source: Any) -> bool:
    """Whether a data set knows how many samples or batches it has."""
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


class EndingBatches(Batches):
    """Batches for a function ``evaluate`` that is tried: it may take some of a stream, and not wait for its end."""

    def __iter__(self) -> Iterator[Any]:
        """Raises TaskError where there is no end in sight."""
        for count, batch in enumerate(super().__iter__()):
            if count == _MOST_BATCHES:
                raise TaskError(
                    f"evaluate= has taken {_MOST_BATCHES:,} batches of data that have no length: let it take as many "
                    "as it needs, by itertools.islice, or give data that end"
                )
            yield batch
