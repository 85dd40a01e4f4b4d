"""Pretrained weights of a model: trained with an activation, they favour it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actsearch.seeds import derive
from actsearch.task import Task
from actsearch.training import isolated_random

__all__ = ["pretrained_share"]


def pretrained_share(task: Task) -> tuple[float, float] | None:
    """The share of a model's weights that are there before the training starts, and of those that stay frozen.

    A module keeps all its weights. Of a function that builds the model those count that come out the same under two
    seeds, such as downloaded ones; tensors of one value (a bias of zeros, the ones of a normalisation) do not count.

    Returns:
        Both shares; None where all weights are drawn anew.
    """
    first = _parameters(task, 0)
    if isinstance(task.model, nn.Module):
        kept = list(first)
    else:
        second = _parameters(task, 1)
        kept = [
            name
            for name, value in first.items()
            if name in second and not _is_constant(value) and torch.equal(value, second[name])
        ]
    total = sum(value.numel() for value in first.values())
    count = sum(first[name].numel() for name in kept)
    frozen = sum(first[name].numel() for name in kept if not first[name].requires_grad)
    return (count / total, frozen / total) if count else None


def _parameters(task: Task, seed: int) -> dict[str, Tensor]:
    with isolated_random(derive(seed, "kept weights")):
        return {
            name: value
            for name, value in task.build().named_parameters()
            if not isinstance(value, nn.UninitializedParameter)
        }


def _is_constant(value: Tensor) -> bool:
    return value.numel() == 0 or bool((value == value.flatten()[0]).all())
