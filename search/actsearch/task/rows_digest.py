"""Whether two data sets hold the same rows: a digest of all of them, which says nothing where that cannot be known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from actsearch.seeds import global_streams
from actsearch.task.copies import reading_copy
from actsearch.task.generators import global_generators
from actsearch.task.structured import StructuredData

__all__ = ["rows_digest"]

_MOST_ROWS = 4096  # that are read one by one: of more, so many evenly spread ones stand for all
_PROBED = 16  # rows that are read twice
_BYTES = 16  # of a digest: no two sets have the same by chance


class _UnknownError(Exception):
    """It is not known which rows these are."""


def rows_digest(source: Any) -> str | None:
    """A digest of all rows of a data set, in their order.

    It is the same in every process, and for tensors whether they stand alone, in a ``TensorDataset``, in a ``Subset``
    of one, or in a loader that gives each row once, in order or shuffled. Rows that have to be read one by one are read
    from a copy, under fixed random states.

    Args:
        source: one of a task's data sets.

    Returns:
        None where it cannot be known which rows are seen: of what is only iterated over, of loaders that leave rows out
        or choose them by samplers of their own, of rows that are drawn anew, and of objects whose content is hidden.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    try:
        rows = _rows_of(source)
        if (tensors := _tensors_of(rows)) is not None:
            for tensor in tensors:
                _add(digest, tensor)
        else:
            _add_rows(digest, reading_copy(rows))
    except Exception:  # the user's objects: anything
        return None
    return digest.hexdigest()


def _rows_of(source: Any) -> Any:
    """The data set behind a loader, if the loader gives each of its rows."""
    if not isinstance(source, DataLoader):
        return source
    rows, sampler, batches = source.dataset, source.sampler, source.batch_sampler
    if isinstance(rows, IterableDataset) or type(batches) not in (BatchSampler, type(None)):
        raise _UnknownError
    if type(sampler) is RandomSampler:
        is_whole = not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    else:
        is_whole = type(sampler) is SequentialSampler
    if not is_whole or (source.drop_last and len(rows) % (source.batch_size or 1)):  # type: ignore[arg-type]
        raise _UnknownError
    return rows


def _tensors_of(rows: Any) -> tuple[Tensor, ...] | None:
    """All rows as a few tensors, where they are held so."""
    if isinstance(rows, tuple):
        return rows
    if type(rows) in (TensorDataset, StructuredData):
        return tuple(rows.tensors)
    if type(rows) is Subset and (tensors := _tensors_of(rows.dataset)) is not None:
        indices = torch.as_tensor(list(rows.indices), dtype=torch.long)
        return tuple(tensor[indices.to(tensor.device)] for tensor in tensors)
    return None


def _add_rows(digest: Any, rows: Any) -> None:
    """Take in rows that are read one by one."""
    count = len(rows)
    if _digest_some(rows, _spread(count, _PROBED), 0) != _digest_some(
        rows, _spread(count, _PROBED), 1
    ):
        raise _UnknownError  # they are drawn, and so are other ones each time
    digest.update(f"{count} rows".encode() + _digest_some(rows, _spread(count, _MOST_ROWS), 0))


def _spread(count: int, most: int) -> range:
    return range(0, count, max(1, -(-count // most)))


def _digest_some(rows: Any, indices: Iterable[int], seed: int) -> bytes:
    """Digest of some rows, read under given states of the global generators, which are put back."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    streams = global_generators()
    with global_streams:
        outside = [stream.get_state() for stream in streams]
        try:
            for stream in streams:
                stream.set_state(stream.seeded(seed))
            for index in indices:
                _add(digest, rows[index])
        finally:
            for stream, state in zip(streams, outside, strict=True):
                stream.set_state(state)
    return digest.digest()


def _add(digest: Any, item: Any) -> None:
    """Take in tensors, arrays, images, numbers and texts, in whatever holds them."""
    if isinstance(item, Tensor):
        flat = item.detach().cpu().contiguous().reshape(-1)
        digest.update(f"tensor {tuple(item.shape)} {item.dtype} ".encode())
        digest.update(flat.view(torch.uint8).numpy())
    elif isinstance(item, Mapping):
        digest.update(f"mapping {len(item)} ".encode())
        for key in item:
            _add(digest, str(key))
            _add(digest, item[key])
    elif isinstance(item, (tuple, list)):
        digest.update(f"list {len(item)} ".encode())
        for part in item:
            _add(digest, part)
    elif isinstance(item, (int, float, str, bytes, np.generic, type(None))):
        text = repr(item)
        digest.update(f"{type(item).__name__} {len(text)} {text} ".encode())
    elif hasattr(item, "__array__") or hasattr(item, "__array_interface__"):
        array = np.ascontiguousarray(item)
        if array.dtype.hasobject:
            raise _UnknownError
        digest.update(f"array {array.shape} {array.dtype} ".encode() + array.tobytes())
    else:
        raise _UnknownError
