"""The rows of a data set as tensors, where that costs no more than to read them once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
    default_convert,
)

from actsearch.placement.random_streams import isolated_random
from actsearch.task import reading_copy
from actsearch.training.data_check.batches import BatchRows, named_parts

__all__ = ["Origin", "Rows", "as_array", "is_random", "find_origin", "read_rows"]

Positions = npt.NDArray[np.int64]

_ITEMS = 2048  # of a Dataset that is not a TensorDataset; more could take as long as an epoch
_POSITIONS = 1 << 26  # of a range; a longer one is not made an array
_SECONDS = 2.0  # for reading them; an item may be a file
_BYTES = 1 << 28  # of batches that are read to be looked at, and kept for that
_CHUNK = 1 << 22  # numbers that are looked at together: they stay in the cache


class Unreadable(Exception):
    """A data set whose rows cannot be compared, with why."""


@dataclass(frozen=True)
class Origin:
    """Which rows of which data set a source stands for.

    Attributes:
        base: the data set below all loaders and subsets.
        positions: the rows of it, in order; as a range where they are one, since a data set may declare any length.
        collate: makes a batch of its items.
        holds_batches: whether its items are batches as they are.
    """

    base: Any
    positions: Positions | range
    collate: Callable[[list[Any]], Any] = default_collate
    holds_batches: bool = False

    def select(self, which: slice | Sequence[int]) -> Positions:
        """Some of the positions."""
        if isinstance(which, slice):
            return as_array(self.positions[which])
        return np.array([self.positions[index] for index in which], dtype=np.int64)

    @cached_property
    def readable(self) -> Any:
        """The data set to read items of: a copy, so that a file opened for them is not shared by a loader's workers."""
        return reading_copy(self.base)

    @property
    def is_in_memory(self) -> bool:
        """Whether the rows are tensors, so that no code of the user's runs when they are read."""
        if type(self.base) is ConcatDataset:
            return all(_is_plain(child) for child in self.base.datasets)
        return (
            isinstance(self.base, tuple)
            or type(self.base) in (TensorDataset, BatchRows)
            or self.is_list
        )

    @property
    def is_list(self) -> bool:
        """Whether these are batches in a list."""
        return self.holds_batches and type(self.base) is list and self.collate is default_convert

    def batch(self, which: Sequence[int]) -> Any:
        """A batch of some rows, as training would get it; random transforms are seeded.

        Of batches of the user's own it is the one in which the first row stands.
        """
        if isinstance(self.base, BatchRows):
            return self.base.batch_of(which[0])
        chosen = self.select(which)
        if isinstance(self.base, tuple):
            index = torch.from_numpy(chosen)
            return tuple(tensor[index.to(tensor.device)] for tensor in self.base)
        with isolated_random(0):
            return self.collate([self.readable[int(position)] for position in chosen])


@dataclass(frozen=True)
class Rows:
    """Rows that can be read as tensors.

    Attributes:
        inputs: what goes into the model, by name; shape ``(rows of the base, ...)``.
        target: likewise; None where it is not known which part is the target.
        positions: the rows that count, in order; None for all.
        origin: where they come from.
    """

    inputs: Mapping[str, Tensor]
    target: Tensor | None
    positions: Positions | None
    origin: Origin

    def __len__(self) -> int:
        return len(self.origin.positions)

    @cached_property
    def parts(self) -> list[tuple[str, Tensor]]:
        """All tensors by name, the target last."""
        targets = [] if self.target is None else [("targets", self.target)]
        return [*self.inputs.items(), *targets]

    @property
    def labels(self) -> Tensor | None:
        """The targets in order of the rows."""
        if self.target is None:
            return None
        return self.take(self.target, slice(None))

    def take(self, part: Tensor, which: Any) -> Tensor:
        """Some rows of one of the tensors, in memory of the CPU."""
        if self.positions is not None:
            which = torch.from_numpy(self.positions[which])
        elif isinstance(which, np.ndarray):
            which = torch.from_numpy(which)
        if isinstance(which, Tensor):
            which = which.to(part.device)
        return part.detach()[which].cpu()

    def chunks(self, parts: Sequence[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        """All rows of some tensors, a few at a time, with the number of the first."""
        width = sum(max(1, part[:1].numel()) for part in parts)
        step = max(1, _CHUNK // width)
        for start in range(0, len(self), step):
            which = slice(start, min(start + step, len(self)))
            yield start, [self.take(part, which) for part in parts]


def _is_plain(source: Any) -> bool:
    try:
        return find_origin(source).is_in_memory
    except (Unreadable, TypeError):
        return False


def find_origin(source: Any) -> Origin:
    """Which rows a source stands for; nothing is read or drawn.

    Raises:
        Unreadable: a stream, or a loader that chooses its rows in a way of its own.
    """
    if isinstance(source, tuple):
        return Origin(source, range(len(source[0])))
    if isinstance(source, DataLoader):
        below = find_origin(source.dataset)
        if source.batch_size is None and type(source.sampler) in (
            SequentialSampler,
            RandomSampler,
        ):
            return Origin(below.base, below.positions, source.collate_fn, holds_batches=True)
        chosen = _sampler_indices(source, len(below.positions))
        positions = (
            below.positions if chosen is None else _compose_positions(below.positions, chosen)
        )
        return Origin(below.base, positions, source.collate_fn)
    if isinstance(source, IterableDataset):
        raise Unreadable("it is a stream")
    if type(source) is Subset:
        below = find_origin(source.dataset)
        return Origin(below.base, _compose_positions(below.positions, source.indices))
    return Origin(source, range(len(source)))


def as_array(positions: Positions | range) -> Positions:
    """Positions as an array.

    Raises:
        Unreadable: a range that would take much memory.
    """
    if not isinstance(positions, range):
        return positions
    if len(positions) > _POSITIONS:
        raise Unreadable(f"its {len(positions)} rows are not listed")
    return np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)


def _compose_positions(positions: Positions | range, indices: Any) -> Positions | range:
    """Positions at some indices; a range of a range stays one."""
    is_inside = isinstance(indices, range) and (
        not indices
        or (min(indices[0], indices[-1]) >= 0 and max(indices[0], indices[-1]) < len(positions))
    )
    if isinstance(positions, range) and is_inside:
        if not indices:
            return range(0)
        step = positions.step * indices.step
        start = positions[indices[0]]
        return range(start, start + step * len(indices), step)
    index = (
        as_array(indices) if isinstance(indices, range) else np.asarray(list(indices), np.int64)
    )
    if not isinstance(positions, range):
        return positions[index]
    if index.size and not (-len(positions) <= index.min() and index.max() < len(positions)):
        raise IndexError("a subset's indices lie outside its data set")
    index = np.where(index < 0, index + len(positions), index)
    return positions.start + positions.step * index


def _sampler_indices(loader: DataLoader[Any], length: int) -> Any:
    """Indices of the rows that a loader takes; None for all."""
    sampler = loader.sampler
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise Unreadable("its loader makes its batches in a way of its own")
    if type(sampler) is SubsetRandomSampler:
        return sampler.indices
    if type(sampler) is SequentialSampler:
        return None
    if isinstance(sampler, RandomSampler) and type(sampler) is RandomSampler:
        if not sampler.replacement and sampler.num_samples == length:
            return None
    raise Unreadable(f"its loader chooses rows by {type(sampler).__name__}")


def read_rows(origin: Origin, *, has_target: bool) -> Rows:
    """Read rows as tensors.

    Of a data set that is neither tensors nor a TensorDataset the items are read, at most 2,048 and for at most 2 s,
    unless they are random. No loader is started, and the global random streams stay as they are.

    Args:
        origin: which rows.
        has_target: whether the last part of a row is its target.

    Raises:
        Unreadable: too many items, random ones, or such as are not numbers.
    """
    if origin.holds_batches:
        return _read_batches(origin, has_target=has_target)
    parts, is_read = _dataset_parts(origin)
    every = is_read or (len(origin.positions) == len(parts[0]) and _is_in_order(origin.positions))
    target: Tensor | None = None
    if isinstance(parts, (tuple, list)) and len(parts) >= 2 and has_target:
        *parts, last = parts
        if not isinstance(last, Tensor):
            raise Unreadable("its targets are not one tensor")
        target = last
    inputs = dict(_named_tensors(parts))
    return Rows(inputs, target, None if every else origin.select(slice(None)), origin)


def _read_batches(origin: Origin, *, has_target: bool) -> Rows:
    made = BatchRows([origin.collate(item) for item in _items(origin, _BYTES)])
    inputs = {f"inputs{name}": part for name, part in made.parts.items()}
    if not inputs:
        raise Unreadable("its batches hold no tensors")
    is_pair = has_target and all(isinstance(item, (tuple, list)) for item in made.batches)
    target = inputs.pop(next(reversed(inputs))) if is_pair and len(inputs) > 1 else None
    rows = len(target if target is not None else next(iter(inputs.values())))
    return Rows(inputs, target, None, Origin(made, range(rows)))


def _is_in_order(positions: Positions | range) -> bool:
    if isinstance(positions, range):
        return positions == range(len(positions))
    return bool((positions == np.arange(len(positions))).all())


def _dataset_parts(origin: Origin) -> tuple[Any, bool]:
    """Tensors of the data set, and whether they were read for these rows alone."""
    base = origin.base
    if isinstance(base, tuple):
        return base, False
    if type(base) is TensorDataset:
        return base.tensors, False
    if type(base) is ConcatDataset:
        try:
            children = [_select_tensors(child) for child in base.datasets]
            return tuple(torch.cat(column) for column in zip(*children, strict=True)), False
        except (Unreadable, RuntimeError, ValueError):
            pass
    return _read_items(origin), True


def _select_tensors(child: Any) -> tuple[Tensor, ...]:
    below = find_origin(child)
    if type(below.base) is not TensorDataset:
        raise Unreadable("it is put together from other data")
    index = torch.from_numpy(below.select(slice(None)))
    return tuple(tensor[index.to(tensor.device)] for tensor in below.base.tensors)


def _read_items(origin: Origin) -> Any:
    """Items of a data set, put together as a loader would."""
    return default_collate(_items(origin))


def _items(origin: Origin, most: int | None = None) -> list[Any]:
    """Items of a data set, one by one; at most so many bytes, unless they are in memory anyway."""
    positions = origin.positions
    if len(positions) > _ITEMS:
        raise Unreadable(f"it has {len(positions)} items, and at most {_ITEMS} are read")
    if is_random(origin):
        raise Unreadable("its items are random")
    deadline = time.monotonic() + _SECONDS
    items, size = [], 0
    with isolated_random(0):
        for position in positions:
            if time.monotonic() > deadline:
                raise Unreadable(f"its items take more than {_SECONDS:.0f} s to read")
            items.append(origin.readable[int(position)])
            size += sum(part.nbytes for _, part in named_parts(items[-1])) if most else 0
            if most and size > most and not origin.is_list:
                raise Unreadable("its batches are large")
    return items


def is_random(origin: Origin) -> bool:
    """Whether an item differs from one reading to the next, as with random transforms."""
    if origin.is_in_memory:
        return False
    read = []
    for seed in (0, 1):
        with isolated_random(seed):
            item = origin.readable[int(origin.positions[0])]
            read.append(item if origin.holds_batches else default_collate([item]))
    named = named_parts if origin.holds_batches else _named_tensors
    first, second = (list(named(parts)) for parts in read)
    return any(not torch.equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))


def _named_tensors(parts: Any, name: str = "inputs") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch with what to call it in a message."""
    if isinstance(parts, Tensor):
        yield name, parts
    elif isinstance(parts, Mapping):
        for key, part in parts.items():
            yield from _named_tensors(part, f"{name}[{str(key)[:40]!r}]")
    elif isinstance(parts, (tuple, list)) and len(parts) == 1:
        yield from _named_tensors(parts[0], name)
    elif isinstance(parts, (tuple, list)):
        for number, part in enumerate(parts):
            yield from _named_tensors(part, f"{name}[{number}]")
    else:
        raise Unreadable(f"its rows hold {type(parts).__name__}, which is not compared")
