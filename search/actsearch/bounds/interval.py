"""Many intervals at once, each wide enough to hold what exact arithmetic would give.

After each step both ends are moved outwards by more than the step can have rounded, as in Moore, Kearfott and Cloud,
*Introduction to Interval Analysis* (2009), ch. 2. What has no value becomes the whole line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Interval", "around", "hull"]

Array = npt.NDArray[np.float64]

_ARITHMETIC = 2.0**-52  # a step of IEEE arithmetic rounds by half of this share
_SMALLEST = 1e-300  # below it, numbers have fewer digits


@dataclass(frozen=True)
class Interval:
    """Lower and upper ends, of one shape; ends may be infinite."""

    low: Array
    high: Array

    @classmethod
    def of(cls, low: Any, high: Any, share: float = _ARITHMETIC) -> Interval:
        """Moved outwards by a share of each end; the whole line where an end is NaN."""
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            low = low - np.abs(low) * share - _SMALLEST
            high = high + np.abs(high) * share + _SMALLEST
        unknown = np.isnan(low) | np.isnan(high)
        return cls(np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high))

    @classmethod
    def point(cls, value: float, like: Array) -> Interval:
        """One number for each of the others."""
        whole = np.full_like(like, value)
        return cls(whole, whole)

    @property
    def magnitude(self) -> Array:
        """The largest absolute value in each."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def width(self) -> Array:
        """Upper less lower end."""
        with np.errstate(invalid="ignore"):
            return np.where(self.low == self.high, 0.0, self.high - self.low)

    def contains(self, value: float) -> npt.NDArray[np.bool_]:
        """Which of them hold a number."""
        return (self.low <= value) & (value <= self.high)

    def __add__(self, other: Interval) -> Interval:
        with np.errstate(invalid="ignore"):
            return Interval.of(self.low + other.low, self.high + other.high)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __sub__(self, other: Interval) -> Interval:
        return self + (-other)

    def __mul__(self, other: Interval) -> Interval:
        corners = [_product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval.of(np.minimum.reduce(corners), np.maximum.reduce(corners))

    def reciprocal(self) -> Interval:
        """1 / x; the whole line where 0 is inside."""
        with np.errstate(divide="ignore"):
            low, high = 1 / self.high, 1 / self.low
        crosses = self.contains(0.0)
        return Interval.of(np.where(crosses, -np.inf, low), np.where(crosses, np.inf, high))

    def where(self, chosen: npt.NDArray[np.bool_], other: Interval) -> Interval:
        """These where it is true, the others elsewhere."""
        return Interval(
            np.where(chosen, self.low, other.low), np.where(chosen, self.high, other.high)
        )

    def meet(self, other: Interval) -> Interval:
        """What two enclosures of the same numbers have in common."""
        return Interval(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


def hull(*parts: Interval) -> Interval:
    """The smallest interval around several."""
    return Interval(
        np.minimum.reduce([part.low for part in parts]),
        np.maximum.reduce([part.high for part in parts]),
    )


def _product(a: Array, b: Array) -> Array:
    """a b, where 0 times infinity, an end that is never reached, is 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def around(
    function: Callable[[Array], Array], x: Interval, turns: tuple[float, ...], share: float
) -> Interval:
    """The range of a function that is monotone between the given points."""
    with np.errstate(all="ignore"):
        ends = [function(x.low), function(x.high)]
        middle = [
            np.where(x.contains(turn), function(np.full_like(x.low, turn)), ends[0])
            for turn in turns
        ]
    values = [*ends, *middle]
    return Interval.of(np.minimum.reduce(values), np.maximum.reduce(values), share)
