"""A formula that keeps its input alone for the backward pass, and computes what it needs of itself anew.

Autograd keeps every intermediate result of a composed formula, 5 to 10 tensors of the input's size. Here the backward
pass runs the formula again and goes back through it by :mod:`actsearch.activations.derivatives`. On a CPU both passes
work in blocks that stay in the cache, and the gradient of a learned number that all elements share is summed block by
block, without a tensor of the input's size (as FlashKAT, arXiv:2505.13813, does on a GPU).

The other way, to compute the derivative in the forward pass and keep it, cannot be differentiated again unless the
input is kept as well, which is twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from actsearch.activations.derivatives import OF_RESULT, pull_back
from actsearch.activations.primitives import is_tracing
from actsearch.activations.program import Program, Step

__all__ = ["LeanProgram", "can_be_lean"]

BLOCK = 1 << 15
"""Numbers of a block: few enough to stay in a core's cache, and so many that calls cost little beside them."""

_LINEAR = frozenset(("add", "sub", "neg", "identity", "sum"))
"""Operators through which a gradient goes as it is, or with another sign."""

try:
    from torch._C import _are_functorch_transforms_active as _is_transformed
except ImportError:  # pragma: no cover - another release of torch

    def _is_transformed() -> bool:
        return False


def can_be_lean(x: Any) -> bool:
    """Whether an autograd function of our own may take the place of torch's operations.

    Where somebody records or transforms these, he gets them: a compiler keeps the input alone by itself.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, nn.Parameter)
        and not is_tracing()
        and not _is_transformed()
        and getattr(forward_ad, "_current_level", -1)
        < 0  # inside dual_level, tangents go forward with the values
        and not torch.onnx.is_in_onnx_export()
    )


class LeanProgram:
    """A program forwards and backwards.

    Attributes:
        program: its steps.
        leaves: gives the leaves for an input, in its dtype, and the learned numbers.
        widen: the precision in which the formula is computed.
    """

    def __init__(
        self,
        program: Program,
        leaves: Callable[[Tensor, Sequence[Tensor]], list[Any]],
        widen: Callable[[Tensor], Tensor],
    ) -> None:
        self.program = program
        self._leaves = leaves
        self._widen = widen
        self._first = 1 + len(program.leaves)
        self._learned = [
            leaf[1] if isinstance(leaf, tuple) and leaf[0] == "theta" else None
            for leaf in program.leaves
        ]
        learns = [index is not None for index in self._learned]
        self._varies = self._propagate([True, *learns])  # gradients go through them
        self._is_full = self._propagate([True, *(False for _ in learns)])  # of the input's shape
        self._used = self._find_used()

    def _propagate(self, starts: list[bool]) -> list[bool]:
        """Which values depend on some of those that the program begins with."""
        depends = list(starts)
        for step in self.program.steps:
            depends.append(any(depends[index] for index in step.arguments))
        return depends

    def _find_used(self) -> frozenset[int]:
        """The steps that the way back needs the values of, or what these are computed of."""
        used: set[int] = set()
        for place, step in enumerate(self.program.steps, start=self._first):
            if not self._varies[place]:
                continue
            if step.name in OF_RESULT or step.name not in _LINEAR:
                used.add(place) if step.name in OF_RESULT else used.update(step.arguments)
            used.update(index for index in step.arguments if not self._is_full[index])
        for place in range(self._first + len(self.program.steps) - 1, self._first - 1, -1):
            if place in used:
                used.update(self.program.steps[place - self._first].arguments)
        return frozenset(used)

    def __call__(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """The formula's values; autograd keeps x and the learned numbers."""
        result: Tensor = _Lean.apply(x, self, *theta)  # type: ignore[no-untyped-call]
        return result

    def values(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """Forwards, in blocks where that is possible."""
        if not self._is_divisible(x, theta):
            return _cast(self._result(x, theta), x.dtype)
        y = torch.empty_like(x)
        for part, target in zip(_blocks(x), _blocks(y), strict=True):
            target.copy_(self._result(part, theta))
        return y

    def _result(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        wide = self._widen(x)
        values: list[Any] = [wide, *self._leaves(wide, theta)]
        for step in self.program.steps:
            values.append(step.function(*[values[index] for index in step.arguments]))
            for index in step.last_uses:
                values[index] = None
        result: Tensor = values[self.program.result]
        return result

    def gradients(
        self, g: Tensor, x: Tensor, theta: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Backwards: the gradients of x and of each learned number, where they are needed."""
        if torch.is_grad_enabled() or not self._is_divisible(x, theta):
            return self._back(g, x, theta, needed)
        if g.stride() != x.stride():
            g = torch.empty_like(x).copy_(g)
        for_x = torch.empty_like(x) if needed[0] else None
        targets = _blocks(for_x) if for_x is not None else None
        sums: list[Tensor | None] = [None] * len(theta)
        blocks = zip(_blocks(g), _blocks(x), strict=True)
        for index, (upstream, part) in enumerate(blocks):
            own, *learned = self._back(upstream, part, theta, needed)
            if targets is not None and own is not None:
                targets[index].copy_(own)
            for place, item in enumerate(learned):
                if item is not None:
                    before = sums[place]
                    sums[place] = item if before is None else before + item
        return [for_x, *sums]

    def _back(
        self, g: Tensor, x: Tensor, theta: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        program, wide = self.program, self._widen(x)
        values: list[Any] = [wide, *self._leaves(wide, theta)]
        for place, step in enumerate(program.steps, start=self._first):
            is_used = place in self._used
            values.append(
                step.function(*[values[index] for index in step.arguments]) if is_used else None
            )
        found = Gradients(len(values))
        found.add(program.result, 1.0, _cast(g, wide.dtype))
        for place in range(len(values) - 1, self._first - 1, -1):
            factor, upstream = found.take(place)
            if upstream is not None:
                step = program.steps[place - self._first]
                self._through(step, values[place], values, factor, upstream, found)
                values[place] = None
        return self._collect(found, x, theta, needed)

    def _through(
        self,
        step: Step,
        result: Any,
        values: list[Any],
        factor: float,
        g: Tensor,
        found: Gradients,
    ) -> None:
        """Back through one step: what its arguments get of the gradient ``factor * g`` of its result."""
        arguments = tuple(values[index] for index in step.arguments)
        if (
            step.name == "mul"
            and step.arguments[0] == step.arguments[1]
            and self._is_full[step.arguments[0]]
        ):
            found.add_product(step.arguments[0], 2 * factor, g, arguments[0])
            return
        for position, index in enumerate(step.arguments):
            if not self._varies[index]:
                continue
            full = self._is_full[index]
            if step.name == "mul":
                other = arguments[1 - position]
                if not isinstance(other, Tensor):
                    found.add(index, factor * other, g if full else _sum_to(g, values[index]))
                elif full:
                    found.add_product(index, factor, g, other)
                else:
                    found.add(index, factor, _sum_to(g * other, values[index]))
            else:
                sign = -1.0 if step.name == "neg" or (step.name == "sub" and position) else 1.0
                own = (
                    g
                    if step.name in _LINEAR
                    else pull_back(step.name, step.function, position, g, result, arguments)
                )
                found.add(index, sign * factor, own if full else _sum_to(own, values[index]))

    def _collect(
        self, found: Gradients, x: Tensor, theta: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Of x and of the learned numbers, in their dtypes; zeros where the formula does not depend on them."""
        result: list[Tensor | None] = [None] * (1 + len(theta))
        if needed[0]:
            own = found.total(0)
            result[0] = torch.zeros_like(x) if own is None else _cast(own, x.dtype)
        for position, index in enumerate(self._learned):
            if index is not None and needed[1 + index]:
                item, parameter = found.total(1 + position), theta[index]
                result[1 + index] = (
                    torch.zeros_like(parameter)
                    if item is None
                    else _cast(item, parameter.dtype).reshape(parameter.shape)
                )
        return result

    @staticmethod
    def _is_divisible(x: Tensor, theta: Sequence[Tensor]) -> bool:
        """Whether there are several blocks, and every element is computed alike."""
        return (
            x.numel() >= 2 * BLOCK
            and x.device.type == "cpu"
            and all(not item.dim() for item in theta)
            and (x.is_contiguous() or torch.empty_like(x).stride() == x.stride())
        )


class Gradients:
    """Gradients of the values on the way back, each as a number times a tensor: what is linear costs no tensor."""

    def __init__(self, count: int) -> None:
        self._factors = [1.0] * count
        self._tensors: list[Tensor | None] = [None] * count

    def add(self, index: int, factor: float, own: Tensor) -> None:
        """Add ``factor * own`` to a value's gradient."""
        before = self._tensors[index]
        if before is None:
            self._factors[index], self._tensors[index] = factor, own
        else:
            before = self._scaled(index, before)
            self._tensors[index] = before + own if factor == 1.0 else before.add(own, alpha=factor)

    def add_product(self, index: int, factor: float, one: Tensor, other: Tensor) -> None:
        """Add ``factor * one * other``."""
        before = self._tensors[index]
        if before is None:
            self._factors[index], self._tensors[index] = factor, one * other
        else:
            self._tensors[index] = torch.addcmul(
                self._scaled(index, before), one, other, value=factor
            )

    def _scaled(self, index: int, tensor: Tensor) -> Tensor:
        factor, self._factors[index] = self._factors[index], 1.0
        return tensor if factor == 1.0 else tensor * factor

    def take(self, index: int) -> tuple[float, Tensor | None]:
        """A value's gradient, which is complete and not needed any more."""
        tensor, self._tensors[index] = self._tensors[index], None
        return self._factors[index], tensor

    def total(self, index: int) -> Tensor | None:
        """A value's gradient as one tensor."""
        tensor = self._tensors[index]
        return None if tensor is None else self._scaled(index, tensor)


class _Lean(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lean: LeanProgram, *theta: Tensor) -> Tensor:
        ctx.lean = lean
        ctx.save_for_backward(x, *theta)
        return lean.values(x, theta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *theta = ctx.saved_tensors
        needed = (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])
        for_x, *learned = ctx.lean.gradients(grads[0], x, theta, needed)
        return for_x, None, *learned


def _blocks(x: Tensor) -> Sequence[Tensor]:
    """The numbers as they lie in memory, in blocks."""
    return torch.split(x.as_strided((x.numel(),), (1,)), BLOCK)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)


def _sum_to(gradient: Tensor, value: Any) -> Tensor:
    """Summed over what the value was broadcast along."""
    if gradient.shape == value.shape:
        return gradient
    return gradient.sum() if not value.dim() else gradient.sum_to_size(value.shape)
