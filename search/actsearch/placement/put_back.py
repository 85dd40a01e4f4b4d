"""Whether a model computes the same when each site holds its own function again, in a module of another class."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.errors import PlacementError
from actsearch.placement.model_run import observe_output, tensors
from actsearch.placement.modular import Discovery, make_modular, set_module

__all__ = ["explain_difference"]

_SHOWN = 3  # of the sites, in a message

_TOLERANCE = (
    1e-4  # as a share of the largest number, for devices that sum in another order each time
)


class _StandIn(nn.Module):
    """An activation behind another class, as what is placed will be."""

    takes_arguments = True  # of a call that was redirected here

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        # in a tuple, so that the model has no more submodules than before
        self._inner = (inner,)

    def train(self, mode: bool = True) -> _StandIn:
        """Also what stands inside, which may draw in training, as RReLU does."""
        super().train(mode)
        self._inner[0].train(mode)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the activation gives."""
        return self._inner[0](*args, **kwargs)


def explain_difference(
    model: nn.Module, discovery: Discovery, sample: Any, paths: Sequence[str]
) -> str:
    """Why a model is another one with the same functions at some sites; empty if it is not.

    Args:
        model: a copy of the user's, in which nothing ran yet.
        discovery: what was found in another copy.
        sample: one batch of inputs.
        paths: of the sites.
    """
    for training in (False, True):
        try:
            reference = _output(model, sample, training)
        except Exception:
            if training:  # as batch normalisation of one sample does: nothing to compare with
                return ""
            raise
        why = _difference(model, discovery, sample, training, reference, paths)
        if why and not (training and _compare(_output(model, sample, training), reference)):
            break  # the model repeats itself, and it is our doing
    else:
        return ""
    culprits = [
        p for p in paths if _difference(model, discovery, sample, training, reference, [p])
    ]
    named = ", ".join(repr(path) for path in (culprits or paths)[:_SHOWN])
    mode = " in training mode" if training else ""
    return (
        f"the model computes something else{mode} when a module of another class computes the same at {named}: {why}. "
        "Its code asks what stands there, as isinstance(layer, nn.ReLU) does, or uses what only that module has: ask "
        "for the position or the name of the layer instead, or leave the site out with where="
    )


def _output(model: nn.Module, sample: Any, training: bool) -> list[Tensor]:
    """What a fresh copy gives, since a forward may write to weights and buffers."""
    return _run(copy.deepcopy(model), sample, training)


def _run(model: nn.Module, sample: Any, training: bool) -> list[Tensor]:
    result = observe_output(model, sample, training)
    return [tensor.detach().clone() for tensor in tensors(result)]


def _difference(
    model: nn.Module,
    discovery: Discovery,
    sample: Any,
    training: bool,
    reference: Sequence[Tensor],
    paths: Sequence[str],
) -> str:
    changed = copy.deepcopy(model)
    make_modular(changed, like=discovery, planned=paths)
    for path in paths:
        module = changed.get_submodule(path)
        set_module(changed, path, _StandIn(module).train(module.training))
    try:
        found = _run(changed, sample, training)
    except PlacementError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return _compare(found, reference)


def _compare(found: Sequence[Tensor], reference: Sequence[Tensor]) -> str:
    """How some results differ from others; empty if they do not."""
    if len(found) != len(reference):
        return f"it returns {len(found)} tensors instead of {len(reference)}"
    for one, other in zip(found, reference, strict=True):
        if one.shape != other.shape:
            return f"it returns the shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        if not _close(one, other):
            return "its output differs"
    return ""


def _close(one: Tensor, other: Tensor) -> bool:
    if one.is_meta:
        return True
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = other.nan_to_num(0, 0, 0).abs().max().item() if other.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)
