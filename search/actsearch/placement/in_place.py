"""Activations that write over what they are given, and models that count on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from actsearch.activation import Activation, pieces_of
from actsearch.placement.known_activations import is_activation
from actsearch.placement.probe import observe_output, tensors
from actsearch.placement.redirect import become, writing

__all__ = ["relies_on_inplace", "make_inplace"]


def relies_on_inplace(model: nn.Module, sample: Any) -> bool:
    """Whether a model computes something else when its in-place activation modules write nothing over.

    So does ``h + b(act(h))`` with ``act = nn.ReLU(inplace=True)``; most models look at the result alone, and are spared
    the copy.

    Args:
        model: a copy of the user's model, left as it was.
        sample: one batch of inputs; without it, a model that has such modules is taken to count on it.
    """
    modules: list[Any] = [
        module
        for module in model.modules()
        if getattr(module, "inplace", None) is True and is_activation(module)
    ]
    if not modules or sample is None:
        return bool(modules)
    usual = list(tensors(observe_output(model, sample)))
    for module in modules:
        module.inplace = False
    without = list(tensors(observe_output(model, sample)))
    for module in modules:
        module.inplace = True
    return not all(
        one.shape == other.shape and torch.equal(one, other)
        for one, other in zip(usual, without, strict=True)
    )


def make_inplace(module: nn.Module) -> None:
    """Make an activation write its result over what it is given, unless it changes the shape."""
    if isinstance(module, Activation) and pieces_of(module) > 1:
        return
    become(module, writing(type(module)))
    if isinstance(module, Activation):
        module.bind_forward()
