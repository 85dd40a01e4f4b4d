"""From gradients at a curve's points to the next curve: Adam on a smooth basis, with a penalty on changes of slope."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from actsearch.errors import TaskError
from actsearch.training.shape.curve import LearnedCurve
from actsearch.training.shape.recipe import ShapeRecipe

__all__ = ["CurveUpdate"]


class CurveUpdate:
    """Steps curves down the gradient of the logarithm of a loss on data that the weights have not seen.

    The logarithm, as a loss says little by its size: a step counts the same whether much is left to learn or little.
    """

    def __init__(
        self, curves: Sequence[LearnedCurve], recipe: ShapeRecipe, done: int, total: int
    ) -> None:
        """Args:
        curves: that learn; their ``values`` must stay the same tensors from here on.
        recipe: how.
        done: steps that earlier passes made.
        total: steps of all passes.
        """
        self._recipe = recipe
        self._done, self._total = done, max(1, total)
        self._running: Tensor | None = None
        self._smooth = [_SmoothCurve(curve, recipe) for curve in curves]

    def take(self, losses: Tensor) -> None:
        """One step of every curve; weights get no gradient of it.

        Args:
            losses: of each copy, ``(copies,)``.

        Raises:
            TaskError: the losses do not depend on a curve.
        """
        recipe, now = self._recipe, losses.detach().abs().clamp(min=torch.finfo(losses.dtype).tiny)
        share = recipe.smooth
        self._running = now if self._running is None else share * self._running + (1 - share) * now
        values = [item.curve.values for item in self._smooth]
        gradients = torch.autograd.grad((losses / self._running).mean(), values, allow_unused=True)
        progress = min(1.0, self._done / self._total)
        late = max(0.0, (progress - recipe.hold) / (1 - recipe.hold))
        rate = recipe.path / self._total * 0.5 * (1 + math.cos(math.pi * late))
        for item, gradient in zip(self._smooth, gradients, strict=True):
            if gradient is None:
                raise TaskError(
                    "no gradient arrives at the activation whose shape is to be learned: the loss does not depend on "
                    "what it gives, or the way there is detached; choose another strategy"
                )
            item.step(gradient, rate, recipe.penalty * progress**recipe.ramp)
        self._done += 1


class _SmoothCurve:
    """A curve as a sum of cubic B-splines, in units of its own standard deviation; Adam moves their weights."""

    def __init__(self, curve: LearnedCurve, recipe: ShapeRecipe) -> None:
        self.curve = curve
        self._recipe = recipe
        device = curve.values.device
        values = curve.values.detach().double().cpu()
        z = torch.linspace(-recipe.reach, recipe.reach, curve.points, dtype=torch.float64)
        density = torch.softmax(-z * z / 2, 0)
        self._unit = float((density @ (values - density @ values).square()).sqrt()) or 1.0
        basis = _spline_basis(curve.points, recipe.coefficients)
        weights = torch.linalg.lstsq(basis, (values / self._unit).unsqueeze(1)).solution.squeeze(1)
        self._basis, self._weights = basis.to(device), weights.to(device)
        self._first = torch.zeros_like(self._weights)
        self._second = torch.zeros_like(self._weights)
        self._steps = 0
        self._write()

    def step(self, gradient: Tensor, rate: float, penalty: float) -> None:
        """One step of Adam.

        Args:
            gradient: of the values, ``(points,)``.
            rate: in units of the curve.
            penalty: weight of the change of slope.
        """
        recipe, self._steps = self._recipe, self._steps + 1
        scaled = self.curve.values.detach().double() / self._unit
        whole = self._unit * gradient.double() + penalty * _bend_gradient(scaled, recipe.reach)
        own = whole @ self._basis
        a, b = recipe.betas
        self._first = a * self._first + (1 - a) * own
        self._second = b * self._second + (1 - b) * own.square()
        mean = self._first / (1 - a**self._steps)
        size = (self._second / (1 - b**self._steps)).sqrt()
        self._weights = self._weights - rate * mean / (size + 1e-12)
        self._write()

    @torch.no_grad()
    def _write(self) -> None:
        self.curve.values.copy_(self._unit * (self._basis @ self._weights))


def _spline_basis(points: int, coefficients: int) -> Tensor:
    """Cubic B-splines of an even grid at even points, ``(points, coefficients)``."""
    place = torch.linspace(0, 1, points, dtype=torch.float64) * (coefficients - 3)
    away = (place.unsqueeze(1) - (torch.arange(coefficients, dtype=torch.float64) - 1)).abs()
    inner = 2 / 3 - away.square() + away**3 / 2
    return torch.where(away < 1, inner, torch.where(away < 2, (2 - away) ** 3 / 6, 0.0))


def _bend_gradient(values: Tensor, reach: float) -> Tensor:
    """Gradient of the total change of slope, of a curve and inputs in units of their standard deviations.

    The second-order total variation of Unser 2019 (arXiv:1802.09210), of which few and clear bends are left.
    """
    sign = torch.sign(values[2:] - 2 * values[1:-1] + values[:-2])
    sign = sign * (len(values) - 1) / (2 * reach)
    gradient = torch.zeros_like(values)
    gradient[2:] += sign
    gradient[1:-1] -= 2 * sign
    gradient[:-2] += sign
    return gradient
