"""How long an activation takes, measured beside ReLU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actsearch.activations import activation
from actsearch.checks import is_integer
from actsearch.errors import ActivationError
from actsearch.evaluation.candidate import Candidate
from actsearch.training import isolated_random

__all__ = ["Cost", "cost", "relative_cost"]

_ROUNDS = 15
_SHORTEST = 2e-4  # seconds that one measurement takes at least, else the clock is what is measured


@dataclass(frozen=True)
class Cost:
    """Seconds of one forward and backward pass, medians.

    Attributes:
        seconds: of the activation.
        relu_seconds: of ``torch.nn.ReLU`` at the same shape.

    Example:
        >>> measured = acs.cost("gelu", (64, 128))
        >>> measured.ratio == measured.seconds / measured.relu_seconds
        True
    """

    seconds: float
    relu_seconds: float

    @property
    def ratio(self) -> float:
        """As a multiple of ReLU's."""
        return self.seconds / self.relu_seconds

    def __str__(self) -> str:
        return f"{self.seconds * 1e6:.3g} µs, {self.ratio:.2f} times ReLU"


def cost(what: object, shape: Sequence[int], *, device: str | torch.device = "cpu") -> Cost:
    """Time an activation, forward and backward, in turns with ReLU.

    Args:
        what: candidate, trial, catalog name, formula or Expression.
        shape: of its input, ``(samples, channels, ...)``; parameters per channel lie on axis 1.
        device: where it is timed.

    Returns:
        Medians in seconds, and their ratio to ReLU's.

    Raises:
        ActivationError: the shape is not valid.
        FormulaError: a formula that cannot be read.

    Example:
        >>> measured = acs.cost("gelu", (64, 128))  # 64 samples of 128 numbers
        >>> measured.seconds > 0
        True
    """
    if not shape or not all(is_integer(length) and length > 0 for length in shape):
        raise ActivationError(f"shape must be positive integers, as (64, 128), not {shape!r}")
    candidate = Candidate.of(getattr(what, "candidate", what))
    channels = shape[1] if len(shape) > 1 else None
    module = activation(candidate, channels=channels).to(device)
    with isolated_random(0):
        x = torch.randn(tuple(shape), device=device)
        return Cost(*time_interleaved([module, nn.ReLU()], x))


def relative_cost(sites: Iterable[tuple[nn.Module, Sequence[int]]], device: torch.device) -> float:
    """Time of activations together, as a multiple of ReLU's at the same shapes."""
    own = relu = 0.0
    with isolated_random(0):
        for module, shape in sites:
            dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())
            x = torch.randn(tuple(shape), device=device, dtype=dtype)
            seconds = time_interleaved([module, nn.ReLU()], x)
            own, relu = own + seconds[0], relu + seconds[1]
    return own / relu


def time_interleaved(modules: Sequence[nn.Module], x: Tensor) -> list[float]:
    """Median seconds of a pass of each; they take turns, so that what else the machine does meets all of them."""
    passes = [_make_timer(module, x) for module in modules]
    for one in passes:
        one()
    return [
        statistics.median(column)
        for column in zip(*([one() for one in passes] for _ in range(_ROUNDS)), strict=True)
    ]


def _make_timer(module: nn.Module, x: Tensor) -> Callable[[], float]:
    """Makes seconds of a pass, from as many passes as the clock can tell."""
    x = x.requires_grad_()
    inputs = [x, *module.parameters()]

    def once() -> None:
        y = module(x)
        torch.autograd.grad(y.sum(), inputs, allow_unused=True)

    once()  # the first pass also pays for what torch sets up
    started = time.perf_counter()
    once()
    count = max(1, round(_SHORTEST / max(time.perf_counter() - started, 1e-7)))

    def time_pass() -> float:
        _synchronise(x.device)
        started = time.perf_counter()
        for _ in range(count):
            once()
        _synchronise(x.device)
        return (time.perf_counter() - started) / count

    return time_pass


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
