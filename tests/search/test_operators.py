"""Operators against the references of their rows, which share no code with torch: numpy, scipy and closed forms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from operator_references import reference

import actsearch as acs
from actsearch.activations import bind
from actsearch.operators import OPERATORS, Operator

Array = npt.NDArray[np.float64]

# no kink of an operator is among them, nor within two steps of the stencil
_A = np.array([-4.7, -1.7, -1.3, -0.6, -0.4, -0.25, 0.2, 0.3, 0.7, 0.9, 1.1, 2.2, 2.6, 5.5])
_B = np.array([0.8, -1.3, 1.9, 0.6, 2.3, -0.7, 1.4, -2.1, 0.5, -0.2, 3.1, 1.2, -1.6, 0.25])
_C = np.array([0.3, 2.8, -0.7, -1.1, 0.6, 1.3, -0.3, 0.9, 2.4, 0.1, -1.9, 0.45, 1.7, -0.8])
_POINTS = (_A, _B, _C)
_STEP = 1e-3
_LEAST_COMPARED = 3  # points at which the reference and its derivative are numbers

# torch's hardsigmoid kernel holds 1/6 in single precision
_GRADIENT_RTOL = {"hardsigmoid": 1e-7}


def _slope(function: Callable[[Array], Array], point: Array) -> Array:
    """Derivative by the five-point stencil, good to about 1e-11 for smooth functions."""
    near = function(point + _STEP) - function(point - _STEP)
    far = function(point + 2 * _STEP) - function(point - 2 * _STEP)
    return np.asarray((8 * near - far) / (12 * _STEP))


def _value_and_gradients(name: str, *points: Array) -> tuple[Array, list[Array]]:
    tensors = [torch.tensor(point, requires_grad=True) for point in points]
    result = bind(name)(*tensors)
    gradients = torch.autograd.grad(result.sum(), tensors, materialize_grads=True)
    return result.detach().numpy(), [gradient.numpy() for gradient in gradients]


def _slopes(row: Operator, points: Sequence[Array]) -> list[Array]:
    """The reference's derivative in each argument."""

    def along(index: int, moved: Array) -> Array:
        return reference(row, *points[:index], moved, *points[index + 1 :])

    return [_slope(functools.partial(along, i), point) for i, point in enumerate(points)]


def _counts() -> list[tuple[str, int]]:
    """Each operator with each number of arguments to be tried, the input x and learned numbers included."""
    return [
        (name, count)
        for name, row in OPERATORS.items()
        for least in [row.arity + len(row.learned) + row.uses_x]
        for count in ([least] if row.separator is None else [least, least + 1])
    ]


@pytest.mark.parametrize(("name", "count"), _counts())
def test_an_operator_has_value_and_gradients_of_its_reference(name: str, count: int) -> None:
    row, points = OPERATORS[name], _POINTS[:count]
    value, gradients = _value_and_gradients(name, *points)
    with np.errstate(all="ignore"):  # log(-1) is NaN on both sides
        expected, slopes = reference(row, *points), _slopes(row, points)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
    for gradient, slope in zip(gradients, slopes, strict=True):
        good = np.isfinite(slope)
        assert good.sum() >= _LEAST_COMPARED
        rtol = _GRADIENT_RTOL.get(name, 1e-8)
        np.testing.assert_allclose(gradient[good], slope[good], rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", list(OPERATORS))
def test_every_row_has_a_reference_and_latex_with_its_arguments(name: str) -> None:
    row = OPERATORS[name]
    assert row.reference
    torch_alone = row.function.startswith(("torch.", "operator.")) or row.separator is not None
    assert torch_alone or row.code, "exported source needs code"
    filled = row.latex.format(*"abc"[: row.arity + len(row.learned)])
    assert filled.count("{") == filled.count("}")
    assert row.cost >= 0
    assert row.weight >= 0


def test_a_row_without_a_weight_is_drawn_only_where_a_space_names_it() -> None:
    assert Operator("f", 1, "f {}", 1, "torch.sin").weight == 0
    unweighted = {name for name, row in OPERATORS.items() if row.weight == 0}
    assert "identity" in unweighted
    for operators in (None, "all"):
        assert not unweighted & set(acs.Space(operators=operators).operator_names)
    assert acs.Space(operators=["identity"]).operator_names == ("identity",)


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
