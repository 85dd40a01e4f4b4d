"""Operators against references that share no code with torch: scipy, numpy and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special

from actsearch.activation import bind
from actsearch.operators import OPERATORS

Array = npt.NDArray[np.float64]
Reference = Callable[..., Any]

_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017
_LEFT = np.array([-4.7, -1.3, -0.4])
_RIGHT = np.array([0.3, 1.1, 2.6])
_REAL = np.concatenate([_LEFT, _RIGHT])
_POSITIVE = np.array([0.2, 0.7, 1.0, 5.5])

UNARY: dict[str, tuple[Reference, Array]] = {
    "neg": (lambda a: -a, _REAL),
    "identity": (lambda a: a, _REAL),
    "abs": (np.abs, _REAL),
    "sign": (np.sign, _REAL),
    "relu": (lambda a: np.maximum(a, 0), _REAL),
    "square": (lambda a: a**2, _REAL),
    "cube": (lambda a: a**3, _REAL),
    "hardsigmoid": (lambda a: np.clip(a / 6 + 0.5, 0, 1), _REAL),
    "sqrt": (np.sqrt, _POSITIVE),
    "reciprocal": (lambda a: 1 / a, _REAL),
    "log": (np.log, _POSITIVE),
    "log1p": (lambda a: np.log(1 + a), np.array([-0.6, -0.1, 0.5, 3.0])),
    "exp": (np.exp, _REAL),
    "expm1": (lambda a: np.exp(a) - 1, _REAL),
    "sinh": (lambda a: (np.exp(a) - np.exp(-a)) / 2, _REAL),
    "cosh": (lambda a: (np.exp(a) + np.exp(-a)) / 2, _REAL),
    "gauss": (lambda a: np.exp(-(a**2)), _REAL),
    "sin": (np.sin, _REAL),
    "cos": (np.cos, _REAL),
    "sinc": (lambda a: np.sin(np.pi * a) / (np.pi * a), _REAL),
    "tanh": (lambda a: 1 - 2 / (np.exp(2 * a) + 1), _REAL),
    "sigmoid": (special.expit, _REAL),
    "logsigmoid": (lambda a: -np.logaddexp(0, -a), _REAL),
    "atan": (np.arctan, _REAL),
    "asinh": (lambda a: np.sign(a) * np.log(np.abs(a) + np.sqrt(a**2 + 1)), _REAL),
    "softsign": (lambda a: a / (1 + np.abs(a)), _REAL),
    "erf": (special.erf, _REAL),
    "erfc": (special.erfc, _REAL),
    "i0e": (special.i0e, _REAL),
    "i1e": (special.i1e, _REAL),
    "softplus": (lambda a: np.logaddexp(0, a), _REAL),
    "elu": (lambda a: np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1), _REAL),
    "selu": (
        lambda a: _SCALE * np.where(a > 0, a, _ALPHA * (np.exp(np.minimum(a, 0)) - 1)),
        _REAL,
    ),
    "silu": (lambda a: a / (1 + np.exp(-a)), _REAL),
    "gelu": (lambda a: a * special.ndtr(a), _REAL),
    "mish": (lambda a: a * np.tanh(np.logaddexp(0, a)), _REAL),
}

_A = np.array([-1.7, 0.4, 2.2, 0.9])
_B = np.array([0.8, -1.3, 1.9, 0.6])
BINARY: dict[str, tuple[Reference, Array, Array]] = {
    "add": (lambda a, b: a + b, _A, _B),
    "sub": (lambda a, b: a - b, _A, _B),
    "mul": (lambda a, b: a * b, _A, _B),
    "div": (lambda a, b: a / b, _A, _B),
    "pow": (lambda a, b: np.exp(b * np.log(a)), np.abs(_A), _B),
    "max": (lambda a, b: (a + b + np.abs(a - b)) / 2, _A, _B),
    "min": (lambda a, b: (a + b - np.abs(a - b)) / 2, _A, _B),
    "gate": (lambda a, b: b / (1 + np.exp(-a)), _A, _B),
    "sum": (lambda a, b: a + b, _A, _B),
    "prod": (lambda a, b: a * b, _A, _B),
}

_C = np.array([0.3, 2.8, -0.7, -1.1])
THREE: dict[str, Reference] = {
    "max": lambda a, b, c: np.max([a, b, c], axis=0),
    "min": lambda a, b, c: np.min([a, b, c], axis=0),
    "sum": lambda a, b, c: a + b + c,
    "prod": lambda a, b, c: a * b * c,
    "mix": lambda a, b, weight: (1 - weight) * a + weight * b,
}


def _slope(function: Callable[[Array], Any], at: Array, step: float = 1e-3) -> Array:
    """Derivative by the five-point stencil, good to about 1e-11 for smooth functions."""
    near = function(at + step) - function(at - step)
    far = function(at + 2 * step) - function(at - 2 * step)
    return np.asarray((8 * near - far) / (12 * step))


def _value_and_gradients(name: str, *points: Array) -> tuple[Array, list[Array]]:
    tensors = [torch.tensor(point, requires_grad=True) for point in points]
    result = bind(name)(*tensors)
    gradients = torch.autograd.grad(result.sum(), tensors, materialize_grads=True)
    return result.detach().numpy(), [gradient.numpy() for gradient in gradients]


def test_every_operator_of_the_table_has_a_reference_here() -> None:
    assert set(OPERATORS) == {*UNARY, *BINARY, *THREE, "piecewise"}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_every_operator_binds_and_its_arity_is_that_of_its_latex(name: str) -> None:
    row = OPERATORS[name]
    assert callable(bind(name))
    filled = row.latex.format(*"abc"[: row.arity + len(row.learned)])
    assert filled.count("{") == filled.count("}")
    assert row.cost >= 0
    assert row.weight >= 0


@pytest.mark.parametrize("name", list(UNARY))
def test_unary_operator_has_value_and_gradient_of_its_definition(name: str) -> None:
    reference, points = UNARY[name]
    value, (gradient,) = _value_and_gradients(name, points)
    np.testing.assert_allclose(value, reference(points), rtol=1e-12, atol=1e-13)
    # torch's hardsigmoid kernel holds 1/6 in single precision
    rtol = 1e-7 if name == "hardsigmoid" else 1e-8
    np.testing.assert_allclose(gradient, _slope(reference, points), rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", list(BINARY))
def test_binary_operator_has_value_and_gradients_of_its_definition(name: str) -> None:
    reference, a, b = BINARY[name]
    value, (by_a, by_b) = _value_and_gradients(name, a, b)
    np.testing.assert_allclose(value, reference(a, b), rtol=1e-12)
    np.testing.assert_allclose(by_a, _slope(lambda v: reference(v, b), a), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(by_b, _slope(lambda v: reference(a, v), b), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", list(THREE))
def test_operator_of_three_has_value_and_gradients_of_its_definition(name: str) -> None:
    reference = THREE[name]
    value, gradients = _value_and_gradients(name, _A, _B, _C)
    np.testing.assert_allclose(value, reference(_A, _B, _C), rtol=1e-12)
    for index, gradient in enumerate(gradients):

        def along(
            point: Array, index: int = index, reference: Reference = reference
        ) -> Array:  # one argument moves
            moved = [_A, _B, _C]
            moved[index] = point
            return np.asarray(reference(*moved))

        slope = _slope(along, [_A, _B, _C][index])
        np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-9)


def test_a_sum_a_product_and_an_extreme_take_as_many_arguments_as_there_are() -> None:
    columns = [torch.full((2,), float(value)) for value in (3, -1, 4, 1.5, -9)]
    found = {name: float(bind(name)(*columns)[0]) for name in ("sum", "prod", "max", "min")}
    assert found == {"sum": -1.5, "prod": 162.0, "max": 4.0, "min": -9.0}


def test_piecewise_takes_left_below_zero_and_right_from_zero_on() -> None:
    x = np.array([-2.0, -1e-300, -0.0, 0.0, 3.0])
    left, right = np.arange(5.0) + 10, np.arange(5.0) + 20
    value, (by_x, by_left, by_right) = _value_and_gradients("piecewise", x, left, right)
    assert value.tolist() == [10, 11, 22, 23, 24]
    assert by_x.tolist() == [0] * 5
    assert by_left.tolist() == [1, 1, 0, 0, 0]
    assert by_right.tolist() == [0, 0, 1, 1, 1]
    nan = torch.tensor([float("nan")])
    assert bind("piecewise")(nan, torch.zeros(1), torch.ones(1)).isnan().all()


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("log", [-1.0], np.nan),
        ("log", [0.0], -np.inf),
        ("sqrt", [-1.0], np.nan),
        ("reciprocal", [0.0], np.inf),
        ("div", [1.0, 0.0], np.inf),
        ("div", [0.0, 0.0], np.nan),
        ("pow", [-8.0, 1 / 3], np.nan),
        ("exp", [1e4], np.inf),
        ("sinc", [0.0], 1.0),
        ("abs", [0.0], 0.0),
    ],
)
def test_operators_are_plain_ieee_and_protect_nothing(
    name: str, arguments: list[float], expected: float
) -> None:
    tensors = [torch.tensor([argument], dtype=torch.float64) for argument in arguments]
    np.testing.assert_equal(bind(name)(*tensors).numpy(), np.array([expected]))
