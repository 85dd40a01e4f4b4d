"""Cross entropy, torch's most used loss, for all members at once: one call where each would take several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Loss", "across", "fits_all", "loss_for_all", "with_value"]

Loss = Callable[[Tensor, Tensor], Tensor]

_IGNORED = -100  # torch's ignore_index


def loss_for_all(loss: Any) -> Loss | None:
    """A task's loss as a function of ``(members, samples, classes)`` and classes that gives ``(members,)``.

    None for what is not cross entropy with its default settings. Gradients are equal to the last bit, values are not.
    """
    is_module = type(loss) is nn.CrossEntropyLoss and vars(loss) == vars(nn.CrossEntropyLoss())
    return _cross_entropy if is_module or loss is F.cross_entropy else None


def fits_all(output: Any, target: Any, dims: int | None) -> bool:
    """Whether outputs and targets are scores of classes and numbers of classes."""
    return (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and output.dim() == 3
        and target.dim() == (1 if dims is None else 2)
        and not target.is_floating_point()
    )


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """F.cross_entropy by member: the mean over the samples whose class is not to be ignored."""
    rows = F.cross_entropy(output.flatten(0, 1), target.flatten(0, 1), reduction="none")
    sums = rows.view(output.shape[0], -1).sum(1)
    return sums / (target != _IGNORED).flatten(1).sum(1)


def across(output: Tensor, target: Tensor, dims: int | None) -> Tensor:
    """A target as the members' outputs need it: stacked."""
    return target.expand(output.shape[0], *target.shape) if dims is None else target


def with_value(loss: Tensor, value: Tensor) -> Tensor:
    """A number with one loss's gradient and another's value."""
    swapped: Tensor = _WithValue.apply(loss, value)  # type: ignore[no-untyped-call]
    return swapped


class _WithValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None
