"""Weights that a model brings along: trained with an activation, they favour it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from actsearch.placement.random_streams import isolated_random
from actsearch.report import KeptWeights
from actsearch.seeds import derive
from actsearch.task import Task

__all__ = ["kept_weights"]


def kept_weights(objective: Any) -> KeptWeights | None:
    """What of a task's model is there before the training starts; None where all of it is drawn anew.

    A module keeps all its weights. Of a function that builds the model those count that come out the same under two
    seeds, such as downloaded ones; tensors of one value (a bias of zeros, the ones of a normalisation) are nobody's.
    """
    if not isinstance(objective, Task):
        return None
    first = _parameters(objective, 0)
    if isinstance(objective.model, nn.Module):
        kept = list(first)
    else:
        second = _parameters(objective, 1)
        kept = [
            name
            for name, value in first.items()
            if name in second and not _is_constant(value) and torch.equal(value, second[name])
        ]
    total = sum(value.numel() for value in first.values())
    count = sum(first[name].numel() for name in kept)
    frozen = sum(first[name].numel() for name in kept if not first[name].requires_grad)
    return KeptWeights(count / total, frozen / total) if count else None


def _parameters(task: Task, seed: int) -> dict[str, Tensor]:
    with isolated_random(derive(seed, "kept weights")):
        return {
            name: value
            for name, value in task.build().named_parameters()
            if not isinstance(value, nn.UninitializedParameter)
        }


def _is_constant(value: Tensor) -> bool:
    return value.numel() == 0 or bool((value == value.flatten()[0]).all())
