"""What a loss wants of a model's outputs, told by its gradients and values on outputs that are drawn for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from actsearch.placement.random_streams import isolated_random

__all__ = [
    "drawn",
    "find_class_axes",
    "find_ignored",
    "gradient_of",
    "regards_as_numbers",
    "symmetry_about",
    "takes_probabilities_only",
    "value_of",
]

_TRIES = 3
_TRIED = 4  # labels
_INSIDE = (-0.3, -0.1, 0.1, 0.3)  # .5 and they are probabilities
_OUTSIDE = (-3.0, -1.0, 1.0, 3.0)
_RELATIVE = 1e-3  # of differences in single precision
Loss = Callable[[Any, Any], Any]


def drawn(output: Tensor, seed: int) -> Tensor:
    """Numbers between .1 and .9, which are probabilities as well as logits, as an output is shaped."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(output.shape, generator=generator) * 0.8 + 0.1
    return numbers.to(output.device, output.dtype)


def gradient_of(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The gradient of a loss by the output, in double precision; 0 where it does not depend on it."""
    with torch.enable_grad():
        own = output.detach().clone().requires_grad_()
        value = loss(own, target)
        if not value.requires_grad:
            return torch.zeros_like(own)
        (gradient,) = torch.autograd.grad(value.sum(), own, allow_unused=True)
    return torch.zeros_like(own) if gradient is None else gradient.double()


def find_class_axes(
    loss: Loss,
    output: Tensor,
    labels: Callable[[int], Tensor],
    axes: Sequence[int],
    target: Tensor,
) -> list[int]:
    """Axes along which a loss wants more of the right class and less of the others, in every place that counts.

    Args:
        loss: of output and target.
        output: whose shape counts.
        labels: numbers of the right classes if they stand on an axis.
        axes: the candidates.
        target: of the batch.
    """
    found = []
    gradient = gradient_of(loss, drawn(output, 0), target)
    for axis in axes:
        wanted = gradient.argmin(axis)
        counts = gradient.abs().amax(axis) > 0
        right = (wanted == labels(axis).reshape(wanted.shape)) | ~counts
        if bool(counts.any()) and bool(right.all()):
            found.append(axis)
    return found


def find_ignored(loss: Loss, output: Tensor, target: Tensor, axis: int) -> list[int]:
    """Numbers of classes that a loss leaves out: their places have no gradient, whatever the output is.

    Args:
        loss: of output and target.
        output: class scores on ``axis``.
        target: numbers of classes.
        axis: see above.
    """
    size = output.shape[axis]
    counts = torch.zeros(target.numel(), dtype=torch.bool)
    for seed in range(_TRIES):
        scores = drawn(output, seed).movedim(axis, -1)
        index = target.reshape(scores.shape[:-1]).clamp(0, size - 1).long().unsqueeze(-1)
        # the right class has the lowest score, so that a loss with a margin wants another one everywhere
        scores = scores.scatter(-1, index, 0.05).movedim(-1, axis)
        gradient = gradient_of(loss, scores, target)
        counts |= (gradient.abs().amax(axis) > 0).reshape(-1).cpu()
    flat = target.reshape(-1).cpu()
    if bool(counts.all()) or not bool(counts.any()):
        return []
    learned = set(flat[counts].tolist())
    unseen = [int(item) for item in torch.unique(flat[~counts]).tolist() if item not in learned]
    tried = unseen[:_TRIED]  # of a vocabulary, each would take a pass over all scores
    kept = [label for label in tried if not _is_learned(loss, output, target, label)]
    return unseen if len(kept) == len(tried) else kept


def _is_learned(loss: Loss, output: Tensor, target: Tensor, label: int) -> bool:
    """Whether a label would be learned in other places: these are left out, and not the label."""
    gradient = gradient_of(loss, drawn(output, 0), torch.full_like(target, label))
    return bool((gradient.isfinite() & (gradient != 0)).any())


def regards_as_numbers(loss: Loss, output: Tensor, target: Tensor) -> bool:
    """Whether a loss is least where the output equals the target, as those of regression are.

    Of small and of large targets by themselves: a loss with a margin goes on falling on one side.
    """
    wanted = target.reshape(output.shape).to(output.dtype)
    least = value_of(loss, wanted, target)
    middle = (wanted.min() + wanted.max()) / 2
    for chosen in (wanted <= middle, wanted > middle):
        if not bool(chosen.any()):
            continue
        around = [value_of(loss, wanted + step * chosen, target) for step in (-1, -0.25, 0.25, 1)]
        if not (around[0] > around[1] > least < around[2] < around[3]):  # false for NaN, too
            return False
    return True


def takes_probabilities_only(loss: Loss, output: Tensor, target: Tensor) -> bool:
    """Whether a loss changes with a number between 0 and 1, and is none or a constant outside of that."""
    for labels in (torch.zeros_like(target), torch.ones_like(target)):  # both could cancel out
        values = {
            fill: value_of(loss, torch.full_like(output, fill), labels)
            for fill in (-3.0, -1.0, 0.25, 0.75, 2.0, 4.0)
        }
        inside = values[0.25], values[0.75]
        if not all(map(math.isfinite, inside)) or inside[0] == inside[1]:
            return False
        for a, b in ((values[-3.0], values[-1.0]), (values[2.0], values[4.0])):
            if math.isfinite(a) and math.isfinite(b) and a != b:
                return False
    return True


def value_of(loss: Loss, output: Tensor, target: Tensor) -> float:
    """A loss as a number; NaN where it refuses the output."""
    try:
        with isolated_random(0), torch.no_grad():
            return float(loss(output, target))
    except Exception:  # torch refuses what is no probability
        return math.nan


def symmetry_about(
    loss: Loss, output: Tensor, target: Tensor, number: float, *, inside: bool
) -> float:
    """What one class costs just above a number, over what the other does as far below it, if that is one ratio.

    Constants for each class aside. It is so where class 1 begins: at 0 for the logistic loss, a probit and margins, at
    .5 for squared errors and the logarithms of probabilities.

    Args:
        loss: of output and target.
        output: whose shape counts.
        target: likewise; its values say how the two classes are written.
        number: where class 1 may begin.
        inside: whether to try outputs near to it only, so that those around .5 are probabilities.

    Returns:
        The ratio, which is 1 for a loss without weights of classes; 0 if there is none.
    """
    low, high = float(target.min()), float(target.max())
    if 0 <= low <= high <= 1:
        low, high = 0.0, 1.0
    steps = (0.0, *_INSIDE, *(() if inside else _OUTSIDE))

    def around(label: float, sign: int) -> Tensor:
        labels = torch.full_like(target, label)
        outputs = (torch.full_like(output, number + sign * step) for step in steps)
        moved = torch.tensor([value_of(loss, item, labels) for item in outputs]).double()
        return moved[1:] - moved[0]

    above, below = around(high, 1), around(low, -1)
    if not bool((above.isfinite() & below.isfinite()).all()):
        return 0.0
    ratio = float((above * below).sum() / below.square().sum().clamp(min=1e-300))
    off = (above - ratio * below).abs().max()
    return max(0.0, ratio) if bool(off <= _RELATIVE * above.abs().max()) else 0.0
