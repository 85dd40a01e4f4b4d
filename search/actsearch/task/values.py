"""The values that a task's functions compute with: closures, defaults, bound arguments, the state of modules.

Two losses of one name with other class weights are two tasks. Values are hashed, source text never is: a function that
was moved or written anew is the same. What has no value of its own (open files, generators, memory addresses) is left
out, so that the hashes are equal in every process.
"""

from __future__ import annotations

import argparse
import dis
import enum
import functools
import hashlib
import json
import numbers
import os
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from actsearch.task.data import tensor_digest

__all__ = ["ADDRESS", "describe_tensor", "hash_json", "model_values", "values_in"]

Leaves = dict[str, str]

ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+|0x[0-9A-Fa-f]{6,}")
"""A memory address in a repr."""

_DEPTH = 8  # of functions in partials in closures ...; what is nested deeper is left out
_ITEMS = 1000  # of a longer list evenly spread items are hashed
_SHOWN = (
    20  # values of one object that are kept apart, so that a message can name the one that differs
)
_LIBRARIES = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platlib", "purelib")
)
_GLOBAL = " (global)"
_UNNAMED = (_GLOBAL, ".forward", ".__call__")  # what these are called is source text
_MODULE_NAMES = frozenset(vars(nn.Module()))
_FUNCTIONS = (types.FunctionType, functools.partial, nn.Module)
_NAMESPACES = (types.SimpleNamespace, argparse.Namespace)


def hash_json(data: Any) -> str:
    """A short hash of JSON data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


def values_in(name: str, what: Any, *, is_factory: bool = False) -> Leaves:
    """The values that a function, or a loader of data, computes with.

    Args:
        name: first part of the names in the result.
        what: a function, a partial, a bound method, a module, an object with ``__call__``, or a DataLoader.
        is_factory: what it builds is described itself, so lists and objects that it keeps are not looked into.

    Returns:
        By name, as ``"loss.weight"``, numbers as text and hashes of what is longer; empty where there are none.
    """
    walk = _Walk(is_factory=is_factory)
    try:
        walk.add(name, what, 0)
    except Exception:  # the user's objects: anything; what was found so far stands for it
        pass
    return walk.leaves


def model_values(model: nn.Module) -> Leaves:
    """Numbers that the user's own modules keep as attributes, or read as globals, and that no repr shows."""
    walk = _Walk()
    for path, module in model.named_modules():
        name = f"model.{path}" if path else "model"
        own = type(module)
        if _is_library_class(own):
            continue
        for key, value in sorted(vars(module).items()):
            if key not in _MODULE_NAMES and _is_number(value):
                walk.leaves[f"{name}.{key}"] = _number(value)
        if own not in walk.classes:
            walk.classes.add(own)
            walk.add_class(f"model.{own.__qualname__}", own)
    return walk.leaves


class _Walk:
    """Walks through what a function holds; each object is walked through once."""

    def __init__(self, *, is_factory: bool = False) -> None:
        self._is_factory = is_factory
        self.leaves: Leaves = {}
        self.classes: set[type] = set()
        self._known: dict[int, Any] = {}  # held, so that no id is given to another object

    def add(self, name: str, what: Any, depth: int) -> None:
        """Add the values of one object under a name."""
        if (text := _plain(what)) is not None:
            self.leaves[name] = text
            return
        is_container = isinstance(what, (list, tuple, set, frozenset, Mapping))
        if depth and not is_container and not name.endswith(_UNNAMED):
            self.leaves[name] = _kind(what)
        if depth > _DEPTH or id(what) in self._known:
            return
        self._known[id(what)] = what
        if self._is_factory and not isinstance(what, _FUNCTIONS):
            self.leaves.pop(name, None)
            return
        if is_container:
            self.leaves[name] = self._container(what, depth)
            return
        for key, value in self._parts(what):
            self.add(f"{name}.{key}", value, depth + 1)

    def _container(self, what: Any, depth: int) -> str:
        """One hash for a list or a mapping as it is: which of its items differs, nobody needs to know."""
        if isinstance(what, Mapping):
            items = [(str(key), what[key]) for key in what]
        else:
            step = -(-len(what) // _ITEMS) or 1
            items = [(str(i), item) for i, item in enumerate(what) if i % step == 0]
        hashes = [[key, self._hash(item, depth + 1)] for key, item in items]
        if isinstance(what, (set, frozenset)):
            hashes = sorted([["", own] for _, own in hashes])
        elif isinstance(what, Mapping):
            hashes.sort()
        return f"{len(what)} items {hash_json(hashes)}"

    def _hash(self, item: Any, depth: int) -> str:
        inner = _Walk()
        inner._known = self._known
        inner.add("", item, depth)
        return hash_json(inner.leaves)

    def _parts(self, what: Any) -> Iterator[tuple[str, Any]]:
        """Names and values that an object is made of."""
        if isinstance(what, functools.partial):
            yield "function", what.func
            yield from ((str(index), item) for index, item in enumerate(what.args))
            yield from sorted(what.keywords.items())
        elif isinstance(what, types.MethodType):
            yield "self", what.__self__
            yield "function", what.__func__
        elif isinstance(what, types.FunctionType):
            yield from _function_parts(what)
        elif isinstance(what, nn.Module):
            yield from self._module_parts(what)
        elif isinstance(what, DataLoader):
            yield from _loader_parts(what)
        elif isinstance(what, type) or isinstance(what, types.ModuleType):
            return
        elif isinstance(what, _NAMESPACES) or not _is_library_class(type(what)):
            yield from _attributes(what)
            if isinstance(call := vars(type(what)).get("__call__"), types.FunctionType):
                yield "__call__", call

    def _module_parts(self, module: nn.Module) -> Iterator[tuple[str, Any]]:
        """The state of a module that is no part of the searched model, such as a loss; settings that its repr leaves
        out included."""
        tensors = dict(module.named_parameters()) | dict(module.named_buffers())
        settings = {
            f"{path}.{key}".lstrip("."): value
            for path, item in module.named_modules()
            for key, value in vars(item).items()
            if key not in _MODULE_NAMES and not key.startswith("_")
        }
        for parts, title in ((tensors, "tensors"), (settings, "settings")):
            if len(parts) <= _SHOWN:
                yield from sorted(parts.items())
            else:
                yield title, parts
        own = type(module)
        if not _is_library_class(own) and isinstance(own.forward, types.FunctionType):
            yield "forward", own.forward

    def add_class(self, name: str, own: type) -> None:
        """Numbers that stand in the user's own classes of a model, and those that their forward reads."""
        for base in own.__mro__:
            if _is_library_class(base):
                continue
            for key, value in sorted(vars(base).items()):
                if not key.startswith("__") and _is_number(value):
                    self.leaves.setdefault(f"{name}.{key}", _number(value))
            if isinstance(forward := vars(base).get("forward"), types.FunctionType):
                self.add(f"{name}.forward", forward, 1)


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a user's function closes over, its defaults, and the globals that it reads; nothing of a library's."""
    if _is_library_file(function.__code__.co_filename):
        return
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # empty so far
            continue
    defaults = function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
    yield from sorted((function.__kwdefaults__ or {}).items())
    for name in sorted(_global_names(code)):
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            yield from _numbers_of(value, _names(code))
        elif _is_read_for_its_value(value):
            yield f"{name}{_GLOBAL}", value


def _is_read_for_its_value(value: Any) -> bool:
    """Whether a global is a number, an array, or a thing of the user's own that holds some; texts are mostly names."""
    if value is None or isinstance(value, (str, bytes, type, DataLoader, Dataset)):
        return False
    if isinstance(value, types.FunctionType):
        return not _is_library_file(value.__code__.co_filename)
    is_data = _is_number(value) or isinstance(
        value, (Tensor, np.ndarray, list, tuple, set, Mapping)
    )
    held = (nn.Module, functools.partial, *_NAMESPACES)
    return is_data or isinstance(value, held) or not _is_library_class(type(value))


def _kind(what: Any) -> str:
    """The name of a function or a class, or the class of an object."""
    if isinstance(what, functools.partial):
        return "partial"
    named: Any = what if hasattr(what, "__qualname__") else type(what)
    return str(named.__qualname__)


def _global_names(code: types.CodeType) -> set[str]:
    """Names that a function reads from its module, the functions written inside of it included."""
    names = {
        item.argval
        for item in dis.get_instructions(code)
        if item.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return names.union(*(_global_names(inner) for inner in _inner(code)))


def _names(code: types.CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(inner) for inner in _inner(code)))


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [item for item in code.co_consts if isinstance(item, types.CodeType)]


def _numbers_of(module: types.ModuleType, names: set[str]) -> Iterator[tuple[str, Any]]:
    """Numbers and tensors of a user's own module, as of a file of settings."""
    if _is_library_module(module.__name__):
        return
    for name in sorted(names & set(vars(module))):
        value = vars(module)[name]
        if _is_number(value) or isinstance(value, (Tensor, np.ndarray)):
            yield f"{module.__name__}.{name}", value


def _loader_parts(loader: DataLoader[Any]) -> Iterator[tuple[str, Any]]:
    """How a loader draws its batches; what it draws is told by the hash of the data."""
    sampler, batches = loader.sampler, loader.batch_sampler
    yield "sampler", type(sampler).__name__
    yield from ((f"sampler.{key}", value) for key, value in _settings_of(sampler))
    if type(batches) is not torch.utils.data.BatchSampler and batches is not None:
        yield "batch_sampler", type(batches).__name__
        yield from ((f"batch_sampler.{key}", value) for key, value in _settings_of(batches))
    yield "drop_last", bool(loader.drop_last)
    yield "collate", loader.collate_fn


def _settings_of(sampler: Any) -> Iterator[tuple[str, Any]]:
    """Numbers and tensors of a sampler; not its data, nor a position that it goes on from."""
    for key, value in sorted(getattr(sampler, "__dict__", {}).items()):
        if isinstance(value, (bool, int, float, Tensor, np.ndarray, list, tuple)):
            yield key, value


def _attributes(what: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of a user's own object."""
    held = getattr(what, "__dict__", None)
    slots = [
        name
        for base in type(what).__mro__
        for name in getattr(base, "__slots__", ())
        if name != "__dict__"
    ]
    named = dict(held) if isinstance(held, dict) else {}
    named |= {
        name: getattr(what, name)
        for name in slots
        if isinstance(name, str) and hasattr(what, name)
    }
    yield from sorted((key, value) for key, value in named.items() if isinstance(key, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, numbers.Number, np.generic))


def _number(value: Any) -> str:
    """A number as text; the same for a number of Python and one of numpy."""
    return str(value.item() if isinstance(value, np.generic) else value)


def _plain(value: Any) -> str | None:
    """A value as text, hashed where it is long or may be private; "" for what has none, None for what holds others."""
    if _is_number(value):
        return _number(value)
    if value is None or isinstance(value, (torch.dtype, torch.device, range, slice)):
        return str(value)
    if isinstance(value, str):  # an absolute path says where something lies, not what it is
        return "a path" if os.path.isabs(value) else f"text {hash_json(value)}"
    if isinstance(value, (bytes, bytearray)):
        return f"bytes {hashlib.sha256(value).hexdigest()[:16]}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return (
            f"array {value.shape} {value.dtype} {hashlib.sha256(value.tobytes()).hexdigest()[:16]}"
        )
    if isinstance(value, Tensor):
        return describe_tensor(value)
    return None


def describe_tensor(value: Tensor) -> str:
    """Shape and a hash of its numbers, where it has any."""
    if is_lazy(value) or value.is_meta:
        return "a tensor without numbers"
    try:
        return f"tensor {tuple(value.shape)} {tensor_digest(value).hex()[:16]}"
    except (RuntimeError, TypeError, NotImplementedError):  # sparse or quantized
        return f"tensor {tuple(value.shape)}"


def _is_library_file(path: str) -> bool:
    full = os.path.realpath(path)
    is_installed = any(part in ("site-packages", "dist-packages") for part in full.split(os.sep))
    return path.startswith("<frozen") or is_installed or full.startswith(_LIBRARIES)


def _is_library_class(own: type) -> bool:
    return _is_library_module(own.__module__)


@functools.cache
def _is_library_module(name: str) -> bool:
    """Whether a module came with Python or was installed, and is none of the user's own."""
    top = name.partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top in ("torch", "numpy", "actsearch"):
        return True
    path = getattr(sys.modules.get(name), "__file__", None)
    return path is not None and _is_library_file(path)
