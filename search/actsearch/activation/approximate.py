"""The best sum of a few hinges for a function: what it costs to write a smooth activation with ReLUs alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from actsearch.activation.build import activation, describe
from actsearch.activation.function import curve
from actsearch.activation.module import Activation
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Number, X

__all__ = ["HingeSum", "approximate"]

_POINTS = 601  # grid on which the fit is made
_CHECKED = 6001  # grid on which its error is stated
_MOST = 32

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HingeSum:
    """``a + b x + sum_i c_i relu(x - t_i)`` as a fit of some function on an interval.

    Attributes:
        formula: the sum as text for ``acs.parse``.
        max_error: largest absolute difference on the interval, on 6,001 even points.
        knots: the t_i, increasing.
        interval: where it was fitted; outside, it goes on as straight lines.
    """

    formula: str
    max_error: float
    knots: tuple[float, ...]
    interval: tuple[float, float]

    def module(self) -> Activation:
        """The sum as a torch module."""
        return activation(self.formula)


def approximate(
    what: Any, hinges: int = 4, interval: tuple[float, float] = (-6.0, 6.0)
) -> HingeSum:
    """Fit a sum of hinges (ReLUs) and an affine part with the smallest largest error.

    For given knots the minimax fit is a linear program (scipy's HiGHS); the knots start where the curvature is, evenly
    in the integral of its square root (de Boor 1978), and are then moved by Nelder-Mead.

    Args:
        what: as for :func:`actsearch.activation`; learned parameters at their start.
        hinges: number of hinges, 1 to 32.
        interval: where the error counts.

    Raises:
        ActivationError: not a function of one number, not finite on the interval, or arguments out of range.
    """
    if isinstance(hinges, bool) or not isinstance(hinges, int) or not 1 <= hinges <= _MOST:
        raise ActivationError(f"hinges must be an integer from 1 to {_MOST}, not {hinges!r}")
    low, high = (float(end) for end in interval)
    if not low < high or not np.isfinite([low, high]).all():
        raise ActivationError(f"interval must be (low, high) with low < high, not {interval!r}")
    fitted = curve(what, low, high, _POINTS)
    if not np.isfinite(fitted.y).all():
        raise ActivationError(
            f"{describe(what).label} is not finite everywhere on [{low:g}, {high:g}]"
        )

    def error(knots: Array) -> float:
        if np.diff(np.concatenate([[low], knots, [high]])).min() <= 0:
            return float("inf")
        # rounded, so that among fits that are exact on the grid the first, with knots on it, is kept
        return round(_minimax(fitted.x, fitted.y, knots)[1], 8)

    starts = (_kinks(fitted.x, fitted.dy, hinges), _equidistributed(fitted.x, fitted.dy, hinges))
    start = min(starts, key=error)
    found = optimize.minimize(
        error,
        start,
        method="Nelder-Mead",
        options={"maxfev": 120 * hinges, "xatol": 1e-3 * (high - low) / hinges, "fatol": 1e-7},
    )
    best = min((start, found.x), key=error)
    tree = _tree(_minimax(fitted.x, fitted.y, best)[0], best)
    check = curve(what, low, high, _CHECKED)
    off = np.abs(check.y - curve(tree, low, high, _CHECKED).y).max()
    return HingeSum(str(tree), float(off), tuple(float(knot) for knot in best), (low, high))


def _equidistributed(x: Array, slope: Array, hinges: int) -> Array:
    """Knots that share out the integral of sqrt(|f''|); evenly where there is no curvature."""
    density = np.sqrt(np.abs(np.gradient(slope, x))) + 1e-3
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    shares = np.arange(1, hinges + 1) / (hinges + 1)
    knots: Array = np.interp(shares * mass[-1], mass, x)
    return knots


def _kinks(x: Array, slope: Array, hinges: int) -> Array:
    """Where the slope jumps most: the exact knots of a function that is piecewise linear itself."""
    jumps = np.abs(np.diff(slope))[1:-1]
    largest = np.argsort(-jumps, kind="stable")[:hinges]
    knots: Array = np.sort(x[largest + 1])
    return knots


def _minimax(x: Array, y: Array, knots: Array) -> tuple[Array, float]:
    """Coefficients of 1, x and each hinge with the smallest largest error at the points, and that error."""
    columns = np.column_stack([np.ones_like(x), x, np.maximum(x[:, None] - knots, 0)])
    bound = np.ones((len(x), 1))
    result = optimize.linprog(
        c=np.concatenate([np.zeros(columns.shape[1]), [1.0]]),
        A_ub=np.block([[columns, -bound], [-columns, -bound]]),
        b_ub=np.concatenate([y, -y]),
        bounds=(None, None),
        method="highs",
    )
    if result.x is None:
        return np.zeros(columns.shape[1]), float("inf")
    return result.x[:-1], float(result.x[-1])


def _tree(coefficients: Array, knots: Array) -> Expression:
    constant, slope, *weights = (Number(round(float(value), 10)) for value in coefficients)
    tree: Expression = Call("add", (constant, Call("mul", (slope, X))))
    for weight, knot in zip(weights, knots, strict=True):
        moved = Call("sub", (X, Number(round(float(knot), 10))))
        tree = Call("add", (tree, Call("mul", (weight, Call("relu", (moved,))))))
    return tree
