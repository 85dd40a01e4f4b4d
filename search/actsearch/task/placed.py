"""A task's tensors on the device that trains: copied there once, and not for every training."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from actsearch.devices import is_cpu
from actsearch.task.task import Task

__all__ = ["forget_placed", "on_device"]

_Key = tuple[str, torch.device]
_Placed = tuple[
    list[tuple[int, int]], tuple[Tensor, ...]
]  # versions of the user's tensors, copies

_MOST_TASKS = (
    4  # whose copies are kept: the splits of a verdict are tasks, and share a GPU's memory
)

_placed: WeakKeyDictionary[Task, dict[_Key, _Placed]] = WeakKeyDictionary()


def on_device(task: Task, name: str, device: torch.device) -> Any:
    """One of a task's data sets, its tensors on a device; what is read item by item stays as it is.

    Args:
        task: whose; the copies live as long as it, and of the latest few tasks alone.
        name: "train", "valid" or "test".
        device: where to.
    """
    source = getattr(task, name)
    if not isinstance(source, tuple) or is_cpu(device):
        return source
    versions = [(id(tensor), _version(tensor)) for tensor in source]
    while task not in _placed and len(_placed) >= _MOST_TASKS:
        _placed.pop(next(iter(_placed)), None)
    known = _placed.setdefault(task, {})
    if (name, device) not in known or known[name, device][0] != versions:
        known[name, device] = versions, tuple(tensor.to(device) for tensor in source)
    return known[name, device][1]


def _version(tensor: Tensor) -> int:
    """By which torch counts how often its numbers were written over; it counts none of tensors made for inference."""
    return -1 if tensor.is_inference() else tensor._version


def forget_placed(task: Task) -> None:
    """Its data were written over in a way that torch does not see."""
    _placed.pop(task, None)
