"""The linear layers of all members in one batched product each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["stacked_linear"]


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
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    if torch.is_autocast_enabled(x.device.type):  # which casts for each operation by itself
        across = weight.transpose(1, 2)
        result = rows @ across if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, across)
    else:
        result = _Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    stacked: Tensor = result.reshape(*x.shape[:-1], weight.shape[1])
    return stacked


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        across = weight.transpose(1, 2)
        if bias is None or _is_tiny(x, across):
            return _products(x, across, bias)
        return torch.baddbmm(bias.unsqueeze(1), x, across)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _products(grad, weight) if for_x else None,
            _products(grad.transpose(1, 2), x) if for_weight else None,
            grad.sum(1) if for_bias else None,
        )


_TINY = 400  # multiplications; below, torch.bmm sums in a loop of its own, in another order than torch.mm


def _is_tiny(a: Tensor, b: Tensor) -> bool:
    return a.shape[1] * a.shape[2] * b.shape[2] < _TINY


def _products(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b (+ bias) for every member."""
    if not _is_tiny(a, b):
        return torch.bmm(a, b)
    if bias is None:
        return torch.stack([x @ y for x, y in zip(a, b, strict=True)])
    return torch.stack([torch.addmm(c, x, y) for x, y, c in zip(a, b, bias, strict=True)])
