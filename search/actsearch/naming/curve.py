"""The curve that is to be named: where it was learned, how often inputs came there, and what a function leaves over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from actsearch.errors import ActivationError
from actsearch.naming.functions import Numbers

__all__ = ["EXACT", "Curve", "read_curve"]

EXACT = 1e-13
"""Share of the variance below which a function is the curve: single precision leaves about that much."""

_FEWEST = 8  # points; a form with its four constants goes through fewer almost by itself
_REACH = 10.0
_LARGEST_PART = 300.0  # in standard deviations of the curve; see ``Curve.compare``


@dataclass(frozen=True)
class Curve:
    """Values at points, under a density.

    Attributes:
        x: inputs, ascending; (points,).
        y: values there; (points,).
        weights: share of the inputs that arrived there; (points,), sum 1.
    """

    x: Numbers
    y: Numbers
    weights: Numbers

    @cached_property
    def mean(self) -> float:
        """Of the values, under the density."""
        return float(self.weights @ self.y)

    @cached_property
    def centred(self) -> Numbers:
        """The values less their mean; (points,)."""
        return self.y - self.mean

    @cached_property
    def variance(self) -> float:
        """Of the values, under the density."""
        return float(self.weights @ self.centred**2)

    @cached_property
    def centre(self) -> float:
        """Mean of the inputs."""
        return float(self.weights @ self.x)

    @cached_property
    def width(self) -> float:
        """Standard deviation of the inputs."""
        return float(np.sqrt(self.weights @ (self.x - self.centre) ** 2))

    @cached_property
    def reach(self) -> float:
        """Largest size of a constant in a formula for it: beyond, it is a step or a straight line in disguise.

        For inputs of mean 0 and deviation 1 it is ``_REACH``; slopes for narrow inputs and offsets for those far from
        0 may be larger.
        """
        narrow = max(1.0, 1 / self.width)
        return _REACH * max(narrow, self.width) + 2 * abs(self.centre) * narrow

    def scale(self, values: Numbers) -> tuple[Numbers, Numbers]:
        """Factors and offsets with which rows of values come nearest to the curve; (rows, points) -> (rows,) twice."""
        means = values @ self.weights
        centred = values - means[:, None]
        squares = (centred * centred) @ self.weights
        factors = ((centred * self.weights) @ self.centred) / np.where(squares > 0, squares, 1.0)
        return factors, self.mean - factors * means

    def compare(self, values: Numbers) -> Numbers:
        """Share of the variance that rows of values leave over after their best factor and offset; (rows,).

        1 for rows that are not finite or constant, and for those that are large numbers whose small difference is the
        curve, as ``1e5 * cos(0.01 * x)`` is for a parabola: rounding would be seen, and nobody would call it a name.
        """
        factors, offsets = self.scale(values)
        rest = values * factors[:, None] + (offsets[:, None] - self.y)
        shares = ((rest * rest) @ self.weights) / self.variance
        largest = np.abs(values).max(axis=1) * np.abs(factors)
        fine = np.isfinite(shares) & (largest < _LARGEST_PART * np.abs(self.centred).max())
        return np.where(fine, np.minimum(shares, 1.0), 1.0)


def read_curve(
    x: Sequence[float] | Numbers, y: Sequence[float] | Numbers, weights: Sequence[float] | Numbers
) -> Curve:
    """Check and order the points.

    Raises:
        ActivationError: lengths differ, fewer than 8 points that count, values that are not finite or all alike, equal
            inputs, weights that are negative or all 0.
    """
    columns = [np.array(item, dtype=np.float64) for item in (x, y, weights)]
    if any(column.ndim != 1 or column.shape != columns[0].shape for column in columns):
        raise ActivationError(
            "a curve needs as many values and weights as points, each as a list of numbers"
        )
    if not all(np.isfinite(column).all() for column in columns):
        raise ActivationError(
            "a curve with values, points or weights that are not finite cannot be named"
        )
    order = np.argsort(columns[0], kind="stable")
    points, values, shares = (column[order] for column in columns)
    if (shares < 0).any() or not shares.sum() > 0:
        raise ActivationError("the weights of a curve must not be negative, nor all 0")
    if np.count_nonzero(shares) < _FEWEST:
        raise ActivationError(
            f"a curve needs at least {_FEWEST} points with a weight to be named, not {np.count_nonzero(shares)}"
        )
    if (np.diff(points) <= 0).any():
        raise ActivationError("two points of a curve lie at the same place")
    curve = Curve(points, values, shares / shares.sum())
    size = float(np.abs(values).max())
    if not curve.variance > (1e-9 * size) ** 2:
        raise ActivationError(
            "the curve is constant where inputs arrive: there is nothing to name"
        )
    return curve
