"""torch's own losses for all members at once, without ``vmap``, which takes them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Loss", "across", "loss_for_all"]

Loss = Callable[[Tensor, Tensor], Tensor]

_ELEMENTWISE: tuple[Any, ...] = (
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
)
_MODULES: dict[type[nn.Module], Any] = {
    nn.CrossEntropyLoss: F.cross_entropy,
    nn.MSELoss: F.mse_loss,
    nn.L1Loss: F.l1_loss,
    nn.SmoothL1Loss: F.smooth_l1_loss,
    nn.HuberLoss: F.huber_loss,
    nn.BCELoss: F.binary_cross_entropy,
    nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
}
_IGNORED = -100  # torch's ignore_index


def loss_for_all(loss: Any) -> Loss | None:
    """A task's loss as a function of ``(members, samples, ...)`` and such targets that gives ``(members,)``.

    None for what is not one of torch's own with its default settings. Gradients are equal to the last bit.
    """
    if (function := _MODULES.get(type(loss))) is not None and vars(loss) == vars(type(loss)()):
        loss = function
    if loss is F.cross_entropy:
        return _cross_entropy
    if any(loss is one for one in _ELEMENTWISE):
        return lambda output, target: (
            loss(output, target.expand_as(output), reduction="none").flatten(1).mean(1)
        )
    return None


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """F.cross_entropy by member: the mean over the samples whose class is not to be ignored."""
    rows = F.cross_entropy(output.flatten(0, 1), target.flatten(0, 1), reduction="none")
    sums = rows.view(output.shape[0], -1).sum(1)
    if target.is_floating_point():  # probabilities of classes
        return sums / (rows.numel() // output.shape[0])
    return sums / (target != _IGNORED).flatten(1).sum(1)


def across(output: Tensor, target: Tensor, dims: int | None) -> Tensor:
    """A target as the members' outputs need it: stacked."""
    return target.expand(output.shape[0], *target.shape) if dims is None else target
