"""A curve that several sites of several models have in common, and the module that applies it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actsearch.activations import Activation
from actsearch.errors import TaskError
from actsearch.records import ActivationRecord

__all__ = ["InputMoments", "LearnedCurve", "SharedCurve", "learning"]


@dataclass
class InputMoments:
    """Running sums over what arrives at the sites of a curve."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, x: Tensor) -> None:
        """Take what arrives in one call."""
        numbers = x.detach().double()
        self.count += numbers.numel()
        self.total += float(numbers.sum())
        self.squares += float(numbers.square().sum())

    @property
    def mean(self) -> float:
        """Of all numbers so far."""
        return self.total / max(1, self.count)

    @property
    def sd(self) -> float:
        """Standard deviation of all numbers so far."""
        return math.sqrt(max(0.0, self.squares / max(1, self.count) - self.mean**2))


class LearnedCurve:
    """First a known function, then piecewise linear on an even grid; beyond its ends as between the last two points.

    Attributes:
        points: of the grid.
        low: left end of the grid.
        high: right end.
        values: at the grid's points, ``(n,)``; a leaf that autograd follows while the curve learns.
        learns: whether it does; otherwise gradients pass it as they pass a fixed function.
        moments: of what arrives, while they are counted; else None.
        density: how many numbers arrived in each interval, ``(n - 1,)``, those beyond in the outer ones; None while
            that is not counted.
    """

    low: float
    high: float
    values: Tensor

    def __init__(
        self, function: Callable[[Tensor], Tensor], points: int, device: torch.device
    ) -> None:
        """Args:
        function: where the curve begins; shape kept.
        points: of the grid.
        device: where it is used.
        """
        self.points = points
        self.learns = False
        self.moments: InputMoments | None = None
        self.density: Tensor | None = None
        self._start: Callable[[Tensor], Tensor] | None = function
        self._device = device

    def begin(self, low: float, high: float) -> None:
        """Become piecewise linear between two ends, with the values of the function so far.

        Raises:
            TaskError: these are not finite.
        """
        assert self._start is not None
        self.low, self.high = low, high
        with torch.no_grad():
            values = self._start(self.grid.float().to(self._device))
        if not bool(values.isfinite().all()):
            raise TaskError(
                f"the activation that shape learning begins with is not finite between {low:.3g} and {high:.3g}, where "
                "its inputs lie: begin with another one, as Gradient(start='relu')"
            )
        self.values = values.requires_grad_()
        self._start = None

    @property
    def grid(self) -> Tensor:
        """The grid's points, ``(n,)``, double precision, on the CPU."""
        return torch.linspace(self.low, self.high, self.points, dtype=torch.float64)

    @property
    def step(self) -> float:
        """Between two points of the grid."""
        return (self.high - self.low) / (self.points - 1)

    def count_density(self) -> None:
        """Count from here on what arrives where."""
        self.density = torch.zeros(self.points - 1, dtype=torch.float64)

    def __call__(self, x: Tensor, *, counts: bool = True) -> Tensor:
        """The curve of numbers of any shape.

        Args:
            x: the numbers.
            counts: whether they are among those that are counted.
        """
        wide = x if x.dtype.itemsize > 2 else x.float()
        if self._start is not None:
            if self.moments is not None and counts:
                self.moments.add(wide)
            return self._start(x)
        values = (self.values if self.learns else self.values.detach()).to(wide.dtype)
        index = self._interval(wide.detach())
        if self.density is not None and counts and not self.learns:
            self.density += torch.bincount(index.flatten(), minlength=self.points - 1).cpu()
        result: Tensor = _Interpolation.apply(wide, values, index, self.low, self.step)  # type: ignore[no-untyped-call]
        return result.to(x.dtype)

    def _interval(self, x: Tensor) -> Tensor:
        place = ((x - self.low) / self.step).floor()
        # what is not a number has no place: it stays none in the result, whatever the interval
        return place.nan_to_num(0.0, 0.0, 0.0).clamp(0, self.points - 2).long()


@contextlib.contextmanager
def learning(curves: Iterable[LearnedCurve]) -> Iterator[None]:
    """Let autograd follow the values of curves meanwhile."""
    kept = list(curves)
    for curve in kept:
        curve.learns = True
    try:
        yield
    finally:
        for curve in kept:
            curve.learns = False


class _Interpolation(torch.autograd.Function):
    """Between neighbouring values. Sums for each value are taken by counting, not by adding one after the other."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, values: Tensor, index: Tensor, low: float, step: float
    ) -> Tensor:
        share = (x - low) / step - index
        left, right = values[index], values[index + 1]
        ctx.save_for_backward(values, index, share)
        ctx.step = step
        return left + share * (right - left)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        values, index, share = ctx.saved_tensors
        of_x = of_values = None
        if ctx.needs_input_grad[0]:
            of_x = grad * ((values[1:] - values[:-1]) / ctx.step)[index]
        if ctx.needs_input_grad[1]:
            where, flat, part = index.flatten(), grad.double().flatten(), share.double().flatten()
            size = len(values)
            of_values = torch.bincount(where, flat * (1 - part), size)
            of_values += torch.bincount(where + 1, flat * part, size)
            of_values = of_values.to(values.dtype)
        return of_x, of_values, None, None, None


class SharedCurve(Activation):
    """Applies a curve that it does not own: it has no parameters, so that no optimizer of weights meets it."""

    def __init__(self, record: ActivationRecord, curve: LearnedCurve) -> None:
        super().__init__(record)
        self._curve = curve

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return self._curve(
            x, counts=self.training
        )  # what is measured on validation data says nothing to it

    def __deepcopy__(self, memo: Any) -> SharedCurve:
        return SharedCurve(self.record, self._curve)
