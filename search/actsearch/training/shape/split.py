"""Training data in two parts: one for the weights of a pass, and one that its weights do not see, for the curve."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset

from actsearch.errors import TaskError
from actsearch.task import Task

__all__ = ["FEWEST_SAMPLES", "split_training_data"]

FEWEST_SAMPLES = 64
"""In the training data; of fewer, a part would say little about a curve."""


def split_training_data(task: Task, share: float, copies: int, seed: int) -> list[tuple[Any, Any]]:
    """For each copy of a model, what its weights see and what they do not, as data sets like the task's own.

    What the copies do not see are parts that lie evenly spread in one random order: of two copies that hold back one
    half each, the one sees what the other does not.

    Args:
        task: whose training data are divided.
        share: of the samples that the curve learns from.
        copies: how many divisions.
        seed: of the draw.

    Raises:
        TaskError: there are too few samples, or what gives them cannot be divided.
    """
    source = task.train
    count = _count(source)
    if count < FEWEST_SAMPLES:
        raise TaskError(
            f"shape learning divides the training data in two, and {count} samples are too few for that: it takes "
            f"{FEWEST_SAMPLES} at least; choose another strategy"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    cut = round(count * share)
    parts = []
    for copy in range(copies):
        own = order.roll(copy * count // copies)
        size = getattr(source, "batch_size", None) or task.batch_size
        # in their own order, as a data set may be read in order
        seen, held = (_without_single(rows, size).sort().values for rows in (own[cut:], own[:cut]))
        parts.append((_take(source, seen), _take(source, held)))
    return parts


def _without_single(rows: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Rows of which no batch has one alone: a batch normalisation cannot train on it, and the whole data have none."""
    return rows[:-1] if len(rows) % batch_size == 1 and len(rows) > 1 else rows


def _count(source: Any) -> int:
    if isinstance(source, tuple):
        return len(source[0])
    samples: Any = source.dataset if isinstance(source, DataLoader) else source
    try:
        if isinstance(samples, IterableDataset):
            raise TypeError
        return len(samples)
    except TypeError:
        raise TaskError(
            "shape learning holds part of the training data back from the weights, and of a stream no part can be "
            "held back: give the data as tensors or as a Dataset with a length"
        ) from None


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Whether a loader goes through every sample of its data set once an epoch, in order or shuffled."""
    sampler = loader.sampler
    if type(sampler) not in (RandomSampler, SequentialSampler) or loader.batch_size is None:
        return False
    if type(loader).__iter__ is not DataLoader.__iter__ or getattr(sampler, "replacement", False):
        return False
    source: Any = sampler
    return len(source) == len(source.data_source) == _count(loader)


def _take(source: Any, rows: torch.Tensor) -> Any:
    if isinstance(source, tuple):
        return tuple(tensor[rows.to(tensor.device)] for tensor in source)
    if not isinstance(source, DataLoader):
        return Subset(source, rows.tolist())
    if not _is_plain(source):
        raise TaskError(
            "shape learning holds part of the training data back from the weights, and a DataLoader with a sampler, "
            "batches or an __iter__ of its own cannot be divided: give one with batch_size= and shuffle=, or the "
            "Dataset itself"
        )
    workers = source.num_workers
    return DataLoader(
        Subset(source.dataset, rows.tolist()),
        batch_size=source.batch_size,
        shuffle=type(source.sampler) is RandomSampler,
        num_workers=workers,
        collate_fn=source.collate_fn,
        pin_memory=source.pin_memory,
        drop_last=source.drop_last and len(rows) >= (source.batch_size or 1),
        timeout=source.timeout,
        worker_init_fn=source.worker_init_fn,
        generator=source.generator,
        multiprocessing_context=source.multiprocessing_context if workers else None,
        prefetch_factor=source.prefetch_factor if workers else None,
    )
