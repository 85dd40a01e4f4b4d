"""A parcel where it arrives. Whoever only hands it on needs no torch."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Delivery"]


@dataclass(frozen=True)
class Delivery:
    """A :class:`actsearch.execution.parcel.Parcel`: what is loaded of it is the message that it was made of.

    Attributes:
        pickled: its first part: the bytes, or the file that they are in.
        files: in which the others are.
    """

    pickled: bytes | str
    files: Sequence[str]

    def __reduce__(self) -> Any:
        return _unpack, (self.pickled, *self.files)


def _unpack(pickled: bytes | str, *files: str) -> Any:
    data = _map(pickled) if isinstance(pickled, str) else pickled
    return pickle.loads(data, buffers=[_map(file) for file in files])


def _map(path: str) -> mmap.mmap:
    """Bytes that processes of one machine share: a page that is written to becomes this process's own."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)
