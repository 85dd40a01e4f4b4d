"""Copies of data sets to read a few items of, so that the user's own stay as they were."""

from __future__ import annotations

import copy
import random
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

__all__ = ["copy_alike", "fresh_loader", "reading_copy"]

_LINE = 64  # bytes, of a cache line
_WALKED = 1000  # longer lists and dicts are copied, and their items shared
_RANDOM = (random.Random, np.random.Generator, np.random.RandomState)


def reading_copy(source: Any) -> Any:
    """A copy of a data set that shares its numbers, and none of what reading an item sets.

    A data set may open its file when the first item is read. Were that done on the user's own object before a loader
    starts its workers, these would share one open file and its position, and read wrong rows without an error; nor
    could the object be sent to a child process. So objects written in Python are copied with what they hold, tensors,
    arrays and whatever does not take a copy (open files, locks) are shared, and random generators are copied.

    Args:
        source: a data set, or a loader; a loader with workers is returned as it is, since it reads in these.
    """
    try:
        return _copy(source, {})
    except Exception:  # the user's objects: anything
        return source


def fresh_loader(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A user's loader as it is before its first epoch, over the same data set.

    A sampler may count its epochs, and workers that persist go on drawing where they were: each training starts with
    samplers as the user gave them, and with workers of its own.
    """
    known: dict[int, Any] = {id(loader.dataset): loader.dataset}
    twin = copy.copy(loader)
    try:
        for name in ("generator", "sampler", "batch_sampler"):
            vars(twin)[name] = _copy(getattr(loader, name), known)
    except Exception:  # the user's objects: anything
        return loader
    vars(twin)["_iterator"] = None
    return twin


def copy_alike(tensor: Tensor) -> Tensor:
    """A copy with the same strides that begins in memory where its original does within a line.

    Kernels go by both, and the last bits of what they sum with them.
    """
    is_plain = type(tensor) is Tensor and tensor.layout is torch.strided
    if not is_plain or tensor.is_quantized or tensor.device.type != "cpu":
        return tensor.clone()
    pairs = list(zip(tensor.shape, tensor.stride(), strict=True))
    if not tensor.numel() or any(step == 0 and size > 1 for size, step in pairs):
        return tensor  # a number that stands in several places cannot be written over
    span = 1 + sum((size - 1) * step for size, step in pairs)
    line = -(-_LINE // tensor.element_size())
    memory = torch.empty(span + line, dtype=tensor.dtype)
    start = (tensor.data_ptr() - memory.data_ptr()) % _LINE // tensor.element_size()
    return memory.as_strided(tensor.shape, tensor.stride(), start).copy_(tensor)


def _copy(item: Any, known: dict[int, Any]) -> Any:
    """A copy of one object; `known` holds what was copied before, by id, since objects may hold each other."""
    if id(item) in known:
        return known[id(item)]
    if isinstance(item, _RANDOM):
        known[id(item)] = copy.deepcopy(item)
    elif isinstance(item, torch.Generator):
        known[id(item)] = item.clone_state()
    elif type(item) in (list, dict, set):
        known[id(item)] = item.copy()
        _fill(known[id(item)], known)
    elif type(item) is tuple and 0 < len(item) <= _WALKED:
        return tuple(_copy(part, known) for part in item)
    elif isinstance(item, types.MethodType):
        return types.MethodType(item.__func__, _copy(item.__self__, known))
    elif isinstance(item, DataLoader):
        return item if item.num_workers else _copy_loader(item, known)
    elif _is_plain(item):
        _copy_object(item, known)
    return known.get(id(item), item)


def _fill(container: Any, known: dict[int, Any]) -> None:
    """Put copies in place of what a copied list or dict holds."""
    if isinstance(container, set) or len(container) > _WALKED:
        return
    places = container if isinstance(container, dict) else range(len(container))
    for place in list(places):
        container[place] = _copy(container[place], known)


def _is_plain(item: Any) -> bool:
    """Whether an object is written in Python and is copied by copying its attributes."""
    own: Any = type(item)
    plain: Any = object
    return (
        isinstance(getattr(item, "__dict__", None), dict)
        and not isinstance(item, (type, Tensor, np.ndarray, nn.Module))
        and own.__reduce_ex__ is plain.__reduce_ex__
        and own.__reduce__ is plain.__reduce__
    )


def _class_without_del(own: type) -> type:
    """A class whose objects close nothing when they end: what a copy shares is still in use."""
    return type(own.__name__, (own,), {"__del__": lambda self: None, "__module__": own.__module__})


def _copy_object(item: Any, known: dict[int, Any]) -> None:
    try:
        twin = copy.copy(item)
    except Exception:  # the user's object: anything; then it is shared
        return
    if twin is item or not isinstance(getattr(twin, "__dict__", None), dict):
        return
    if hasattr(type(item), "__del__"):
        twin.__class__ = _class_without_del(type(item))
    known[id(item)] = twin
    for name, value in list(vars(twin).items()):
        vars(twin)[name] = _copy(value, known)


def _copy_loader(loader: DataLoader[Any], known: dict[int, Any]) -> DataLoader[Any]:
    twin = known[id(loader)] = copy.copy(loader)
    vars(twin)["dataset"] = _copy(loader.dataset, known)  # a loader refuses to be given another
    return twin
