"""A formula's values and slopes over many intervals of x at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from actsearch.bounds.functions import FUNCTIONS
from actsearch.bounds.interval import Interval, hull
from actsearch.errors import FormulaError
from actsearch.expression import Call, Expression, Number, Parameter, Variable

__all__ = ["Enclosure", "enclose"]


@dataclass(frozen=True)
class Enclosure:
    """What a formula does on each of some intervals.

    Attributes:
        values: hold every value.
        slopes: hold every slope between two points of the interval (the generalised gradient of Clarke), and so the
            derivative where there is one; the whole line around a jump.
    """

    values: Interval
    slopes: Interval

    def __neg__(self) -> Enclosure:
        return Enclosure(-self.values, -self.slopes)

    def __add__(self, other: Enclosure) -> Enclosure:
        return Enclosure(self.values + other.values, self.slopes + other.slopes)

    def __mul__(self, other: Enclosure) -> Enclosure:
        if self is other:  # a square: its ends belong to one number
            return self.apply("square")
        return Enclosure(
            self.values * other.values, self.slopes * other.values + self.values * other.slopes
        )

    def apply(self, name: str) -> Enclosure:
        """A function of one argument on it, by the chain rule."""
        row = FUNCTIONS[name]
        return Enclosure(row.values(self.values), row.slopes(self.values) * self.slopes)

    def reciprocal(self) -> Enclosure:
        """1 over it."""
        inverse = self.values.reciprocal()
        square = FUNCTIONS["square"].values(inverse)
        return Enclosure(inverse, -(square * self.slopes))

    def power(self, exponent: float) -> Enclosure:
        """A fixed power."""
        if exponent == int(exponent) and abs(exponent) <= _LARGEST_POWER:
            return _integer_power(self, int(exponent))
        positive = self.values.low > 0
        whole = Interval(
            np.full_like(self.values.low, -np.inf), np.full_like(self.values.low, np.inf)
        )
        with np.errstate(all="ignore"):
            ends = [np.power(end, exponent) for end in (self.values.low, self.values.high)]
            edges = [
                exponent * np.power(end, exponent - 1)
                for end in (self.values.low, self.values.high)
            ]
        share = 1e-13
        values = Interval.of(np.minimum(*ends), np.maximum(*ends), share).where(positive, whole)
        slopes = Interval.of(np.minimum(*edges), np.maximum(*edges), share).where(positive, whole)
        return Enclosure(values, slopes * self.slopes)


_LARGEST_POWER = 64


def _integer_power(base: Enclosure, exponent: int) -> Enclosure:
    """Monotone on either side of 0; the slope is a power of one less."""
    if exponent < 0:
        return _integer_power(base, -exponent).reciprocal()
    if exponent == 0:
        one, zero = (Interval.point(number, base.values.low) for number in (1.0, 0.0))
        return Enclosure(one, zero)
    return Enclosure(
        _range_of_power(base.values, exponent),
        Interval.point(float(exponent), base.values.low)
        * _range_of_power(base.values, exponent - 1)
        * base.slopes,
    )


def _range_of_power(x: Interval, exponent: int) -> Interval:
    with np.errstate(all="ignore"):
        low, high = x.low**exponent, x.high**exponent
    bottom, top = np.minimum(low, high), np.maximum(low, high)
    if exponent and exponent % 2 == 0:
        bottom = np.where(x.contains(0.0), 0.0, bottom)
    return Interval.of(bottom, top, 1e-14)


def enclose(tree: Expression, x: Interval) -> Enclosure:
    """Values and slopes of a formula on intervals of x, learned numbers at their start.

    A jump or kink of ``piecewise`` at 0 is met only by intervals with 0 inside; those that end there are of one side.

    Raises:
        FormulaError: an operator of which no bound is known.
    """
    return _Encloser(x).enclose(tree)


class _Encloser:
    def __init__(self, x: Interval) -> None:
        self._x = x
        self._known: dict[Expression, Enclosure] = {}

    def enclose(self, tree: Expression) -> Enclosure:
        if tree not in self._known:
            self._known[tree] = self._compute(tree)
        return self._known[tree]

    def _compute(self, tree: Expression) -> Enclosure:
        if isinstance(tree, Variable):
            return Enclosure(self._x, Interval.point(1.0, self._x.low))
        if isinstance(tree, (Number, Parameter)):
            value = tree.value if isinstance(tree, Number) else tree.init
            return Enclosure(Interval.point(value, self._x.low), Interval.point(0.0, self._x.low))
        assert isinstance(tree, Call)
        if tree.operator == "pow":
            return self._power(tree)
        arguments = [self.enclose(argument) for argument in tree.arguments]
        if tree.operator == "piecewise":
            return self._piecewise(*arguments)
        if tree.operator in FUNCTIONS:
            return arguments[0].apply(tree.operator)
        if tree.operator not in _SEVERAL:
            raise FormulaError(f"no bound is known of {tree.operator}")
        return _SEVERAL[tree.operator](*arguments)

    def _power(self, tree: Call) -> Enclosure:
        base, exponent = tree.arguments
        if isinstance(exponent, (Number, Parameter)):
            value = exponent.value if isinstance(exponent, Number) else exponent.init
            return self.enclose(base).power(value)
        return (self.enclose(exponent) * self.enclose(base).apply("log")).apply("exp")

    def _piecewise(self, left: Enclosure, right: Enclosure) -> Enclosure:
        is_right = self._x.low >= 0  # 0 itself, too
        is_left = (self._x.high <= 0) & ~is_right
        both = hull(left.values, right.values)
        whole = Interval(np.full_like(both.low, -math.inf), np.full_like(both.low, math.inf))
        return Enclosure(
            left.values.where(is_left, right.values.where(is_right, both)),
            left.slopes.where(is_left, right.slopes.where(is_right, whole)),
        )


def _largest(*parts: Enclosure) -> Enclosure:
    first, *rest = parts
    for other in rest:
        a, b = first.values, other.values
        values = Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high))
        slopes = first.slopes.where(
            a.low > b.high,
            other.slopes.where(b.low > a.high, hull(first.slopes, other.slopes)),
        )
        first = Enclosure(values, slopes)
    return first


def _smallest(*parts: Enclosure) -> Enclosure:
    return -_largest(*(-part for part in parts))


def _sum(*parts: Enclosure) -> Enclosure:
    first, *rest = parts
    for other in rest:
        first = first + other
    return first


def _product(*parts: Enclosure) -> Enclosure:
    first, *rest = parts
    for other in rest:
        first = first * other
    return first


_SEVERAL: Mapping[str, Callable[..., Enclosure]] = MappingProxyType(
    {
        "add": _sum,
        "sum": _sum,
        "sub": lambda a, b: a + (-b),
        "mul": _product,
        "prod": _product,
        "neg": lambda a: -a,
        "div": lambda a, b: a * b.reciprocal(),
        "reciprocal": lambda a: a.reciprocal(),
        "max": _largest,
        "min": _smallest,
        "gate": lambda a, b: a.apply("sigmoid") * b,
        "mix": lambda a, b, weight: a + weight * (b + (-a)),
    }
)
