"""Whether training data come out the same when they are read again under one seed."""

from __future__ import annotations

import itertools

import torch
from torch.utils.data import DataLoader, IterableDataset

from actsearch.placement.random_streams import isolated_random
from actsearch.task import Batches, Task, reading_copy
from actsearch.task.data import item_digest

__all__ = ["draws_by_itself"]

_READ = 2  # batches


def draws_by_itself(task: Task) -> bool:
    """Whether the first training batches differ between two passes under one seed.

    The generators of torch, numpy and random are seeded, and those that a loader, its sampler and its data set hold.
    What is drawn from elsewhere, as from a generator in a module, is new in each training.
    """
    source = task.train
    if isinstance(source, tuple) or isinstance(
        getattr(source, "dataset", source), IterableDataset
    ):
        return False  # an iterable may be read once alone
    return _read(task, source) != _read(task, source)


def _read(task: Task, source: DataLoader[object] | object) -> list[bytes]:
    batches = Batches(reading_copy(source), task.batch_size, torch.device("cpu"), 0)
    with isolated_random(0):
        return [item_digest(batch) for batch in itertools.islice(iter(batches), _READ)]
