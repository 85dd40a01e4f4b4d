"""The formula that an activation of a user's model computes, read off the calls that it makes and then checked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from actsearch.activation_catalog import CATALOG
from actsearch.activations import activation
from actsearch.activations.module import RandomActivation
from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.operators import OPERATORS
from actsearch.placement.dataflow import Step, Value

__all__ = ["POINTS", "catalog_name", "formula_of_steps"]

POINTS = torch.linspace(-4, 4, 161, dtype=torch.float64)
"""Where a formula is compared with what it is read off."""

_DIGITS = 12

# by name of a function of torch: the numbers that it may be given besides its input, with their defaults, and the
# formula over the text of the input and these numbers
# what changes no number
_SAME = ("float", "to", "type_as", "type", "clone", "contiguous", "half", "double")
_TEMPLATES: Mapping[str, tuple[tuple[tuple[str, Any], ...], Callable[..., str]]] = {
    "relu": ((), lambda a: f"relu({a})"),
    "relu6": ((), lambda a: f"min(relu({a}), 6)"),
    "elu": ((("alpha", 1.0),), lambda a, k: f"elu({a})" if k == 1 else
            f"(relu({a}) + {_number(k)} * expm1(min({a}, 0)))"),
    "celu": ((("alpha", 1.0),), lambda a, k: f"(relu({a}) + {_number(k)} * expm1(min({a}, 0) / {_number(k)}))"),
    "selu": ((), lambda a: f"selu({a})"),
    "leaky_relu": ((("negative_slope", 0.01),), lambda a, k: f"(relu({a}) + {_number(k)} * min({a}, 0))"),
    "prelu": ((("weight", None),), lambda a, k: f"(relu({a}) + {k} * min({a}, 0))"),
    "gelu": ((("approximate", "none"),), lambda a, k: f"gelu({a})" if k == "none" else
             f"(0.5 * {a} * (1 + tanh({_number(math.sqrt(2 / math.pi))} * ({a} + 0.044715 * cube({a})))))"),
    "hardswish": ((), lambda a: f"({a} * hardsigmoid({a}))"),
    "hardtanh": ((("min_val", -1.0), ("max_val", 1.0)), lambda a, low, high:
                 f"max(min({a}, {_number(high)}), {_number(low)})"),
    "softshrink": ((("lambd", 0.5),), lambda a, k: f"(relu({a} - {_number(k)}) + min({a} + {_number(k)}, 0))"),
    "tanhshrink": ((), lambda a: f"({a} - tanh({a}))"),
    "softplus": ((("beta", 1.0), ("threshold", 20.0)), lambda a, b, _: f"softplus({a})" if b == 1 else
                 f"(softplus({_number(b)} * {a}) / {_number(b)})"),
    "logsigmoid": ((), lambda a: f"logsigmoid({a})"),
    "clamp": ((("min", None), ("max", None)), lambda a, low, high: _clamped(a, low, high)),
    "clamp_min": ((("min", None),), lambda a, low: _clamped(a, low, None)),
    "clamp_max": ((("max", None),), lambda a, high: _clamped(a, None, high)),
    "rsqrt": ((), lambda a: f"(1 / sqrt({a}))"),
    "expit": ((), lambda a: f"sigmoid({a})"),
    "exp2": ((), lambda a: f"exp({_number(math.log(2))} * {a})"),
    "positive": ((), lambda a: str(a)),
    **{name: ((), lambda a: str(a)) for name in _SAME},
}  # fmt: skip

_COMPARISONS = ("gt", "ge", "lt", "le")
_BELOW, _ABOVE = "piecewise(1, 0)", "piecewise(0, 1)"  # of x < 0 and x > 0
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    return repr(float(f"{float(value):.{_DIGITS}g}"))


def _clamped(a: str, low: Any, high: Any) -> str:
    a = a if low is None else f"max({a}, {_number(low)})"
    return a if high is None else f"min({a}, {_number(high)})"


class _Unknown(Exception):
    """A call that the language has no words for."""


def formula_of_steps(
    steps: Sequence[Step], start: Value, end: Value, function: Callable[[Tensor], Any]
) -> str:
    """The formula that some calls compute; empty where the language has none, or where it would not compute the same.

    Args:
        steps: in order.
        start: what they are computed from.
        end: what they give.
        function: the same as a function of a tensor, to check the formula with.
    """
    texts = {start: "x"}
    try:
        for step in steps:
            texts[step.results[0]] = _term(step, texts)
        formula = str(parse(texts[end]))
    except (_Unknown, ActsearchError, KeyError, IndexError, TypeError, ValueError):
        return ""
    return formula if _agrees(formula, function) else ""


def _term(step: Step, texts: Mapping[Value, str]) -> str:
    """One call as text over the texts of what it is given."""

    def text(item: Any) -> str:
        if isinstance(item, Value):
            if item in texts:
                plain = texts[item] in ("x", _BELOW, _ABOVE)
                return texts[item] if plain else f"({texts[item]})"
            if item.example is None or (not item.is_number and item.kind != "weight"):
                raise _Unknown
            number = _number(item.example.item())
            return f"param({number})" if item.kind == "weight" else number
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            raise _Unknown
        return _number(item)

    if step.name in _TEMPLATES:
        names, build = _TEMPLATES[step.name]
        given = list(step.args[1:])
        kwargs = {
            key: item for key, item in step.kwargs.items() if key not in ("input", "inplace")
        }
        values = []
        for position, (name, default) in enumerate(names):
            item = given[position] if position < len(given) else kwargs.get(name, default)
            values.append(text(item) if isinstance(item, Value) else item)
        first = step.args[0] if step.args else step.kwargs["input"]
        return build(text(first), *values)
    arguments = [text(item) for item in step.args]
    if step.name in ("rsub", "rdiv", "rpow"):
        arguments, name = arguments[::-1], step.name[1:]
    else:
        name = step.name
    if set(step.kwargs) - {"inplace", "out"}:
        raise _Unknown
    if name in _COMPARISONS and arguments[0] == "x" and float(arguments[1]) == 0:
        return _BELOW if name in ("lt", "le") else _ABOVE
    if name == "where" and arguments[0] in (_BELOW, _ABOVE):
        below, above = arguments[1:] if arguments[0] == _BELOW else arguments[:0:-1]
        return f"piecewise({below}, {above})"
    if name in _INFIX and len(arguments) == 2:
        return f"{arguments[0]} {_INFIX[name]} {arguments[1]}"
    if name in ("maximum", "fmax", "minimum", "fmin"):
        return f"{'max' if 'max' in name else 'min'}({', '.join(arguments)})"
    if name in OPERATORS and OPERATORS[name].accepts(len(arguments)):
        return f"{name}({', '.join(arguments)})"
    raise _Unknown


def _agrees(formula: str, function: Callable[[Tensor], Any]) -> bool:
    """Whether a formula computes what a function does."""
    try:
        with torch.no_grad():
            found, wanted = activation(formula)(POINTS.float()), function(POINTS.float())
    except Exception:
        return False
    return bool(torch.allclose(found, wanted, rtol=1e-4, atol=1e-5, equal_nan=True))


@functools.cache
def _catalog_curves() -> tuple[tuple[str, Tensor], ...]:
    """What each catalog row computes that has one curve."""
    curves = []
    for name, row in CATALOG.items():
        if row.role != "hidden" or not row.elementwise:
            continue
        module = activation(name)
        if next(module.parameters(), None) is None and not isinstance(module, RandomActivation):
            with torch.no_grad():
                curves.append((name, module(POINTS.float())))
    return tuple(curves)


def catalog_name(function: Callable[[Tensor], Any]) -> str:
    """The catalog row that computes what a function does; empty if there is none."""
    try:
        with torch.no_grad():
            curve = function(POINTS.float())
    except Exception:
        return ""
    for name, known in _catalog_curves():
        if torch.allclose(known, curve, rtol=1e-4, atol=1e-6):
            return name
    return ""
