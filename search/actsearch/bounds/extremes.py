"""Sure bounds of a formula on an interval, by dividing it where they are not close yet.

On each part, values lie within the natural extension, and within the mean value form f(m) + F'(X) (X - m) (Moore et
al. 2009, ch. 6), whose excess shrinks with the square of the width. Parts whose bound may still be the largest are
halved until it is nearly reached at some point, or they are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from actsearch.bounds.enclosure import enclose
from actsearch.bounds.interval import Array, Interval
from actsearch.expression import Expression

__all__ = ["Bound", "bound_magnitude", "bound_slope", "bound_values", "enclose_values"]

_FIRST = 512  # parts
_MOST = 60_000  # parts that are looked at once; then the bound is what it is
_CLOSE = 1e-3  # share of the largest value reached by which the bound may exceed it
_EXACT = 1e-12
_NARROWEST = 1e-13  # share of the interval


@dataclass(frozen=True)
class Bound:
    """The largest value of something on an interval.

    Attributes:
        at_most: no value is larger; infinite where nothing is known.
        reached: a value, at ``point``; ``at_most`` is rarely much larger.
        point: where it is reached.
        doubtful: middle of the part that ``at_most`` comes from.
    """

    at_most: float
    reached: float
    point: float
    doubtful: float


def bound_magnitude(tree: Expression, low: float, high: float) -> Bound:
    """The largest |f(x)|."""
    return _search(tree, low, high, lambda parts, x: enclose_values(parts, x).magnitude)


def bound_values(tree: Expression, low: float, high: float) -> tuple[Bound, Bound]:
    """The largest f(x), and the largest -f(x)."""
    return (
        _search(tree, low, high, lambda parts, x: enclose_values(parts, x).high),
        _search(tree, low, high, lambda parts, x: -enclose_values(parts, x).low),
    )


def bound_slope(
    tree: Expression, low: float, high: float, *, close: float = _CLOSE
) -> tuple[Bound, Bound]:
    """The largest f'(x), and the largest -f'(x), one-sided ones too; ``close`` says how near the bounds should be."""
    return (
        _search(tree, low, high, lambda parts, x: enclose(parts, x).slopes.high, close),
        _search(tree, low, high, lambda parts, x: -enclose(parts, x).slopes.low, close),
    )


def enclose_values(tree: Expression, x: Interval) -> Interval:
    """The natural extension, and the mean value form where that is closer."""
    natural = enclose(tree, x)
    middle = (x.low + x.high) / 2
    centre = enclose(tree, Interval(middle, middle)).values
    mean = centre + natural.slopes * (x - Interval(middle, middle))
    return natural.values.meet(mean)


def _search(
    tree: Expression,
    low: float,
    high: float,
    measure: Callable[[Expression, Interval], Array],
    close: float = _CLOSE,
) -> Bound:
    edges = np.linspace(low, high, _FIRST + 1)
    if low < 0 < high:  # where piecewise changes sides
        edges = np.unique(np.append(edges, 0.0))
    parts = Interval(edges[:-1], edges[1:])
    narrowest = (high - low) * _NARROWEST
    settled, settled_at = -np.inf, low
    reached, point = -np.inf, low
    while True:
        bounds = measure(tree, parts)
        middles = (parts.low + parts.high) / 2
        at_middles = measure(tree, Interval(middles, middles))
        best = int(np.argmax(at_middles))
        if at_middles[best] > reached:
            reached, point = float(at_middles[best]), float(middles[best])
        target = reached + max(close * abs(reached), _EXACT)
        opened = (bounds > target) & (parts.high - parts.low > narrowest)
        if int(opened.sum()) * 2 > _MOST:
            opened[:] = False
        rest = bounds[~opened]
        if rest.size and rest.max() > settled:
            settled = float(rest.max())
            settled_at = float(middles[~opened][int(np.argmax(rest))])
        if not opened.any():
            return Bound(max(settled, reached), reached, point, settled_at)
        left, right, cut = parts.low[opened], parts.high[opened], middles[opened]
        parts = Interval(np.concatenate([left, cut]), np.concatenate([cut, right]))
