"""What a model's forward is called with, decided by its signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from actsearch.task.nested import is_named_tuple

__all__ = ["as_arguments"]

_NO_NAMES: Mapping[str, Any] = MappingProxyType({})


def as_arguments(model: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments that a model's forward is called with.

    The forward's signature decides. A tuple or list are several arguments where it takes so many, unless it names its
    first one a list or tuple; a mapping is arguments by name where it has these; else each is one argument. A named
    tuple, as a PackedSequence is, is one argument wherever one is enough. Anything else is one argument.

    Example:
        >>> class Two(nn.Module):
        ...     def forward(self, x, mask=None): ...
        >>> as_arguments(Two(), (1, 2)), as_arguments(Two(), {"x": 1})
        (((1, 2), {}), ((), {'x': 1}))
    """
    if isinstance(inputs, Mapping):
        by_name = all(isinstance(key, str) for key in inputs) and _takes(model, (), inputs)
        return ((), inputs) if by_name or not _takes(model, (inputs,)) else ((inputs,), {})
    if not isinstance(inputs, (tuple, list)):
        return (inputs,), {}
    as_one = _takes(model, (inputs,))
    if is_named_tuple(inputs):
        is_split = not as_one and _takes(model, inputs)
    else:
        is_split = _takes(model, inputs) and not (as_one and _wants_sequence(model))
        is_split = is_split or not as_one
    return (tuple(inputs), {}) if is_split else ((inputs,), {})


def _signature(model: nn.Module) -> inspect.Signature | None:
    """Of its forward; None where that is not written in Python."""
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):
        return None


def _takes(
    model: nn.Module, arguments: Sequence[Any], named: Mapping[str, Any] = _NO_NAMES
) -> bool:
    """Whether a forward can be called with such arguments, as far as its signature says."""
    signature = _signature(model)
    if signature is None:
        return True
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


def _wants_sequence(model: nn.Module) -> bool:
    """Whether a forward says by its annotation that its first argument is a list or tuple."""
    signature = _signature(model)
    first = next(iter(signature.parameters.values()), None) if signature else None
    if first is None or first.kind is inspect.Parameter.VAR_POSITIONAL:
        return False
    text = first.annotation if isinstance(first.annotation, str) else repr(first.annotation)
    return re.search(r"\b(list|tuple|sequence)\b", text.lower()) is not None
