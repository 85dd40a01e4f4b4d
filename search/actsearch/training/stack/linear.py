"""The linear layers of all members in one batched product each, where that gives what single training gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from actsearch.devices import is_cpu
from actsearch.training.stack.stack_access import CACHE_LINE, member_rows

__all__ = ["products", "stacked_linear"]


def stacked_linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """y = x W^T + b for every member.

    ``vmap`` alone would divide it into several steps, and take the products of the backward pass in another order than
    ``nn.Linear`` does, which changes last bits.

    Args:
        weight: shape ``(members, out, in)``.
        bias: shape ``(members, out)``, or None.
        x: shape ``(members, ..., in)``.

    Returns:
        Shape ``(members, ..., out)``.
    """
    if torch.is_autocast_enabled(x.device.type):  # which casts for each operation by itself
        if not is_cpu(x.device):
            return _cast_linear(weight, bias, x)
        biases = [None] * len(x) if bias is None else bias.unbind(0)
        each = zip(member_rows(x), member_rows(weight), biases, strict=True)
        return torch.stack([F.linear(*own) for own in each])
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    result = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    stacked: Tensor = result.reshape(*x.shape[:-1], weight.shape[1])
    return stacked


def _cast_linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """In one batched product under autocast, whose casts autograd follows."""
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    turned = weight.transpose(1, 2)
    y = torch.bmm(rows, turned) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, turned)
    return y.reshape(*x.shape[:-1], weight.shape[1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return products(x, weight.transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            products(grad, weight) if for_x else None,
            products(grad.transpose(1, 2), x) if for_weight else None,
            grad.sum(1) if for_bias else None,
        )


def products(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b (+ bias) for every member, to the last bit what ``torch.mm`` and ``torch.addmm`` give for one.

    On a GPU in one batched product, which need not be equal.

    Args:
        a: shape ``(members, n, k)``.
        b: shape ``(members, k, m)``.
        bias: shape ``(members, m)``.
    """
    if not is_cpu(a.device) or _is_batch_exact(a, b, bias):
        return torch.bmm(a, b) if bias is None else torch.baddbmm(bias.unsqueeze(1), a, b)
    return _one_by_one(a, b, bias)


def _one_by_one(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """One product after the other, of what begins in memory where it does for one."""
    rows = zip(member_rows(a), member_rows(b), strict=True)
    if bias is None:
        return torch.stack([x @ y for x, y in rows])
    return torch.stack([torch.addmm(c, x, y) for (x, y), c in zip(rows, bias, strict=True)])


_TINY = 400  # multiplications; below, torch.bmm sums in a loop of its own, in another order than torch.mm
_TRIALS = 3  # of random numbers, each of which alone might agree by chance

_exact_layouts: dict[Any, bool] = {}
"""Whether a batched product of tensors so laid out, with so many threads, gave what single ones give, to the last bit.

Which of its kernels MKL takes depends on shapes, layout, place in memory and threads, and on nothing else: it is tried
once for each, with random numbers.
"""


def _is_batch_exact(a: Tensor, b: Tensor, bias: Tensor | None) -> bool:
    if a.shape[1] * a.shape[2] * b.shape[2] < _TINY:
        return False
    given = (a, b) if bias is None else (a, b, bias)
    key = (torch.get_num_threads(), *((*_layout(item), item.dtype) for item in given))
    known = _exact_layouts.get(key)
    if known is None:
        known = _exact_layouts[key] = all(_is_exact(seed, *given) for seed in range(_TRIALS))
    return known


def _layout(item: Tensor) -> tuple[Any, ...]:
    return item.shape, item.stride(), item.data_ptr() % CACHE_LINE


@torch.no_grad()
def _is_exact(seed: int, a: Tensor, b: Tensor, bias: Tensor | None = None) -> bool:
    generator = torch.Generator().manual_seed(seed)
    a, b = _random_like(a, generator), _random_like(b, generator)
    if bias is None:
        return torch.equal(torch.bmm(a, b), _one_by_one(a, b, None))
    bias = _random_like(bias, generator)
    return torch.equal(torch.baddbmm(bias.unsqueeze(1), a, b), _one_by_one(a, b, bias))


def _random_like(item: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers in the same layout, at the same place within a line of memory."""
    size, line = item.element_size(), CACHE_LINE // item.element_size()
    span = 1 + sum((n - 1) * step for n, step in zip(item.shape, item.stride(), strict=True))
    memory = torch.empty(span + line, dtype=item.dtype).normal_(generator=generator)
    start = (item.data_ptr() - memory.data_ptr()) % CACHE_LINE // size
    return memory.as_strided(item.shape, item.stride(), start)
