"""Weights whose scale suits the activation that follows them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from actsearch.activations import Activation, count_pieces, gain
from actsearch.placement.placing import Placement
from actsearch.placement.site_trace import trace_sites
from actsearch.placement.widen import equalize_pieces

__all__ = ["initialise_for_gain"]


def initialise_for_gain(placement: Placement, sample: Any) -> tuple[str, ...]:
    """Draw the weights before each replaced site anew: N(0, g^2 / fan_in) with g = 1 / sqrt(E[f(z)^2]), biases 0.

    He et al. 2015 (arXiv:1502.01852, eq. 10), with the gain of the activation itself in the place of ReLU's sqrt(2). A
    site whose layer is unknown (after a sum or a reshape) keeps its weights, as does the unchanged model. Of a
    layer that was made wider, every piece is drawn for itself, and a batch normalisation after it treats them alike.
    Numbers are drawn from torch's global generator.

    Args:
        placement: the placed model, changed in place.
        sample: one batch of inputs.

    Returns:
        Paths of the sites whose layer was drawn anew.

    Raises:
        ActivationError: for an activation without a gain.
    """
    paths = [item.path for item in placement.replaced]
    traces = trace_sites(placement.model, paths, sample) if paths else {}
    drawn: dict[nn.Module, str] = {}  # path by layer
    for path in paths:
        module = placement.model.get_submodule(path)
        layer = traces[path].layer if path in traces else None
        if layer is None or layer in drawn or not isinstance(module, Activation):
            continue
        _draw_weights(layer, gain(module))
        if (pieces := count_pieces(module)) > 1:
            equalize_pieces(traces[path].between, pieces)
        drawn[layer] = path
    return tuple(drawn.values())


@torch.no_grad()
def _draw_weights(layer: nn.Module, scale: float) -> None:
    layer.get_parameter("weight").normal_(0.0, scale / math.sqrt(_fan_in(layer)))
    if isinstance(bias := getattr(layer, "bias", None), nn.Parameter):
        bias.zero_()


def _fan_in(layer: nn.Module) -> float:
    """How many products an output sums; of a transposed convolution with a stride, on average, away from the border."""
    weight = layer.get_parameter("weight")
    if isinstance(layer, _ConvTransposeNd):
        # (in, out / groups, ...): each output sees the part of the kernel that falls on its stride position
        return weight[:, 0].numel() / layer.groups / math.prod(layer.stride)
    return weight[0].numel()
