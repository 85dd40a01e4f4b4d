"""Walking through what a user's batches and outputs are made of; every part keeps its type."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "children",
    "concatenate",
    "describe",
    "describe_parts",
    "is_named_tuple",
    "map_leaves",
    "rebuild",
]

_MAX_LISTED = 8  # parts of an output in a message


def is_named_tuple(value: Any) -> bool:
    """Whether a value is a named tuple, as a PackedSequence is, too."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def is_data_class(value: Any) -> bool:
    """Whether a value is an instance of a data class."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def children(value: Any) -> list[tuple[Any, Any]] | None:
    """Key or position of each part, with the part; None for what is not made of parts."""
    if isinstance(value, Mapping):  # transformers' outputs are data classes as well
        return list(value.items())
    if is_named_tuple(value):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if is_data_class(value):
        return [(item.name, getattr(value, item.name)) for item in dataclasses.fields(value)]
    return None


def rebuild(value: Any, parts: list[Any]) -> Any:
    """A value of the same type with other parts, in the order of :func:`children`."""
    if isinstance(value, Mapping):
        return _rebuild_mapping(value, parts)
    if is_named_tuple(value):
        return type(value)(*parts)
    if type(value) in (tuple, list):
        return type(value)(parts)
    if isinstance(value, list):
        twin = copy.copy(value)
        twin[:] = parts
        return twin
    if isinstance(value, tuple):
        return type(value)(parts)
    twin = copy.copy(value)  # a data class may be frozen, or check its arguments
    for field, part in zip(dataclasses.fields(value), parts, strict=True):
        object.__setattr__(twin, field.name, part)
    return twin


def _rebuild_mapping(value: Mapping[Any, Any], parts: list[Any]) -> Any:
    items = dict(zip(value, parts, strict=True))
    if type(value) is dict:
        return items
    before = dict(value)
    try:  # methods, attributes and defaults of the user's class are kept
        twin: Any = copy.copy(value)
        for key, part in items.items():
            twin[key] = part
    except Exception:  # a mapping that takes no other values
        return items
    if all(value[key] is part for key, part in before.items()):
        return twin
    for key, part in before.items():  # its copy shares what it keeps them in
        twin[key] = part
    return items


def map_leaves(value: Any, function: Callable[[Any], Any]) -> Any:
    """A value with each part that has none itself replaced by what a function makes of it; types are kept.

    Args:
        value: tensors in tuples, lists, named tuples, mappings and data classes, nested in any way.
        function: given a tensor, or an object of another kind.

    Example:
        >>> map_leaves({"x": torch.ones(2), "name": "a"}, lambda x: x * 2 if isinstance(x, Tensor) else x)
        {'x': tensor([2., 2.]), 'name': 'a'}
    """
    parts = None if isinstance(value, Tensor) else children(value)
    if parts is None:
        return function(value)
    return rebuild(value, [map_leaves(part, function) for _, part in parts])


def concatenate(values: list[Any]) -> Any:
    """Batches of outputs as one: tensors are joined on their first axis, in values of the same type.

    Numbers without an axis, as a loss that a model returns, become one for each batch.

    Raises:
        RuntimeError: tensors that differ beyond their first axis.
    """
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values) if first.dim() else torch.stack(values)
    parts = children(first)
    if parts is None:
        return first
    columns = [[part for _, part in children(value) or []] for value in values]
    return rebuild(first, [concatenate(list(column)) for column in zip(*columns, strict=True)])


def describe_parts(value: Any) -> str:
    """Keys or positions of a value's parts with their shapes, for messages.

    Example:
        >>> describe_parts((torch.ones(4, 2), {"a": torch.ones(3)}))
        "[0] (4, 2) float32, [1]['a'] (3,) float32"
    """
    listed = [f"{path} {what}".strip() for path, what in _parts("", value)]
    more = ", ..." if len(listed) > _MAX_LISTED else ""
    return ", ".join(listed[:_MAX_LISTED]) + more


def _parts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    parts = None if isinstance(value, Tensor) else children(value)
    if parts is None:
        yield path, describe(value)
        return
    is_object = not isinstance(value, Mapping) and (is_named_tuple(value) or is_data_class(value))
    for key, part in parts:
        yield from _parts(f"{path}.{key}" if is_object else f"{path}[{key!r}]", part)


def describe(value: Any) -> str:
    """Shape and dtype of a tensor, or the type of something else."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
