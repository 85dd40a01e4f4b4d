"""Batches put together for all members, and results taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from actsearch.task.nested import children, rebuild
from actsearch.training.stack.stacked_site import Unstackable

__all__ = ["stack_batches", "unstack"]


def unstack(value: Any, count: int) -> list[Any]:
    """Each member's own of what was returned for all: of a tensor ``(members, ...)`` its row, in any nesting."""
    if isinstance(value, Tensor):
        return list(value.unbind(0))
    parts = children(value)
    if parts is None:
        return [value] * count
    columns = [unstack(part, count) for _, part in parts]
    return [rebuild(value, [column[index] for column in columns]) for index in range(count)]


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
    parts = None if isinstance(first, PackedSequence) else children(first)
    if parts is None:
        raise Unstackable(f"its batches hold {type(first).__name__}, which cannot be stacked")
    columns = zip(*([part for _, part in children(item) or ()] for item in batches), strict=True)
    return rebuild(first, [stack_batches(list(column), seed_of) for column in columns])
