"""A subject on its way to other machines: large tensors and arrays of its data apart from everything else."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from actsearch.evaluation import Subject
from actsearch.execution.child import Pickler

__all__ = ["Parcel", "pack"]

_LARGE = 1 << 16  # bytes; less is not worth a message of its own


@dataclass(frozen=True)
class Parcel:
    """A message in parts.

    Attributes:
        parts: flat arrays of bytes: a pickle, and what it wants beside it, in the memory of the subject's own.
    """

    parts: tuple[np.ndarray[Any, Any], ...]


def pack(message: Any, subject: Subject) -> Parcel:
    """Take the data of a subject apart, so that they travel once, and machines keep them once.

    Raises:
        Exception: it cannot be sent, as pickling has it.
    """
    held = {id(item): item for item in _held(subject.data)}
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _DataPickler(stream, held, buffers).dump(message)
    contents = [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]
    return Parcel(tuple(np.frombuffer(content, np.uint8) for content in contents))


def _held(data: Sequence[Any]) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """Large tensors and arrays in data, in containers that are known only to read them."""
    rest: list[Any] = list(data)
    while rest:
        item = rest.pop()
        if isinstance(item, (tuple, list)):
            rest += item if len(item) < 100 else ()
        elif isinstance(item, dict):
            rest += item.values()
        elif type(item) is TensorDataset:
            rest += item.tensors
        elif type(item) is ConcatDataset:
            rest += item.datasets
        elif type(item) in (Subset, DataLoader):
            rest.append(item.dataset)
        elif type(item) is Tensor:
            is_plain = item.device.type == "cpu" and item.layout is torch.strided
            is_data = not (item.requires_grad or item.is_conj() or item.is_neg())
            if is_plain and is_data and item.is_contiguous() and item.nbytes >= _LARGE:
                yield item
        elif type(item) is np.ndarray and not item.dtype.hasobject:
            if item.flags.c_contiguous and item.nbytes >= _LARGE:
                yield item


class _DataPickler(Pickler):
    def __init__(
        self, stream: io.BytesIO, held: dict[int, Any], buffers: list[pickle.PickleBuffer]
    ) -> None:
        addresses = {item.ctypes.data for item in held.values() if isinstance(item, np.ndarray)}

        def keep(buffer: pickle.PickleBuffer) -> bool:
            """Whether a buffer stays within the pickle."""
            raw = buffer.raw()
            is_held = (
                raw.nbytes >= _LARGE and np.frombuffer(raw, np.uint8).ctypes.data in addresses
            )
            if is_held:
                buffers.append(buffer)
            return not is_held

        super().__init__(stream, protocol=5, buffer_callback=keep)
        self._held = held
        self._addresses = addresses

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and id(obj) in self._held:
            data: Any = obj.reshape(-1).view(torch.uint8).numpy()
            self._addresses.add(data.ctypes.data)
            return _make_tensor, (
                pickle.PickleBuffer(memoryview(data)),
                obj.dtype,
                tuple(obj.shape),
            )
        return super().reducer_override(obj)


def _make_tensor(data: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(shape)
