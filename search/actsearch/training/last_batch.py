"""The last batch of an epoch, which may be smaller than the others."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from actsearch.task import Task
from actsearch.training.loop import TrainingRun
from actsearch.training.measures import count_samples

__all__ = ["cut_to_last"]


def cut_to_last(run: TrainingRun, batch: Any) -> Any:
    """As many samples of a batch as the last one of an epoch has, perhaps one; None where that is not known.

    Batch normalisation, for one, trains on no single sample.
    """
    left = _samples_left(run.task)
    if run.task.steps is not None and run.task.steps < (run.train.steps or 0):
        return None  # it never comes to that
    return None if left is None else _cut(batch, left, count_samples(batch))


def _samples_left(task: Task) -> int | None:
    """How many samples the last batch of an epoch has, where it is smaller than the others."""
    source: Any = task.train
    size = task.batch_size
    if isinstance(source, DataLoader):
        if source.batch_size is None or source.drop_last:
            return None
        source, size = source.sampler, source.batch_size
    try:
        return (len(source[0] if isinstance(source, tuple) else source) % size) or None
    except TypeError:  # a stream does not know
        return None


def _cut(batch: Any, rows: int, samples: int) -> Any:
    """The first samples of a batch of tensors; None where it holds something else."""
    if isinstance(batch, Tensor):
        return batch[:rows].clone() if batch.dim() and len(batch) == samples else None
    if type(batch) in (tuple, list):
        parts = [_cut(item, rows, samples) for item in batch]
        return None if any(part is None for part in parts) else type(batch)(parts)
    if type(batch) is dict:
        cut = {key: _cut(item, rows, samples) for key, item in batch.items()}
        return None if any(part is None for part in cut.values()) else cut
    return None
