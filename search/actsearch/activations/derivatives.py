"""What each operator does to a gradient: the rules by which a lean activation goes backwards through its formula.

As autograd's own (torch 2.13, ``derivatives.yaml``), with the same kernels where torch has one, so that a gradient
differs by the order of sums alone. Each rule can be differentiated in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from actsearch.activations.primitives import hardsigmoid_slope

__all__ = ["OF_RESULT", "RULES", "Rule", "pull_back"]

Rule = Callable[..., Any]
"""``(gradient, result, *arguments) -> gradient of one argument``, not yet summed to its shape."""

_aten: Any = torch.ops.aten
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _as_tensor(value: Any, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else like.new_tensor(value)


def _larger(g: Tensor, one: Any, other: Any) -> Tensor:
    """Of the larger of two; a tie shares it."""
    one, other = _as_tensor(one, g), _as_tensor(other, g)
    return torch.where(one == other, g / 2, g).masked_fill(one < other, 0)


def _smaller(g: Tensor, one: Any, other: Any) -> Tensor:
    one, other = _as_tensor(one, g), _as_tensor(other, g)
    return torch.where(one == other, g / 2, g).masked_fill(one > other, 0)


def _chosen(g: Tensor, y: Tensor, arguments: tuple[Any, ...], index: int, pair: Rule) -> Tensor:
    """Of the largest or smallest of several; those that tie share it in equal parts."""
    if len(arguments) == 2:
        one, other = arguments[index], arguments[1 - index]
        return pair(g, one, other)  # type: ignore[no-any-return]
    reached = [(_as_tensor(item, y) == y).to(y.dtype) for item in arguments]
    count = reached[0]
    for item in reached[1:]:
        count = count + item
    return g * reached[index] / count


def _product_of_others(arguments: tuple[Any, ...], index: int) -> Any:
    rest = [item for place, item in enumerate(arguments) if place != index]
    product = rest[0]
    for item in rest[1:]:
        product = product * item
    return product


def _base(g: Tensor, y: Tensor, a: Any, b: Any) -> Tensor:
    if not isinstance(b, Tensor):
        return torch.zeros_like(a) if b == 0 else g * (b * a.pow(b - 1))
    return torch.where(b == 0, torch.zeros_like(g), g * (b * a.pow(b - 1)))


def _exponent(g: Tensor, y: Tensor, a: Any, b: Any) -> Tensor:
    base = _as_tensor(a, y)
    flat = (base == 0) & (b >= 0)
    return torch.where(flat, torch.zeros_like(y), g * (y * torch.log(base)))


def _sinc(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    z, bottom = a * math.pi, a * a * math.pi
    return torch.where(bottom == 0, torch.zeros_like(a), g * ((z * z.cos() - z.sin()) / bottom))


def _silu(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return _aten.silu_backward(g, a)  # type: ignore[no-any-return]
    s = torch.sigmoid(a)
    return g * s * (1 + a * (1 - s))


def _mish(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return _aten.mish_backward(g, a)  # type: ignore[no-any-return]
    t = torch.tanh(torch.nn.functional.softplus(a))
    return g * (t + a * (1 - t * t) * torch.sigmoid(a))


def _i1e(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    safe = torch.where(
        a.abs() > torch.finfo(a.dtype).eps, a, torch.full_like(a, torch.finfo(a.dtype).eps)
    )
    slope = torch.special.i0e(safe) - y * (safe.sgn() + safe.reciprocal())
    return g * torch.where(a.abs() > torch.finfo(a.dtype).eps, slope, torch.full_like(a, 0.5))


def _pass_on(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    return g


def _keep(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """As :func:`actsearch.activations.primitives.keep_in_graph`: a second derivative is 0, and there is one."""
    return _aten.leaky_relu_backward(g, a, 1.0, False) if torch.is_grad_enabled() else g


_UNARY: dict[str, Rule] = {
    "neg": lambda g, y, a: -g,
    "identity": _pass_on,
    "keep_in_graph": _keep,
    "abs": lambda g, y, a: g * a.sgn(),
    "sign": lambda g, y, a: torch.zeros_like(g),
    "relu": lambda g, y, a: _aten.threshold_backward(g, y, 0),
    "square": lambda g, y, a: g * (2 * a),
    "cube": lambda g, y, a: g * (3 * (a * a)),
    "hardsigmoid": lambda g, y, a: hardsigmoid_slope(g, a),
    "sqrt": lambda g, y, a: g / (2 * y),
    "reciprocal": lambda g, y, a: -g * (y * y),
    "log": lambda g, y, a: g / a,
    "log1p": lambda g, y, a: g / (a + 1),
    "exp": lambda g, y, a: g * y,
    "expm1": lambda g, y, a: g * (y + 1),
    "sinh": lambda g, y, a: g * a.cosh(),
    "cosh": lambda g, y, a: g * a.sinh(),
    "gauss": lambda g, y, a: -(g * y) * (2 * a),
    "sin": lambda g, y, a: g * a.cos(),
    "cos": lambda g, y, a: g * -a.sin(),
    "sinc": _sinc,
    "tanh": lambda g, y, a: _aten.tanh_backward(g, y),
    "sigmoid": lambda g, y, a: _aten.sigmoid_backward(g, y),
    "logsigmoid": lambda g, y, a: g * torch.sigmoid(-a),
    "atan": lambda g, y, a: g / (a * a + 1),
    "asinh": lambda g, y, a: g * (a * a + 1).rsqrt(),
    "softsign": lambda g, y, a: g / torch.square(1 + a.abs()),
    "erf": lambda g, y, a: 2 / math.sqrt(math.pi) * torch.exp(-(a * a)) * g,
    "erfc": lambda g, y, a: -2 / math.sqrt(math.pi) * torch.exp(-(a * a)) * g,
    "i0e": lambda g, y, a: g * (torch.special.i1e(a) - a.sgn() * y),
    "i1e": _i1e,
    "softplus": lambda g, y, a: _aten.softplus_backward(g, a, 1, 20),
    "elu": lambda g, y, a: _aten.elu_backward(g, 1, 1, 1, False, a),
    "selu": lambda g, y, a: _aten.elu_backward(g, _SELU_ALPHA, _SELU_SCALE, 1, False, a),
    "silu": _silu,
    "gelu": lambda g, y, a: _aten.gelu_backward(g, a),
    "mish": _mish,
}

_BINARY: dict[str, tuple[Rule, Rule]] = {
    "add": (lambda g, y, a, b: g, lambda g, y, a, b: g),
    "sub": (lambda g, y, a, b: g, lambda g, y, a, b: -g),
    "mul": (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "div": (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * ((a / b) / b)),
    "pow": (_base, _exponent),
    "gate": (
        lambda g, y, a, b: _aten.sigmoid_backward(g * b, torch.sigmoid(a)),
        lambda g, y, a, b: g * torch.sigmoid(a),
    ),
}

_THREE: dict[str, tuple[Rule, Rule, Rule]] = {
    "piecewise": (
        lambda g, y, x, a, b: torch.zeros_like(g),
        lambda g, y, x, a, b: torch.where(x < 0, g, torch.zeros_like(g)),
        lambda g, y, x, a, b: torch.where(x < 0, torch.zeros_like(g), g),
    ),
    "mix": (
        lambda g, y, a, b, w: g - g * w,
        lambda g, y, a, b, w: g * w,
        lambda g, y, a, b, w: g * (b - a),
    ),
}

_SEVERAL: dict[str, Callable[[Tensor, Tensor, tuple[Any, ...], int], Tensor]] = {
    "max": lambda g, y, arguments, index: _chosen(g, y, arguments, index, _larger),
    "min": lambda g, y, arguments, index: _chosen(g, y, arguments, index, _smaller),
    "sum": lambda g, y, arguments, index: g,
    "prod": lambda g, y, arguments, index: g * _product_of_others(arguments, index),
}


def pull_back(
    name: str,
    function: Callable[..., Tensor],
    index: int,
    g: Tensor,
    y: Tensor,
    arguments: tuple[Any, ...],
) -> Tensor:
    """The gradient of one argument of an operator's call, of the gradient of its result.

    Args:
        name: of the operator.
        function: its implementation, through which autograd goes back where there is no rule.
        index: of the argument.
        g: gradient of the result.
        y: the result, or None where the rule does not look at it.
        arguments: of the call.
    """
    if name in _SEVERAL:
        return _SEVERAL[name](g, y, arguments, index)
    if name in RULES:
        return RULES[name][index](g, y, *arguments)  # type: ignore[no-any-return]
    is_again = torch.is_grad_enabled()
    own = arguments[index]
    if not (is_again and own.requires_grad):
        own = own.detach().requires_grad_()
    with torch.enable_grad():
        result = function(*arguments[:index], own, *arguments[index + 1 :])
        if not result.requires_grad:
            return torch.zeros_like(g)
        (slope,) = torch.autograd.grad(result, own, g, create_graph=is_again, allow_unused=True)
    return torch.zeros_like(own) if slope is None else slope


RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {**{name: (rule,) for name, rule in _UNARY.items()}, **_BINARY, **_THREE}
)
"""By operator, one rule for each argument; those of any number of arguments are :func:`pull_back`'s own."""

OF_RESULT = frozenset(
    (
        "relu",
        "sqrt",
        "reciprocal",
        "exp",
        "expm1",
        "tanh",
        "sigmoid",
        "gauss",
        "i0e",
        "i1e",
        "pow",
        "max",
        "min",
    )
)
"""Operators whose rules look at the result: some of them at the arguments besides."""
