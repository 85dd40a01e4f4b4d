"""Whether a loss or a metric compares each output with every target."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from actsearch.task.metrics.convention import without_ones
from actsearch.training.convention.loss_watch import LossWatch

__all__ = ["differ_by_ones", "is_broadcast"]

_TRIES = 3  # permutations; real pairs give another loss at the first one
_TOLERANCE = 1e-4  # relative; more than another order of summation costs

Function = Callable[[Any, Any], Any]


def is_broadcast(function: Function, output: Any, target: Any) -> bool:
    """Whether a loss or metric compares each output with every target, and not with its own.

    It is proven twice. Either two operands were made larger to fit each other, and the result stays the same when the
    targets change places, while it is another with other targets. Or output and target differ by axes of length 1, the
    result is another where both have one shape, and the order of the targets along the axis that the output lacks is of
    no matter: this holds for what NumPy, lists, or one call computes, too.

    Args:
        function: of outputs and targets; its result is a number.
        output: of a batch, in any nesting.
        target: likewise.
    """
    watch = LossWatch()
    with watch:
        before = float(function(output, target))
    if not math.isfinite(before):
        return False
    if watch.outer is not None and _is_of_all_rows(function, output, target, before):
        return True
    return differ_by_ones(output, target) and _is_of_shapes(function, output, target, before)


def differ_by_ones(output: Any, target: Any) -> bool:
    """Whether two tensors have as many numbers, in shapes that differ by axes of length 1."""
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return False
    return output.shape != target.shape and without_ones(output.shape) == without_ones(
        target.shape
    )


def _is_of_all_rows(function: Function, output: Any, target: Any, before: float) -> bool:
    rows = _rows(target)
    if rows < 2:
        return False

    def changes(order: Tensor) -> bool:
        moved = _pytree.tree_map(lambda item: _permute(item, order), target)
        return not _is_close(float(function(output, moved)), before)

    if any(changes(order) for order in _orders(rows)):
        return False
    return changes(torch.zeros(rows).long()) or changes(torch.full((rows,), rows - 1))


def _is_of_shapes(function: Function, output: Tensor, target: Tensor, before: float) -> bool:
    """Of tensors whose shapes differ by axes of length 1."""
    axis = _expanded_axis(output, target)
    if axis is None:
        return False
    fitting = _fitted(function, output, target)
    if fitting is None or _is_close(fitting, before):
        return False
    orders = _orders(target.shape[axis])
    moved = [target.index_select(axis, order.to(target.device)) for order in orders]
    return all(_is_close(float(function(output, item)), before) for item in moved)


def _expanded_axis(output: Tensor, target: Tensor) -> int | None:
    """An axis of the target, counted from the last, along which an output would be repeated; None if none would be."""
    try:
        shape = torch.broadcast_shapes(output.shape, target.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None
    if math.prod(shape) <= max(output.numel(), target.numel()):
        return None
    axes = range(-target.dim(), 0)
    return next(
        axis
        for axis in axes
        if target.shape[axis] > 1 and (-axis > output.dim() or output.shape[axis] == 1)
    )


def _fitted(function: Function, output: Tensor, target: Tensor) -> float | None:
    """The result where both have one shape, the target's or the output's; None where it takes neither."""
    pairs = ((output.reshape(target.shape), target), (output, target.reshape(output.shape)))
    for own, wanted in pairs:
        try:
            return float(function(own, wanted))
        except Exception:  # a function that takes its axes for granted
            continue
    return None


def _orders(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(count, generator=generator) for _ in range(_TRIES)]


def _is_close(value: float, before: float) -> bool:
    return abs(value - before) <= _TOLERANCE * max(abs(before), 1e-12)


def _rows(target: Any) -> int:
    sizes = [
        len(item)
        for item in _pytree.tree_leaves(target)
        if isinstance(item, Tensor) and item.dim()
    ]
    return sizes[0] if sizes and len(set(sizes)) == 1 else 0


def _permute(item: Any, order: Tensor) -> Any:
    return item[order.to(item.device)] if isinstance(item, Tensor) and item.dim() else item
