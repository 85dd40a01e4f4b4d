"""The last batch of an epoch, which may be smaller than the others."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from actsearch.placement.random_streams import isolated_random
from actsearch.training.measures import count_samples

__all__ = ["cut_to_last"]

_MOST_LISTED = 10_000  # batches of a sampler


def cut_to_last(source: Any, batch: Any) -> Any:
    """As many samples of a batch as the smallest of a pass has, perhaps one; None where that is not known.

    Batch normalisation, for one, trains on no single sample.

    Args:
        source: data set that the batch is of.
        batch: its first one.
    """
    samples = count_samples(batch)
    least = _fewest_samples(source, samples)
    return None if least is None or least >= samples else _cut(batch, least, samples)


def _fewest_samples(source: Any, size: int) -> int | None:
    """How many samples the smallest batch of a pass has, in most cases the last."""
    if isinstance(source, DataLoader):
        if source.batch_size is None:
            return _smallest_of(source.batch_sampler)
        if source.drop_last:
            return None
        source, size = source.sampler, source.batch_size
    try:
        count = len(source[0] if isinstance(source, tuple) else source)
    except TypeError:  # a stream does not know
        return None
    return count % size or None


def _smallest_of(sampler: Any) -> int | None:
    """The smallest batch of a sampler of the user's own, as of one that sorts by length."""
    if sampler is None:
        return None
    try:
        with isolated_random(0):
            batches = itertools.islice(iter(copy.deepcopy(sampler)), _MOST_LISTED)
            return min((len(indices) for indices in batches), default=None)
    except Exception:  # the user's class: anything
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
