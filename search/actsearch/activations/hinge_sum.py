"""A function as a sum of a few hinges: what it costs to write a smooth activation with ReLUs alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from actsearch.activations.build import activation, describe
from actsearch.activations.function import curve
from actsearch.activations.module import Activation
from actsearch.checks import check_integer
from actsearch.errors import ActivationError, FormulaError
from actsearch.expression import Call, Expression, Limits, Number, X

__all__ = ["HingeSum", "approximate", "count_hinges"]

_POINTS = 601  # grid on which the fit is made; twice as many take four times as long
_CHECKED = 6001  # grid on which its error is stated
_MOST = 32
_CLOSE = 1e-6  # of the least error: how exactly it is found
_EXACT = 1e-12  # error, as a share of the function's scale, that counts as none
_DIGITS = 10  # of the numbers in the formula
_NOTHING = 1e-9  # a term that adds at most this share of the function's scale is left out
_SLIGHT = 1e-5  # or this share of the error

Array = npt.NDArray[np.float64]
_SIGNS = (1.0, -1.0)  # of what lies above the bottom and below the top
_Vertex = tuple[float, float]  # of a polygon of lines: height at the origin and slope


class _Line(NamedTuple):
    """x -> height + slope (x - origin)."""

    origin: float
    height: float
    slope: float

    def at(self, x: float) -> float:
        """Height at x."""
        return self.height + self.slope * (x - self.origin)


@dataclass(frozen=True)
class HingeSum:
    """``a + b x + sum_i c_i relu(x - t_i)`` as a fit of some function on an interval.

    Attributes:
        formula: the sum as text for ``acs.parse``.
        max_error: largest absolute difference on the interval, on 6,001 even points.
        knots: the t_i, increasing.
        interval: where it was fitted; outside, it goes on as straight lines.

    Example:
        >>> acs.approximate("abs", hinges=1).formula
        '-x + 2 * relu(x)'
    """

    formula: str
    max_error: float
    knots: tuple[float, ...]
    interval: tuple[float, float]

    def module(self) -> Activation:
        """The sum as a torch module."""
        return activation(self.formula)


def approximate(
    what: Any, hinges: SupportsIndex = 4, interval: tuple[float, float] = (-6.0, 6.0)
) -> HingeSum:
    """Fit a sum of hinges (ReLUs) and an affine part with the smallest largest error.

    It is the smallest for the polygon through 601 even points of the function: the narrowest band around it in which
    ``hinges + 1`` straight lines follow each other, by bisection, each line going as far as it can (Imai & Iri 1986).
    More hinges are never further from that polygon. The function itself may differ from it between the points: where
    it jumps, or winds within 1/600 of the interval, no fit is close and more hinges may even be further off.

    Args:
        what: as for :func:`actsearch.activation`; learned parameters at their start.
        hinges: number of hinges at most, 1 to 32; fewer come back where they do as well.
        interval: where the error counts; both ends within 1e9 of 0.

    Raises:
        ActivationError: not a function of one number, not finite on the interval, or arguments out of range.

    Example:
        >>> fit = acs.approximate("sigmoid", hinges=4)
        >>> len(fit.knots), round(fit.max_error, 3)
        (4, 0.01)
    """
    count = check_integer("hinges", hinges, ActivationError, low=1, high=_MOST)
    low, high = _check_interval(interval)
    fitted = curve(what, low, high, _POINTS)
    label = describe(what).label
    if not np.isfinite(fitted.y).all():
        raise ActivationError(
            f"{label} is not finite everywhere on [{low:g}, {high:g}]: choose another interval"
        )
    lines, error = _find_best_path(fitted.x, fitted.y, count + 1)
    nothing = max(_NOTHING * float(np.abs(fitted.y).max()), _SLIGHT * error)
    try:
        tree, knots = _write_sum(lines, low, high, nothing)
    except FormulaError:
        raise ActivationError(
            f"{label} on [{low:g}, {high:g}] needs numbers beyond {Limits.NUMBER:g}, which no formula may hold: "
            "choose a narrower interval"
        ) from None
    check = curve(what, low, high, _CHECKED)
    error = np.abs(check.y - curve(tree, low, high, _CHECKED).y).max()
    return HingeSum(str(tree), float(error), knots, (low, high))


def count_hinges(what: Any, error: float, interval: tuple[float, float]) -> int:
    """The fewest hinges within an error of the polygon through 601 even points; 33 where 32 are not enough.

    One pass, where :func:`approximate` looks for the least error by bisection.

    Raises:
        ActivationError: not a function of one number, or not finite on the interval.
    """
    low, high = _check_interval(interval)
    fitted = curve(what, low, high, _POINTS)
    if not np.isfinite(fitted.y).all():
        raise ActivationError(
            f"{describe(what).label} is not finite everywhere on [{low:g}, {high:g}]"
        )
    path = _find_path(fitted.x, fitted.y, error, _MOST + 1)
    return _MOST + 1 if path is None else len(path) - 1


def _check_interval(interval: Any) -> tuple[float, float]:
    """Both ends of the interval."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise ActivationError(
            f"interval must be two numbers (low, high), not {interval!r}"
        ) from None
    if not -Limits.NUMBER <= low < high <= Limits.NUMBER:
        raise ActivationError(
            f"interval must be (low, high) with low < high, both within {Limits.NUMBER:g} of 0, not {interval!r}"
        )
    if not (np.diff(np.linspace(low, high, _CHECKED)) > 0).all():
        raise ActivationError(f"interval {interval!r} is too narrow to tell its points apart")
    return low, high


def _find_best_path(x: Array, y: Array, most: int) -> tuple[list[_Line], float]:
    """At most so many lines, each meeting the next, with the smallest largest error, and that error."""
    below, above = 0.0, float(np.ptp(y)) / 2 * (1 + 1e-6)  # a constant does with half the range
    best = [_Line(float(x[0]), float(y.max() + y.min()) / 2, 0.0)]
    exact = _EXACT * float(np.abs(y).max())
    while above - below > max(_CLOSE * above, exact):
        error = max((below + above) / 2 if below else above / 16, exact / 2)
        if (path := _find_path(x, y, error, most)) is None:
            below = error
        else:
            best, above = path, error
    return best, above


def _find_path(x: Array, y: Array, error: float, most: int) -> list[_Line] | None:
    """At most so many lines, each meeting the next, within the error of the polygon through the points.

    None if that takes more. A line that can go no further leaves the band through its top or its bottom. The lowest
    or highest of those that came so far touches the other edge last at some point; between this point and its exit,
    the next line takes over.
    """
    points = x.tolist()
    edges = ((y - error).tolist(), (y + error).tolist())  # bottom, top
    starts = [0, 0]  # where each edge begins to bound the line
    lines: list[_Line] = []
    left: tuple[float, float] | None = None  # where the line before left the band
    side = 0
    while len(lines) < most:
        line, end, side = _extend_line(points, edges, starts, left, side)
        lines.append(line)
        if end == len(points):
            return lines
        other = edges[1 - side]
        held = range(starts[1 - side], end)
        touch = min(held, key=lambda index: (abs(line.at(points[index]) - other[index]), -index))
        left = _find_exit(line, points, edges[side], end)
        starts[1 - side], starts[side] = touch, end
    return None


def _find_exit(line: _Line, x: list[float], edge: list[float], end: int) -> tuple[float, float]:
    """Where a line crosses an edge of the band just before a point."""
    inside, outside = (abs(line.at(x[index]) - edge[index]) for index in (end - 1, end))
    crossing = x[end - 1] + (x[end] - x[end - 1]) * inside / (inside + outside)
    return crossing, line.at(crossing)


def _extend_line(
    x: list[float],
    edges: tuple[list[float], list[float]],
    starts: list[int],
    left: tuple[float, float] | None,
    side: int,
) -> tuple[_Line, int, int]:
    """The line that goes furthest within the edges, where it fails, and at which edge: 0 bottom, 1 top.

    The lines that fit so far are a convex polygon in (height, slope), from which each point cuts two half-planes.
    At the point where the line before left the band through a side, the new one must be within.
    """
    first, origin = min(starts), x[max(starts)]
    top, bottom = max(edges[1]), min(edges[0])
    steepest = 4 * (top - bottom) / (x[1] - x[0])
    tallest = 4 * (abs(top) + abs(bottom) + steepest * (origin - x[first]))
    fit: list[_Vertex] = [
        (-tallest, -steepest),
        (tallest, -steepest),
        (tallest, steepest),
        (-tallest, steepest),
    ]
    if left is not None:
        fit = _clip(fit, left[0] - origin, left[1], _SIGNS[side])
    for index in range(first, len(x)):
        run = x[index] - origin
        for side, sign in enumerate(_SIGNS):
            if index < starts[side]:
                continue
            kept = _clip(fit, run, edges[side][index], sign)
            if not kept:
                height, slope = max(fit, key=lambda line: sign * (line[0] + line[1] * run))
                return _Line(origin, height, slope), index, side
            fit = kept
    height, slope = (sum(values) / len(fit) for values in zip(*fit, strict=True))
    return _Line(origin, height, slope), len(x), 0


def _clip(lines: list[_Vertex], run: float, bound: float, sign: float) -> list[_Vertex]:
    """The part of a convex polygon of lines that is above (sign 1) or below (-1) a bound after some run."""
    over = [sign * (height + slope * run - bound) for height, slope in lines]
    if min(over) >= 0:
        return lines
    if max(over) < 0:
        return []
    kept: list[_Vertex] = []
    for index, line in enumerate(lines):
        before, after = over[index - 1], over[index]
        if (before < 0) != (after < 0):
            share = before / (before - after)
            height, slope = lines[index - 1]
            kept.append((height + share * (line[0] - height), slope + share * (line[1] - slope)))
        if after >= 0:
            kept.append(line)
    return kept


def _write_sum(
    lines: list[_Line], low: float, high: float, nothing: float
) -> tuple[Expression, tuple[float, ...]]:
    """The path as a formula, without terms that change next to nothing, and its knots."""
    constant, slope = _round(lines[0].at(0.0)), _round(lines[0].slope)
    terms: list[tuple[float, Expression | None]] = []
    if abs(constant) > nothing:
        terms.append((constant, None))
    if abs(slope) * max(abs(low), abs(high)) > nothing:
        terms.append((slope, X))
    knots: list[float] = []
    for before, after in pairwise(lines):
        weight = _round(after.slope - before.slope)
        if abs(weight) * (high - low) > nothing:
            knots.append(_round(_intersect(before, after), nothing / abs(weight)))
            terms.append((weight, Call("relu", (_shift(knots[-1]),))))
    return _add_terms(terms), tuple(knots)


def _intersect(before: _Line, after: _Line) -> float:
    """Where two lines meet."""
    rise = before.at(after.origin) - after.height
    return after.origin + rise / (after.slope - before.slope)


def _round(value: float, nothing: float = 0.0) -> float:
    """To as many digits as the formula shows; what is nearly zero becomes zero."""
    return 0.0 if abs(value) <= nothing else float(f"{value:.{_DIGITS}g}")


def _shift(knot: float) -> Expression:
    """x - knot."""
    if knot == 0:
        return X
    return Call("sub", (X, Number(knot))) if knot > 0 else Call("add", (X, Number(-knot)))


def _add_terms(terms: list[tuple[float, Expression | None]]) -> Expression:
    """Sum of weighted terms as one would write it; a weight without a term is a number."""
    tree: Expression | None = None
    for weight, term in terms:
        size = weight if tree is None else abs(weight)
        part = Number(size) if term is None else _multiply(size, term)
        tree = part if tree is None else Call("add" if weight > 0 else "sub", (tree, part))
    return Number(0.0) if tree is None else tree


def _multiply(weight: float, term: Expression) -> Expression:
    if abs(weight) == 1:
        return term if weight > 0 else Call("neg", (term,))
    return Call("mul", (Number(weight), term))
