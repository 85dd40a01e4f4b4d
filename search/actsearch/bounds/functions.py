"""For each operator of one argument: where it and its slope turn, so that ends and turning points say its range.

Numbers are the operators' definitions, as the column ``reference`` of :mod:`actsearch.operators` has them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import optimize, special

from actsearch.bounds.interval import Interval, around, hull

__all__ = ["FUNCTIONS", "Function"]

_ROUNDING = 1e-13  # share by which library functions, and turning points found by them, may be off
_SCANNED = np.linspace(
    -12, 12, 4801
)  # where turning points are looked for; beyond, these functions are monotone
_NEAR = 1e-7  # a slope's range near a jump of it holds both sides

_Curve = Callable[[Any], Any]
_Jump = tuple[float, float, float]  # position, and two ends of what is taken there


@dataclass(frozen=True)
class Function:
    """One operator.

    Attributes:
        value: of numpy arrays.
        slope: its derivative, of one side where there are two.
        turns: where the value is not monotone.
        slope_turns: where the slope is not monotone.
        value_jumps: where the value jumps, with the least and the largest value there.
        slope_jumps: where the slope jumps, with the least and the largest slope around.
        domain: where it has a value: from here on, or None for everywhere.
        error: of torch's implementation far out, beside the definition.
    """

    value: _Curve
    slope: _Curve
    turns: tuple[float, ...] = ()
    slope_turns: tuple[float, ...] = ()
    value_jumps: tuple[_Jump, ...] = ()
    slope_jumps: tuple[_Jump, ...] = ()
    domain: float | None = None
    error: float = 0.0

    def values(self, x: Interval) -> Interval:
        """The range of the function over each interval."""
        result = self._inside(x, around(self.value, x, self.turns, _ROUNDING))
        for place, low, high in self.value_jumps:
            met = Interval(np.full_like(x.low, low), np.full_like(x.low, high))
            result = hull(result, met).where(x.contains(place), result)
        return Interval(result.low - self.error, result.high + self.error)

    def slopes(self, x: Interval) -> Interval:
        """The range of its derivative over each; the whole line where the value jumps."""
        result = self._inside(x, around(self.slope, x, self.slope_turns, _ROUNDING))
        for place, low, high in self.slope_jumps:
            met = Interval(np.full_like(x.low, low), np.full_like(x.low, high))
            result = hull(result, met).where(x.contains(place), result)
        for place, _, _ in self.value_jumps:
            result = _line(x).where(x.contains(place), result)
        return result

    def _inside(self, x: Interval, result: Interval) -> Interval:
        return result if self.domain is None else _line(x).where(x.low < self.domain, result)


def _line(x: Interval) -> Interval:
    return Interval(np.full_like(x.low, -np.inf), np.full_like(x.low, np.inf))


def _find_turns(curve: _Curve) -> tuple[float, ...]:
    """Where a smooth curve crosses 0 on the scanned interval."""
    with np.errstate(all="ignore"):
        values = curve(_SCANNED)
    crossings = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    found = [
        float(
            optimize.brentq(
                lambda x: float(curve(np.array(x))), _SCANNED[k], _SCANNED[k + 1], xtol=1e-15
            )
        )
        for k in crossings
    ]
    return tuple(found + [float(x) for x in _SCANNED[values == 0]])


class _Waves(Function):
    """sin and cos, which turn at every multiple of half of pi."""

    def values(self, x: Interval) -> Interval:
        return _wave(self.value, x)

    def slopes(self, x: Interval) -> Interval:
        return _wave(self.slope, x)


def _wave(function: _Curve, x: Interval) -> Interval:
    """Monotone within each quarter; a quarter or more reaches both of its ends, four of them everything."""
    with np.errstate(all="ignore"):
        first = np.floor(x.low / (math.pi / 2))
        values = [function(x.low), function(x.high)]
        for step in range(1, 6):
            turn = (first + step) * (math.pi / 2)
            values.append(np.where(turn <= x.high + 1e-9, function(turn), values[0]))
    return Interval.of(np.minimum.reduce(values), np.maximum.reduce(values), 1e-9)


class _Sinc(Function):
    """sin(pi x) / (pi x), |f'| at most pi / 2 and |f''| at most pi^2 / 3, as those of the mean of cos(pi x t)."""

    def values(self, x: Interval) -> Interval:
        return _lipschitz(self.value, x, math.pi / 2, 1.0)

    def slopes(self, x: Interval) -> Interval:
        return _lipschitz(self.slope, x, math.pi**2 / 3, math.pi / 2)


def _lipschitz(function: _Curve, x: Interval, steepest: float, largest: float) -> Interval:
    with np.errstate(all="ignore"):
        middle, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
        value, reach = function(middle), steepest * radius + 1e-12
    low, high = np.maximum(value - reach, -largest), np.minimum(value + reach, largest)
    unknown = ~np.isfinite(value)
    return Interval(np.where(unknown, -largest, low), np.where(unknown, largest, high))


def _sigmoid_slope(x: Any) -> Any:
    return special.expit(x) * special.expit(-x)


def _silu_slope(x: Any) -> Any:
    return special.expit(x) * (1 + x * special.expit(-x))


def _normal(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _gelu_slope(x: Any) -> Any:
    return special.ndtr(x) + x * _normal(x)


def _mish(x: Any) -> Any:
    return x * np.tanh(np.logaddexp(0, x))


def _mish_slope(x: Any) -> Any:
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t**2) * special.expit(x)


def _sinc_slope(x: Any) -> Any:
    z = math.pi * np.asarray(x)
    near = np.abs(z) < 1e-3
    safe = np.where(near, 1.0, z)
    return math.pi * np.where(
        near, -z / 3 + z**3 / 30, (np.cos(safe) - np.sin(safe) / safe) / safe
    )


def _i1e_slope(x: Any) -> Any:
    safe = np.where(x == 0, 1.0, x)
    return np.where(
        x == 0, 0.5, special.i0e(x) - special.i1e(x) / safe - np.sign(x) * special.i1e(x)
    )


def _numeric(curve: _Curve) -> tuple[float, ...]:
    """Turning points, by a central difference of 1e-5: a turn is flat, so that its place need not be exact."""
    return _find_turns(lambda x: curve(x + 1e-5) - curve(x - 1e-5))


_ROOT2 = math.sqrt(0.5)
_SELU = 1.0507009873554805
_SELU_LEFT = 1.0507009873554805 * 1.6732632423543772


@functools.cache
def _table() -> Mapping[str, Function]:
    rows = {
        "identity": Function(lambda x: x, np.ones_like),
        "abs": Function(np.abs, np.sign, (0.0,), slope_jumps=((0.0, -1.0, 1.0),)),
        "sign": Function(np.sign, np.zeros_like, value_jumps=((0.0, -1.0, 1.0),)),
        "relu": Function(
            lambda x: np.maximum(x, 0),
            lambda x: np.where(x > 0, 1.0, 0.0),
            slope_jumps=((0.0, 0.0, 1.0),),
        ),
        "square": Function(np.square, lambda x: 2 * x, (0.0,)),
        "cube": Function(lambda x: x**3, lambda x: 3 * x**2, slope_turns=(0.0,)),
        "hardsigmoid": Function(
            lambda x: np.clip(x / 6 + 0.5, 0, 1),
            lambda x: np.where(np.abs(x) < 3, 1 / 6, 0.0),
            slope_jumps=((-3.0, 0.0, 1 / 6), (3.0, 0.0, 1 / 6)),
            slope_turns=(0.0,),
        ),
        "sqrt": Function(np.sqrt, lambda x: 0.5 / np.sqrt(x), domain=0.0),
        "log": Function(np.log, lambda x: 1 / x, domain=0.0),
        "log1p": Function(np.log1p, lambda x: 1 / (1 + x), domain=-1.0),
        "exp": Function(np.exp, np.exp),
        "expm1": Function(np.expm1, np.exp),
        "sinh": Function(np.sinh, np.cosh, slope_turns=(0.0,)),
        "cosh": Function(np.cosh, np.sinh, (0.0,)),
        "gauss": Function(
            lambda x: np.exp(-(x**2)),
            lambda x: np.where(np.isinf(x), 0.0, -2 * x * np.exp(-(x**2))),
            (0.0,),
            (-_ROOT2, _ROOT2),
        ),
        "sin": _Waves(np.sin, np.cos),
        "cos": _Waves(np.cos, lambda x: -np.sin(x)),
        "sinc": _Sinc(np.sinc, _sinc_slope),
        "tanh": Function(np.tanh, lambda x: 1 - np.tanh(x) ** 2, slope_turns=(0.0,)),
        "sigmoid": Function(special.expit, _sigmoid_slope, slope_turns=(0.0,)),
        "logsigmoid": Function(special.log_expit, lambda x: special.expit(-x)),
        "atan": Function(np.arctan, lambda x: 1 / (1 + x**2), slope_turns=(0.0,)),
        "asinh": Function(np.arcsinh, lambda x: 1 / np.sqrt(1 + x**2), slope_turns=(0.0,)),
        "softsign": Function(
            lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
            lambda x: 1 / (1 + np.abs(x)) ** 2,
            slope_turns=(0.0,),
        ),
        "erf": Function(
            special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)), slope_turns=(0.0,)
        ),
        "erfc": Function(
            special.erfc, lambda x: -2 / math.sqrt(math.pi) * np.exp(-(x**2)), slope_turns=(0.0,)
        ),
        # exp(-|x|) I0(x) is completely monotone on either side of its cusp
        "i0e": Function(
            special.i0e,
            lambda x: special.i1e(x) - np.sign(x) * special.i0e(x),
            (0.0,),
            slope_jumps=((0.0, -1.0, 1.0),),
        ),
        "i1e": Function(
            special.i1e, _i1e_slope, _numeric(special.i1e), (0.0, *_numeric(_i1e_slope))
        ),
        # torch's is x itself beyond 20, where the difference is at most exp(-20)
        "softplus": Function(lambda x: np.logaddexp(0, x), special.expit, error=2.1e-9),
        "elu": Function(
            lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.exp(np.minimum(x, 0)),
        ),
        "selu": Function(
            lambda x: np.where(x > 0, _SELU * x, _SELU_LEFT * np.expm1(np.minimum(x, 0))),
            lambda x: np.where(x > 0, _SELU, _SELU_LEFT * np.exp(np.minimum(x, 0))),
            slope_jumps=((0.0, _SELU, _SELU_LEFT),),
        ),
        "silu": Function(
            lambda x: x * special.expit(x),
            _silu_slope,
            _find_turns(_silu_slope),
            _numeric(_silu_slope),
        ),
        "gelu": Function(
            lambda x: x * special.ndtr(x),
            _gelu_slope,
            _find_turns(_gelu_slope),
            (-math.sqrt(2), math.sqrt(2)),
        ),
        "mish": Function(
            _mish, _mish_slope, _find_turns(_mish_slope), _numeric(_mish_slope), error=2.1e-9
        ),
    }
    return MappingProxyType(rows)  # fmt: skip


class _Lazy(Mapping[str, Function]):
    """The table, made when it is first asked for: its turning points take milliseconds."""

    def __getitem__(self, name: str) -> Function:
        return _table()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_table())

    def __len__(self) -> int:
        return len(_table())


FUNCTIONS: Mapping[str, Function] = _Lazy()
"""Operators of one argument that are neither arithmetic nor a reciprocal, by name."""
