"""Batches put together for all members, and results taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from actsearch.training.stack.per_slice import Unstackable

__all__ = ["gathered", "rows_of"]


def rows_of(value: Any, count: int) -> list[Any]:
    """Each member's own of what was returned for all."""
    if isinstance(value, Tensor):
        return list(value.unbind(0))
    if isinstance(value, Mapping):
        parts = {key: rows_of(item, count) for key, item in value.items()}
        return [type(value)(**{k: p[i] for k, p in parts.items()}) for i in range(count)]
    if isinstance(value, (tuple, list)):
        columns = [rows_of(item, count) for item in value]
        return [type(value)(column[index] for column in columns) for index in range(count)]
    return [value] * count


def gathered(batches: Sequence[Any], seed_of: Tensor) -> Any:
    """Each member's batch, stacked, from one batch a seed."""
    first = batches[0]
    if isinstance(first, Tensor):
        if any(item.shape != first.shape for item in batches):
            raise Unstackable("its batches have other shapes under other seeds")
        return torch.stack(list(batches))[seed_of]
    if isinstance(first, Mapping):
        return {key: gathered([item[key] for item in batches], seed_of) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(gathered(list(column), seed_of) for column in zip(*batches, strict=True))
    raise Unstackable(f"its batches hold {type(first).__name__}, which cannot be stacked")
