"""A user's data as batches on a device, in an order that its own generator decides."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from actsearch.errors import TaskError
from actsearch.seeds import global_streams
from actsearch.task.copies import copy_alike, fresh_loader, reading_copy
from actsearch.task.generators import global_generators, held_generators
from actsearch.task.nested import children, describe, rebuild
from actsearch.task.structured import (
    SeveralInputs,
    StructuredData,
    as_structured,
    as_tensor,
    is_list_of_samples,
    refuse_batches,
)

__all__ = [
    "Batches",
    "as_source",
    "describe_source",
    "inputs_and_targets",
    "item_digest",
    "tensor_digest",
    "to_device",
]

_EVALUATION_BATCH = 1024  # without gradients larger batches cost no more memory than training
_HASHED_ITEMS = 64  # of a Dataset, evenly spread items are hashed
_HASHED_ELEMENTS = 1 << 24  # of a larger tensor evenly spread elements are hashed


def as_source(data: Any, name: str) -> Any:
    """Check one of train, valid, test, and turn arrays into tensors.

    Args:
        data: a tuple of tensors or arrays with one length, each of which may be a tuple or a mapping of such; a list of
            (input, target), one for each sample; a Dataset, or a DataLoader.
        name: which of them, for messages.

    Returns:
        A tuple of tensors, a Dataset, or a DataLoader. Floating arrays of numpy become the default dtype.

    Raises:
        TaskError: empty, of different lengths, or of another kind.
    """
    if isinstance(data, DataLoader):
        _check_not_empty(_length(data), name)
        return data
    if isinstance(data, IterableDataset):
        raise TaskError(
            f"{name} data has no order of its own: give DataLoader({name}, batch_size=...)"
        )
    if isinstance(data, (SeveralInputs, StructuredData)):
        return data
    if isinstance(data, (tuple, list)):
        if not data:
            raise TaskError(f"{name} data is empty: give ({name}_inputs, {name}_targets)")
        if isinstance(data, list) and is_list_of_samples(data):
            return data
        if isinstance(data, list):
            refuse_batches(data, name)
        structured = as_structured(data, name)
        if structured is not None:
            is_flat = isinstance(structured, tuple)
            _check_not_empty(len(structured[0] if is_flat else structured), name)
            return structured
        tensors = tuple(as_tensor(item, name) for item in data)
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) > 1:
            raise TaskError(f"{name} data differ in length: {' and '.join(map(str, lengths))}")
        _check_not_empty(lengths[0], name)
        return tensors
    is_text_or_table = isinstance(data, (str, bytes, Mapping))
    is_list_like = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, Dataset) or (is_list_like and not is_text_or_table):
        _check_not_empty(_length(data), name)
        return data
    raise TaskError(
        f"{name} data must be a tuple of tensors, a Dataset or a DataLoader, not {type(data).__name__}"
    )


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # an iterable data set does not know
        return None


def _check_not_empty(length: int | None, name: str) -> None:
    if length == 0:
        raise TaskError(f"{name} data is empty")


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with every tensor in it on a device; each part keeps its type.

    Tuples, lists, named tuples, mappings and data classes are walked through. What has a ``to`` of its own, as a
    PackedSequence or a graph, is moved by it; the user's own object stays where it is.
    """
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=device.type == "cuda" and batch.is_pinned())
    if callable(getattr(batch, "to", None)) and not isinstance(batch, type):
        return _move(batch, device)
    parts = children(batch)
    if parts is None:
        return batch
    return rebuild(batch, [to_device(part, device) for _, part in parts])


def _move(item: Any, device: torch.device) -> Any:
    """An object on a device by its own ``to``, which may write into the object and may return nothing."""
    try:
        twin: Any = item if isinstance(item, tuple) else copy.copy(item)
        moved = twin.to(device)
    except (AttributeError, TypeError, ValueError):  # a method of that name that takes no device
        return item
    return twin if moved is None else moved


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """Split a batch: the last part is the target, what comes before goes into the model.

    Returns:
        The inputs, a tuple of several where there are more than two parts; the targets, a tensor, or tensors in a
        mapping, tuple, list or data class.

    Raises:
        TaskError: for batches of another form.
    """
    is_pair = isinstance(batch, (tuple, list)) and not isinstance(batch, PackedSequence)
    if is_pair and len(batch) >= 2:
        if _holds_tensors(batch[-1]):
            return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
        raise TaskError(
            f"the last part of a batch is its targets, and here {describe(batch[-1])}, not a tensor; "
            "give step= and evaluate= for batches of another form"
        )
    raise TaskError(
        f"a batch must be (inputs, targets), not {type(batch).__name__}; "
        "give step= and evaluate= for batches of another form"
    )


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    parts = children(value)
    return bool(parts) and all(_holds_tensors(part) or part is None for _, part in parts or ())


class Batches:
    """One of a task's data sets, batch by batch; each iteration is one epoch.

    Attributes:
        steps: batches in an epoch, or None if the data does not know its length.
    """

    def __init__(
        self, source: Any, batch_size: int, device: torch.device, shuffle_seed: int | None
    ) -> None:
        """Args:
        source: what :func:`as_source` returned.
        batch_size: samples in a batch; a DataLoader keeps its own.
        device: where batches go.
        shuffle_seed: seed of the order; None keeps the order (evaluation).
        """
        self._device = device
        self._seed = shuffle_seed
        self._generator = torch.Generator().manual_seed(shuffle_seed or 0)
        self._tensors: tuple[Tensor, ...] | None = None
        if isinstance(source, tuple):
            self._tensors = tuple(tensor.to(device) for tensor in source)
            self._size = (
                batch_size if shuffle_seed is not None else max(batch_size, _EVALUATION_BATCH)
            )
            self.steps: int | None = -(-len(source[0]) // self._size)
        else:
            self._loader = (
                fresh_loader(source)
                if isinstance(source, DataLoader)
                else self._new_loader(source, batch_size)
            )
            self.steps = _length(self._loader)
            # a user's generators go on from one training to the next: each training starts them anew
            seed = shuffle_seed or 0
            streams = [*global_generators(), *held_generators(self._loader)]
            self._states = [(stream, stream.seeded(seed)) for stream in streams]

    def _new_loader(self, source: Any, batch_size: int) -> DataLoader[Any]:
        return DataLoader(
            source,
            batch_size=batch_size,
            shuffle=self._seed is not None,
            generator=self._generator,
            pin_memory=self._device.type == "cuda",  # copies from there need not be waited for
        )

    def __iter__(self) -> Iterator[Any]:
        return self._iterate_tensors() if self._tensors is not None else self._iterate_loader()

    def _iterate_tensors(self) -> Iterator[tuple[Tensor, ...]]:
        assert self._tensors is not None
        count = len(self._tensors[0])
        order = None
        if self._seed is not None:
            order = torch.randperm(count, generator=self._generator).to(self._device)
        for start in range(0, count, self._size):
            end = start + self._size
            if order is None:  # a model may write over what it is given
                yield tuple(copy_alike(tensor[start:end]) for tensor in self._tensors)
            else:
                yield tuple(tensor[order[start:end]] for tensor in self._tensors)

    def _iterate_loader(self) -> Iterator[Any]:
        """A loader's batches; whatever they draw comes from our own stream, and goes back to where it was."""
        iterator = None
        while True:
            with self._own_stream():
                iterator = iter(self._loader) if iterator is None else iterator
                batch = next(iterator, _END)
            if batch is _END:
                return
            yield to_device(batch, self._device)

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Put our states into the global generators and those that the loader holds, and theirs back afterwards."""
        outside = [stream.get_state() for stream, _ in self._states]
        for stream, state in self._states:
            stream.set_state(state)
        try:
            yield
        finally:
            self._states = [(stream, stream.get_state()) for stream, _ in self._states]
            for (stream, _), state in zip(self._states, outside, strict=True):
                stream.set_state(state)


_END = object()


def describe_source(source: Any) -> dict[str, Any]:
    """What identifies a data set: kind, size, shapes, and a hash of the numbers where they are tensors."""
    if isinstance(source, tuple):
        return {
            "shapes": [list(tensor.shape) for tensor in source],
            "sha256": hashlib.sha256(b"".join(map(tensor_digest, source))).hexdigest(),
        }
    described: dict[str, Any] = {"type": type(source).__name__, "length": _length(source)}
    if isinstance(source, DataLoader):
        described["dataset"] = describe_source(source.dataset)
        described["batch_size"] = source.batch_size
    elif hasattr(source, "tensors"):  # torch's TensorDataset
        described |= describe_source(tuple(source.tensors))
    elif described["length"] and hasattr(source, "__getitem__"):
        described["items"] = _items_digest(source, described["length"])
    return described


def _items_digest(source: Any, length: int) -> str:
    """Hash of evenly spread items of a data set; "" where an item cannot be had.

    Random transforms are seeded. What differs all the same when it is read again, as it comes from a generator that
    the data set holds, is another number in each process: of that the kind and the shape are hashed.
    """
    digest = hashlib.sha256()
    source = reading_copy(source)  # loaders start their workers later
    indices = range(0, length, -(-length // _HASHED_ITEMS))
    try:
        passes = [_read_parts(source, indices) for _ in range(2)]
    except Exception:  # the user's data set: anything; its type and length still stand for it
        return ""
    for first, second in zip(*passes, strict=False):
        digest.update(first[1] if first[1] == second[1] else first[0])
    return digest.hexdigest()


def _read_parts(source: Any, indices: Iterable[int]) -> list[tuple[bytes, bytes]]:
    """The parts of some items, each as its kind and its bytes, under fixed seeds of the global generators."""
    streams = global_generators()
    with global_streams:
        outside = [stream.get_state() for stream in streams]
        try:
            for stream in streams:
                stream.set_state(stream.seeded(0))
            return [part for index in indices for part in _parts_of(source[index])]
        finally:
            for stream, state in zip(streams, outside, strict=True):
                stream.set_state(state)


def item_digest(item: Any) -> bytes:
    """A hash of what a data set or a loader gives: tensors, arrays, numbers and texts in whatever holds them."""
    return hashlib.sha256(b"".join(part for _, part in _parts_of(item))).digest()


def _parts_of(item: Any) -> Iterator[tuple[bytes, bytes]]:
    kind = type(item).__name__.encode()
    if isinstance(item, Tensor):
        yield f"{tuple(item.shape)} {item.dtype}".encode(), tensor_digest(item)
    elif isinstance(item, np.ndarray):
        yield from _parts_of(torch.as_tensor(item))
    elif isinstance(item, Mapping):
        for key in item:
            yield from _parts_of((str(key), item[key]))
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from _parts_of(part)
    elif isinstance(item, (int, float, str, bytes, np.generic)):
        yield kind, repr(item).encode()
    else:  # an image object, say: its repr may hold an address
        yield kind, kind


def tensor_digest(tensor: Tensor) -> bytes:
    """SHA-256 of shape, dtype and numbers; of a very large tensor, of evenly spread numbers."""
    flat = tensor.detach().cpu().reshape(-1)
    stride = -(-flat.numel() // _HASHED_ELEMENTS)
    numbers = flat[::stride].contiguous()
    if numbers.dtype == torch.bfloat16:
        numbers = numbers.float()
    head = f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    return hashlib.sha256(head + numbers.numpy().tobytes()).digest()
