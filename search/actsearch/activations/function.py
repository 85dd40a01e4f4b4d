"""An activation as a function of one number: values, derivative, curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.activation_catalog import CATALOG, start_slopes
from actsearch.activations.build import activation, count_pieces, describe
from actsearch.activations.module import Activation
from actsearch.checks import check_number
from actsearch.errors import ActivationError
from actsearch.records import Curve

__all__ = ["build_at_start", "curve", "sample", "scalar_module", "value_and_gradient"]


def scalar_module(what: Any, channel: int | None = None) -> Activation:
    """The activation in float64 and eval mode, for one channel, with the learned values of a module.

    Args:
        what: as for :func:`actsearch.activation`; of a module, what it has learned counts.
        channel: which channel's parameters are taken; None averages them.

    Raises:
        ActivationError: if outputs depend on more than their own input (softmax, maxout), or there is no such channel.
    """
    record = describe(what)
    if record.name and not CATALOG[record.name].elementwise:
        raise ActivationError(
            f"{record.name} is not a function of one number: each output depends on several"
        )
    module = activation(record, channels=1, channel_axis=-1).double().eval()
    if channel is not None and not 0 <= channel < (getattr(what, "channels", None) or 0):
        raise ActivationError(f"{record.label} has no channel {channel}")
    if isinstance(what, Activation):
        with torch.no_grad():
            for name, learned in what.named_parameters():
                value = (
                    learned.mean() if channel is None or not learned.dim() else learned[channel]
                )
                module.get_parameter(name).fill_(value.double().item())
    return module


class _StartPieces(nn.Module):
    """What a layer gives that was made k times as wide: its output times the start slopes, (.., 1) to (.., k)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(start_slopes(pieces), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        slopes = self.slopes
        assert isinstance(slopes, Tensor)
        return x * slopes.to(x.dtype)


def build_at_start(what: Any) -> nn.Module:
    """The module that a site starts with, for one channel: input and output of shape ``(.., 1)``.

    For a row that widens the layer before it, the function that the widened layer and it compute together.
    """
    module = activation(describe(what), channels=1, channel_axis=-1)
    pieces = count_pieces(what)
    return module if pieces == 1 else nn.Sequential(_StartPieces(pieces), module)


def value_and_gradient(module: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    """Values f(x) and autograd's derivatives f'(x) at points of any shape; both shaped like them."""
    x = points.detach().clone().requires_grad_()
    with torch.enable_grad():
        y = module(x)
        if y.shape != x.shape:
            raise ActivationError(f"output has shape {tuple(y.shape)} for input {tuple(x.shape)}")
        if not y.requires_grad:
            return y.detach(), torch.zeros_like(x)
        (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    return y.detach(), torch.zeros_like(x) if slope is None else slope.detach()


def curve(
    what: Any,
    low: float = -6.0,
    high: float = 6.0,
    points: int = 601,
    *,
    channel: int | None = None,
) -> Curve:
    """Sample an activation and its derivative on an even grid.

    Args:
        what: as for :func:`actsearch.activation`; of a module, with what it has learned.
        low: left end.
        high: right end.
        points: number of grid points.
        channel: which channel of a module with parameters per channel; None averages the parameters.

    Raises:
        ActivationError: if it is not a function of one number, or there is no such channel.
    """
    low = check_number("low", low, ActivationError)
    high = check_number("high", high, ActivationError)
    grid = torch.linspace(low, high, points, dtype=torch.float64)
    return sample(scalar_module(what, channel), grid)


def sample(module: nn.Module, points: Sequence[float] | Tensor) -> Curve:
    """Values and derivatives of a module for one channel, such as :func:`scalar_module` makes, at points ``(n,)``."""
    x = torch.as_tensor(points, dtype=torch.float64)
    y, dy = value_and_gradient(module, x.unsqueeze(1))
    return Curve(x.numpy(), y.squeeze(1).numpy(), dy.squeeze(1).numpy())
