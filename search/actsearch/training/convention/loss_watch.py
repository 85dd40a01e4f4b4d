"""What a loss does with outputs and targets, seen while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree

__all__ = ["LossWatch", "is_broadcast"]

_ELEMENTWISE_LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_OF_SHARES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
_TRIES = 3  # permutations; real pairs give another loss at the first one
_TOLERANCE = 1e-4  # relative; more than another order of summation costs


class LossWatch(TorchFunctionMode):
    """Notes the functions of torch that are called.

    Attributes:
        names: of the functions.
        ignored: ``ignore_index`` of the losses that have one.
        outer: shapes of two operands that were both made larger to fit each other; None for none.
        outside: least and largest target of a binary cross entropy that takes 0 to 1; None for none outside of that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.ignored: set[int] = set()
        self.outer: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self.outside: tuple[float, float] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", func))
        self.names.add(name)
        if name in ("cross_entropy", "nll_loss") and "ignore_index" in kwargs:
            self.ignored.add(int(kwargs["ignore_index"]))
        result = func(*args, **kwargs)
        if name in _OF_SHARES:
            self._note_outside(args[1] if len(args) > 1 else kwargs.get("target"))
        operands = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)][:2]
        if self.outer is None and len(operands) == 2:
            self._note_outer(name, operands, result)
        return result

    def _note_outside(self, target: Any) -> None:
        if isinstance(target, Tensor) and target.numel():
            low, high = float(target.min()), float(target.max())
            if low < 0 or high > 1:
                self.outside = low, high

    def _note_outer(self, name: str, operands: list[Tensor], result: Any) -> None:
        first, second = operands
        try:
            shape = torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]
        except RuntimeError:
            return
        is_larger = math.prod(shape) > max(first.numel(), second.numel())
        is_elementwise = isinstance(result, Tensor) and result.shape == shape
        if is_larger and (is_elementwise or name in _ELEMENTWISE_LOSSES):
            self.outer = tuple(first.shape), tuple(second.shape)


def is_broadcast(function: Callable[[Any, Any], Any], output: Any, target: Any) -> bool:
    """Whether a loss or metric compares each output with every target, and not with its own.

    It is proven twice: two operands were made larger to fit each other, and the result stays the same when the targets
    change places, while it is another with other targets.

    Args:
        function: of outputs and targets; its result is a number.
        output: of a batch, in any nesting.
        target: likewise.
    """
    watch = LossWatch()
    with watch:
        before = float(function(output, target))
    rows = _rows(target)
    if watch.outer is None or rows < 2 or not math.isfinite(before):
        return False
    generator = torch.Generator().manual_seed(0)
    scale = max(abs(before), 1e-12)
    for _ in range(_TRIES):
        order = torch.randperm(rows, generator=generator)
        moved = _pytree.tree_map(lambda item, order=order: _permute(item, order), target)
        if not abs(float(function(output, moved)) - before) <= _TOLERANCE * scale:
            return False
    repeated = _pytree.tree_map(lambda item: _permute(item, torch.zeros(rows).long()), target)
    last = _pytree.tree_map(lambda item: _permute(item, torch.full((rows,), rows - 1)), target)
    values = [float(function(output, item)) for item in (repeated, last)]
    return any(abs(value - before) > _TOLERANCE * scale for value in values)


def _rows(target: Any) -> int:
    sizes = [
        len(item)
        for item in _pytree.tree_leaves(target)
        if isinstance(item, Tensor) and item.dim()
    ]
    return sizes[0] if sizes and len(set(sizes)) == 1 else 0


def _permute(item: Any, order: Tensor) -> Any:
    return item[order.to(item.device)] if isinstance(item, Tensor) and item.dim() else item
