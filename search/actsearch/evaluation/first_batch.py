"""What a data set or a loader gives first, to look at a model with."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, default_collate

from actsearch.errors import TaskError
from actsearch.task import Task
from actsearch.training import isolated_random

__all__ = ["read_first_batch"]


def read_first_batch(task: Task, source: Any) -> Any:
    """The first batch of a loader; of a data set the first one that a step would get, or its first item as a batch.

    Raises:
        TaskError: torch makes no batches of such samples by itself.
    """
    try:
        with isolated_random(0):
            if hasattr(source, "batch_size"):
                return next(iter(source))
            if task.step is not None:
                return next(iter(DataLoader(source, batch_size=task.batch_size)))
            return default_collate([source[0]])
    except TypeError as error:
        if not str(error).startswith("default_collate"):
            raise
        raise TaskError(
            f"train samples cannot be put together in batches ({error}): give "
            "DataLoader(train, batch_size=..., collate_fn=...), or DataLoader(train, batch_size=None) where each "
            "sample is one already"
        ) from error
