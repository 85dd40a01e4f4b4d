"""The operators on arrays of numpy: a curve has a hundred points, where a call of torch costs more than its work.

The table holds one function for each row of :data:`actsearch.operators.OPERATORS`, with the semantics of its
``reference``; a test compares them with what torch computes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["FUNCTIONS", "Numbers"]

Numbers = npt.NDArray[np.float64]
Function = Callable[..., Any]


def _elu(a: Numbers) -> Numbers:
    values: Numbers = np.where(a > 0, a, np.expm1(np.minimum(a, 0)))
    return values


def _selu(a: Numbers) -> Numbers:
    return 1.0507009873554805 * np.where(a > 0, a, 1.6732632423543772 * np.expm1(np.minimum(a, 0)))


def _softplus(a: Numbers) -> Numbers:
    values: Numbers = np.logaddexp(0.0, a)
    return values


def _piecewise(x: Numbers, left: Numbers, right: Numbers) -> Numbers:
    values: Numbers = np.where(x < 0, left, right)
    return values


def _any_number(function: Function) -> Function:
    """A function of two arguments as one of two or more."""
    return lambda *arguments: functools.reduce(function, arguments)


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "neg": np.negative,
        "pow": np.power,
        "max": _any_number(np.maximum),
        "min": _any_number(np.minimum),
        "sum": _any_number(np.add),
        "prod": _any_number(np.multiply),
        "gate": lambda a, b: special.expit(a) * b,
        "piecewise": _piecewise,
        "mix": lambda a, b, weight: a + weight * (b - a),
        "identity": lambda a: a,
        "abs": np.abs,
        "sign": np.sign,
        "relu": lambda a: np.maximum(a, 0.0),
        "square": np.square,
        "cube": lambda a: a * a * a,
        "hardsigmoid": lambda a: np.clip(a / 6 + 0.5, 0.0, 1.0),
        "sqrt": np.sqrt,
        "reciprocal": lambda a: 1.0 / a,
        "log": np.log,
        "log1p": np.log1p,
        "exp": np.exp,
        "expm1": np.expm1,
        "sinh": np.sinh,
        "cosh": np.cosh,
        "gauss": lambda a: np.exp(-np.square(a)),
        "sin": np.sin,
        "cos": np.cos,
        "sinc": np.sinc,
        "tanh": np.tanh,
        "sigmoid": special.expit,
        "logsigmoid": lambda a: -_softplus(-a),
        "atan": np.arctan,
        "asinh": np.arcsinh,
        "softsign": lambda a: a / (1.0 + np.abs(a)),
        "erf": special.erf,
        "erfc": special.erfc,
        "i0e": special.i0e,
        "i1e": special.i1e,
        "softplus": _softplus,
        "elu": _elu,
        "selu": _selu,
        "silu": lambda a: a * special.expit(a),
        "gelu": lambda a: a * special.ndtr(a),
        "mish": lambda a: a * np.tanh(_softplus(a)),
    }
)
"""What an operator computes, by name; ``piecewise`` takes the input x first."""
