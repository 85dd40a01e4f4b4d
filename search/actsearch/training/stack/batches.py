"""Batches put together for all members, and results taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from actsearch.training.stack.stacked_site import Unstackable

__all__ = ["stack_batches", "unstack"]


def unstack(value: Any, count: int) -> list[Any]:
    """Each member's own of what was returned for all: of a tensor ``(members, ...)`` its row, in any nesting."""
    if isinstance(value, Tensor):
        return list(value.unbind(0))
    if isinstance(value, Mapping):
        parts = {key: unstack(item, count) for key, item in value.items()}
        return [type(value)(**{k: p[i] for k, p in parts.items()}) for i in range(count)]
    if isinstance(value, (tuple, list)):
        columns = [unstack(item, count) for item in value]
        return [type(value)(column[index] for column in columns) for index in range(count)]
    return [value] * count


def stack_batches(batches: Sequence[Any], seed_of: Tensor) -> Any:
    """Each member's batch, from one batch ``(samples, ...)`` a seed: tensors are ``(members, samples, ...)``.

    Raises:
        Unstackable: the batches differ in shape, or hold something else than tensors.
    """
    first = batches[0]
    if isinstance(first, Tensor):
        if any(item.shape != first.shape for item in batches):
            raise Unstackable("its batches have other shapes under other seeds")
        return torch.stack(list(batches))[seed_of]
    if isinstance(first, Mapping):
        return {key: stack_batches([item[key] for item in batches], seed_of) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(stack_batches(list(column), seed_of) for column in zip(*batches, strict=True))
    raise Unstackable(f"its batches hold {type(first).__name__}, which cannot be stacked")
