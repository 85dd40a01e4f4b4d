"""What a loss does with outputs and targets, seen while it runs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["LossWatch"]

_ELEMENTWISE_LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_OF_SHARES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")


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
