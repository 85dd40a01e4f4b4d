"""The way from inside of ``vmap``, where one member is seen, to the stacked tensors outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:  # what torch.vmap itself is made of; it saves most of the time that the public way takes
    from torch._C._functorch import _add_batch_dim, _remove_batch_dim, maybe_get_level
    from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

    HAS_SHORTCUT = True
except ImportError:  # pragma: no cover - another release of torch
    HAS_SHORTCUT = False

__all__ = ["HAS_SHORTCUT", "Lift"]


class Lift:
    """Applies functions to the stack from inside of ``vmap``.

    Attributes:
        count: of members.
        member: set while the members are mapped over: each one's index, by which ``vmap`` knows the stack.
        short: whether the shortcut is taken.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.member: Tensor | None = None
        self.short = HAS_SHORTCUT

    def __call__(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a function to the stacked tensor, shape ``(members, ...)``; autograd follows it.

        What all members share, as data before any weight, is expanded.
        """
        if self.member is None:
            raise RuntimeError("a stacked module was run outside of its stack")
        if not self.short:
            return _Lifted.apply(x, self.member, function)  # type: ignore[no-any-return, no-untyped-call]
        level = maybe_get_level(self.member)
        stacked = _remove_batch_dim(x, level, self.count, 0)
        with temporarily_pop_interpreter_stack():
            result = function(stacked)
        return _add_batch_dim(result, 0, level)


class _Lifted(torch.autograd.Function):
    """The public way. Its ``vmap`` is called on the level outside, and nothing else of it."""

    @staticmethod
    def forward(x: Tensor, member: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        raise RuntimeError("a stacked module was run inside of another transformation than vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: the function's own backward passes are used."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, member: Tensor, function: Any
    ) -> tuple[Tensor, int]:
        axis = in_dims[0]
        if axis is None:
            x = x.expand(info.batch_size, *x.shape)
        elif axis != 0:
            x = x.movedim(axis, 0)
        return function(x), 0
