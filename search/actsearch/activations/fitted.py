"""Learned forms whose start is fitted to another function: their formulas, with start values put in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from actsearch.activation_catalog import CATALOG, Value
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Number, Parameter, X

__all__ = ["fitted_expression"]

Array = npt.NDArray[np.float64]
Target = Callable[[str], tuple[Array, Array]]
"""Name of a function -> points x and its values there."""

_TOLERANCE = 0.2  # a start further off than this share of the function's scale does not count as a start from it


def fitted_expression(name: str, values: Mapping[str, Value], target: Target) -> Expression:
    """The formula of a fitted catalog row.

    Args:
        name: "rational", "piecewise_linear" or "mixture".
        values: the row's hyperparameters, complete.
        target: samples the function to start from.

    Raises:
        ActivationError: if the start is not a suitable function, or the fit fails.
    """
    return _WRITERS[name](values, target)


def _rational(values: Mapping[str, Value], target: Target) -> Expression:
    """P(x) / (1 + |Q(x)|) by least squares from the polynomial fit; x |-> Q(x) has no constant term."""
    from scipy import optimize  # loads as much as the rest of the engine: only when needed

    above, below = int(values["numerator"]), int(values["denominator"])
    x, y = target(str(values["start"]))
    scale = float(np.abs(y).max()) or 1.0

    def residual(coefficients: Array) -> Array:
        top = np.polynomial.polynomial.polyval(x, coefficients[: above + 1])
        bottom = x * np.polynomial.polynomial.polyval(x, coefficients[above + 1 :])
        difference: Array = top / (1 + np.abs(bottom)) - y
        return difference

    start = np.polynomial.polynomial.polyfit(x, y, above)
    fits = []
    for size in (0.05, 0.5, 2.0):  # the problem has several minima
        for place in range(min(2, below)):
            small = np.zeros(below)
            small[place] = size
            first = np.concatenate([start, small])
            fits.append(optimize.least_squares(residual, first, max_nfev=200))
    best = min(fits, key=lambda fit: float(np.abs(fit.fun).max()))
    _check(best.fun, scale, f"rational({above}/{below})", str(values["start"]))
    per = str(values["per"])
    top = _horner(best.x[: above + 1], per)
    bottom = Call("mul", (_horner(best.x[above + 1 :], per), X))
    return Call("div", (top, Call("add", (Number(1), Call("abs", (bottom,))))))


def _horner(coefficients: Array, per: str) -> Expression:
    """c0 + x * (c1 + x * (...)), each coefficient a parameter."""
    *lower, last = (_parameter(value, per) for value in coefficients)
    tree: Expression = last
    for parameter in reversed(lower):
        tree = Call("add", (parameter, Call("mul", (tree, X))))
    return tree


def _piecewise_linear(values: Mapping[str, Value], target: Target) -> Expression:
    """a + b x + sum_i c_i relu(x - t_i), t_i even on [-3, 3]: linear least squares."""
    x, y = target(str(values["start"]))
    places = np.linspace(-3, 3, int(values["knots"]))
    columns = np.column_stack([np.ones_like(x), x, np.maximum(x[:, None] - places, 0)])
    solution = np.linalg.lstsq(columns, y, rcond=None)[0]
    _check(
        columns @ solution - y, float(np.abs(y).max()), "piecewise_linear", str(values["start"])
    )
    per = str(values["per"])
    constant, slope, *bends = (_parameter(value, per) for value in solution)
    tree: Expression = Call("add", (constant, Call("mul", (slope, X))))
    for place, bend in zip(places, bends, strict=True):
        hinge = Call("relu", (Call("sub", (X, Number(round(float(place), 6)))),))
        tree = Call("add", (tree, Call("mul", (bend, hinge))))
    return tree


def _mixture(values: Mapping[str, Value], target: Target) -> Expression:
    """w1 f1(x) + ... + wn fn(x), starting at f1."""
    names = [name.strip() for name in str(values["members"]).split(",") if name.strip()]
    wanted = "members must be 2 to 8 different catalog names, such as members='relu, tanh'"
    if unknown := [name for name in names if name not in CATALOG]:
        raise ActivationError(f"mixture: {wanted}; there is no {unknown[0]!r}")
    rows = [CATALOG[name] for name in names]
    if not 2 <= len(rows) <= 8 or len({row.name for row in rows}) != len(rows):
        raise ActivationError(f"mixture: {wanted}, not {values['members']!r}")
    parts = []
    for index, row in enumerate(rows):
        if not row.elementwise or row.fitted or row.random or row.straight_through:
            raise ActivationError(
                f"mixture: {row.name} has no plain formula to be mixed; leave it out of members"
            )
        weight = _parameter(1.0 if index == 0 else 0.0, str(values["per"]))
        parts.append(Call("mul", (weight, row.expression(row.bind({})))))
    return functools.reduce(lambda left, right: Call("add", (left, right)), parts)


def _parameter(value: float, per: str) -> Parameter:
    return Parameter(round(float(value), 8), "channel" if per == "channel" else "tensor")


def _check(residual: Array, scale: float, what: str, start: str) -> None:
    error = float(np.abs(residual).max())
    if not error <= _TOLERANCE * scale:
        raise ActivationError(
            f"{what} cannot start as {start}: the fit is off by {error:.3g} on [-3, 3]; "
            "take more coefficients or knots, or another start"
        )


_WRITERS: dict[str, Callable[[Mapping[str, Value], Target], Expression]] = {
    "rational": _rational,
    "piecewise_linear": _piecewise_linear,
    "mixture": _mixture,
}
