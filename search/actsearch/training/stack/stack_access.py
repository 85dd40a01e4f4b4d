"""The way from inside of ``vmap``, where one member is seen, to the stacked tensors outside.

Shapes are those of the stack, ``(members, ...)``, wherever a tensor is called stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

try:  # what torch.vmap itself is made of (torch 2.13); it saves most of the time that the public way takes
    from torch._C._functorch import (
        _add_batch_dim,
        _remove_batch_dim,
        is_batchedtensor,
        maybe_get_level,
    )
    from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

    HAS_SHORTCUT = True
except ImportError:  # pragma: no cover - another release of torch
    HAS_SHORTCUT = False

__all__ = [
    "CACHE_LINE",
    "HAS_SHORTCUT",
    "StackAccess",
    "fills_vectors",
    "is_stacked",
    "member_rows",
]

CACHE_LINE = 64
"""Bytes. torch's memory begins at multiples, and which of MKL's kernels runs depends on where operands begin in one."""

_VECTORS = 64  # numbers; torch computes so many at a time, and those that are left at the end in another way


class StackAccess:
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
        """Apply a function to the stacked tensor; autograd follows it.

        What all members share, as data before any weight, is expanded.
        """
        if self.member is None:
            raise RuntimeError("a stacked module was run outside of its stack")
        if not self.short:
            return _AppliedToStack.apply(x, self.member, function)  # type: ignore[no-any-return, no-untyped-call]
        level = maybe_get_level(self.member)
        stacked = _remove_batch_dim(x, level, self.count, 0)
        # outside of vmap's level, and past MemberwiseMode, which would take it apart again
        with temporarily_pop_interpreter_stack(), torch._C.DisableTorchFunction():
            result = function(stacked)
        return _add_batch_dim(result, 0, level)

    def member_by_member(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        cut: Callable[[Tensor], Sequence[Tensor]],
    ) -> Any:
        """Call a function for each member with its own slices: the very operations of single training.

        Args:
            function: returns a tensor, or a tuple of tensors and other objects.
            args: its arguments; those that are stacked stand for themselves, not inside of a list.
            kwargs: likewise.
            cut: takes a stacked tensor apart.
        """
        assert self.member is not None
        level = maybe_get_level(self.member)
        stacked: dict[int, Tensor] = {}
        for item in (*args, *kwargs.values()):
            if is_stacked(item):
                stacked[id(item)] = _remove_batch_dim(item, level, self.count, 0)
        with temporarily_pop_interpreter_stack(), torch._C.DisableTorchFunction():
            rows = {key: cut(item) for key, item in stacked.items()}
            results = [
                function(
                    *(rows[id(item)][index] if id(item) in rows else item for item in args),
                    **{
                        key: rows[id(item)][index] if id(item) in rows else item
                        for key, item in kwargs.items()
                    },
                )
                for index in range(self.count)
            ]
            joined = _join(results)
        if isinstance(joined, tuple):
            return tuple(
                _add_batch_dim(i, 0, level) if isinstance(i, Tensor) else i for i in joined
            )
        return _add_batch_dim(joined, 0, level)

    def at_once(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """Call a function of each number alone for all members; None where it could round otherwise than for each."""
        assert self.member is not None
        level = maybe_get_level(self.member)
        stacked = _remove_batch_dim(x, level, self.count, 0)
        if not fills_vectors(stacked):
            return None
        with temporarily_pop_interpreter_stack(), torch._C.DisableTorchFunction():
            result = function(stacked)
        return _add_batch_dim(result, 0, level)


def is_stacked(item: Any) -> bool:
    """Whether ``vmap`` shows one member of this tensor."""
    return isinstance(item, Tensor) and is_batchedtensor(item)


def fills_vectors(stacked: Tensor) -> bool:
    """Whether no member's numbers, side by side with the others', come into the end that is computed in another way."""
    if stacked.device.type != "cpu":
        return True
    return stacked[0].numel() % _VECTORS == 0 and stacked.is_contiguous()


def member_rows(stacked: Tensor) -> Sequence[Tensor]:
    """Each member's slice, where it begins in memory as it does in single training: at a cache line."""
    rows = stacked.unbind(0)
    row_bytes = stacked.stride(0) * stacked.element_size()
    if row_bytes % CACHE_LINE == 0 or stacked.device.type != "cpu":
        return rows
    return [row.clone() for row in rows]


def _join(results: Sequence[Any]) -> Any:
    """Members' results as one: tensors stacked, whose gradients will begin in memory as in single training."""
    if isinstance(results[0], tuple):
        return tuple(
            _stack(column) if isinstance(column[0], Tensor) else column[0]
            for column in zip(*results, strict=True)
        )
    return _stack(results)


def _stack(rows: Sequence[Tensor]) -> Tensor:
    is_aligned = rows[0].numel() * rows[0].element_size() % CACHE_LINE == 0
    if is_aligned or not rows[0].requires_grad:
        return torch.stack(list(rows))
    return torch.stack([_OwnGradient.apply(row) for row in rows])  # type: ignore[no-untyped-call]


class _OwnGradient(torch.autograd.Function):
    """Changes nothing; the gradient, a slice of the stack's, is copied to where memory begins."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].clone()


class _AppliedToStack(torch.autograd.Function):
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
