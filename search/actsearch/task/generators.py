"""The random generators that a data set, its transforms and its sampler hold, whatever library they come from."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["Stream", "global_generators", "held_generators"]

_WALKED = 1000  # longer lists are of samples, not of transforms
_DEPTH = 10


class Stream(NamedTuple):
    """One random generator, as something whose state can be read and set."""

    get_state: Callable[[], Any]
    set_state: Callable[[Any], Any]
    seeded: Callable[[int], Any]  # the state of a new one under a seed


def global_generators() -> list[Stream]:
    """The generators of ``random``, ``numpy.random`` and torch that every library draws from."""
    return [
        Stream(random.getstate, random.setstate, lambda seed: random.Random(seed).getstate()),
        Stream(np.random.get_state, np.random.set_state, _numpy_state),  # noqa: NPY002
        _torch_stream(torch.default_generator),
    ]


def held_generators(loader: Any) -> list[Stream]:
    """The generators that a loader, its sampler, its data set and what these are made of hold; each once."""
    return [_stream(item) for item in _walk(loader, {}, 0)]


def _walk(item: Any, known: dict[int, Any], depth: int) -> Iterator[Any]:
    if depth > _DEPTH or id(item) in known:
        return
    known[id(item)] = item
    if _is_seedable(item):
        yield item
        return
    for part in _parts(item):
        yield from _walk(part, known, depth + 1)


def _is_seedable(item: Any) -> bool:
    if isinstance(item, random.SystemRandom):
        return False
    return isinstance(
        item, (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
    )


def _parts(item: Any) -> list[Any]:
    """What an object holds, as far as a generator may be among it."""
    if isinstance(item, Mapping):
        return list(item.values()) if len(item) <= _WALKED else []
    if isinstance(item, (list, tuple)):
        return list(item) if len(item) <= _WALKED else []
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, types.MethodType):
        return [item.__self__]
    if isinstance(item, types.FunctionType):
        return [*_cells(item), *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
    if isinstance(item, (type, types.ModuleType, torch.Tensor, np.ndarray)):
        return []
    held = getattr(item, "__dict__", None)
    return list(held.values()) if isinstance(held, dict) else []


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # empty so far
            continue


def _stream(item: Any) -> Stream:
    if isinstance(item, torch.Generator):
        return _torch_stream(item)
    if isinstance(item, random.Random):
        return Stream(item.getstate, item.setstate, lambda seed: random.Random(seed).getstate())
    if isinstance(item, np.random.RandomState):
        return Stream(item.get_state, item.set_state, _numpy_state)
    bits = item.bit_generator
    return Stream(
        lambda: bits.state,
        lambda state: setattr(bits, "state", state),
        lambda seed: type(bits)(seed).state,
    )


def _torch_stream(item: torch.Generator) -> Stream:
    return Stream(
        item.get_state,
        item.set_state,
        lambda seed: torch.Generator(item.device).manual_seed(seed).get_state(),
    )


def _numpy_state(seed: int) -> Any:
    return np.random.RandomState(seed % 2**32).get_state()  # noqa: NPY002
