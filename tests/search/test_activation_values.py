"""Every catalog row in float64 against closed forms in numpy and scipy, written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special

import actsearch as acs
from actsearch.activation import value_and_gradient

Array = npt.NDArray[np.float64]

GRID = np.array(
    [0.0, -0.0, 1, -1, 3, -3, 6, -6, 0.37, -0.37, 2.2, -2.2, 20.5, -20.5, 700, -700, 1e-6, -1e-6]
)
_STEP = 2e-4


@dataclass(frozen=True)
class Case:
    """A row with settings, what it computes by its paper, and where it has no derivative."""

    name: str
    settings: dict[str, Any]
    closed_form: Callable[[Array], Array]
    kinks: tuple[float, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.name, *(str(value) for value in self.settings.values())])


def _ramp(slope: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > 0, x, slope * x)


def _elu(scale: float, alpha: float, width: float = 1.0) -> Callable[[Array], Array]:
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width))


def _largest(*slopes: float) -> Callable[[Array], Array]:
    return lambda x: np.max([slope * x for slope in slopes], axis=0)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


# learned numbers start in single precision: their settings here are exact in it
CASES = [
    Case("identity", {}, lambda x: x),
    *(Case("relu", {"grad_at_zero": g}, _ramp(0), (0,)) for g in (0.0, 0.5, 1.0)),
    Case("leaky_relu", {}, _ramp(0.01), (0,)),
    *(Case("leaky_relu", {"negative_slope": s}, _ramp(s), (0,)) for s in (0.2, 1.0)),
    Case("prelu", {}, _ramp(0.25), (0,)),
    *(Case("prelu", {"init": s}, _ramp(s), (0,)) for s in (-0.5, 0.75)),
    Case("rrelu", {}, _ramp((1 / 8 + 1 / 3) / 2), (0,)),
    Case("rrelu", {"lower": 0.05, "upper": 0.3}, _ramp(0.175), (0,)),
    Case("rrelu", {"lower": 0.25, "upper": 1.0}, _ramp(0.625), (0,)),
    Case("elu", {}, _elu(1, 1), (0,)),
    *(Case("elu", {"alpha": a}, _elu(1, a), (0,)) for a in (0.1, 2.5)),
    Case("selu", {}, _elu(1.0507009873554804934, 1.6732632423543772848), (0,)),
    Case("celu", {}, _elu(1, 1), (0,)),
    *(Case("celu", {"alpha": a}, _elu(1, a, a), (0,)) for a in (0.4, 3.0)),
    Case("gelu", {}, lambda x: x * special.ndtr(x)),
    Case(
        "gelu_tanh",
        {},
        lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    Case("silu", {}, lambda x: x * special.expit(x)),
    Case("swish", {}, lambda x: x * special.expit(x)),
    Case("swish", {"beta": 0.5}, lambda x: x * special.expit(0.5 * x)),
    Case("swish", {"beta": 3.0}, lambda x: x * special.expit(3 * x)),
    Case("mish", {}, lambda x: x * np.tanh(_softplus(x))),
    Case("softplus", {}, _softplus),
    Case("softplus", {"beta": 0.5}, lambda x: _softplus(0.5 * x) / 0.5),
    Case("softplus", {"beta": 7.0}, lambda x: _softplus(7 * x) / 7),
    Case("softsign", {}, lambda x: x / (1 + np.abs(x)), (0,)),
    Case("sigmoid", {}, special.expit),
    Case("tanh", {}, np.tanh),
    Case("hardtanh", {}, lambda x: np.clip(x, -1, 1), (-1, 1)),
    Case("hardtanh", {"min_val": -3, "max_val": 0.5}, lambda x: np.clip(x, -3, 0.5), (-3, 0.5)),
    Case("hardtanh", {"min_val": 0, "max_val": 6}, lambda x: np.clip(x, 0, 6), (0, 6)),
    Case("hardsigmoid", {}, lambda x: np.clip(x + 3, 0, 6) / 6, (-3, 3)),
    Case("hardswish", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6, (-3, 3)),
    Case("sin", {}, np.sin),
    Case("sin", {"omega": 0.5}, lambda x: np.sin(0.5 * x)),
    Case("sin", {"omega": 30.0}, lambda x: np.sin(30 * x)),
    Case("maxout", {}, _largest(1, 0.25), (0,)),
    Case("maxout", {"pieces": 3}, _largest(1, 0.625, 0.25), (0,)),
    Case("maxout", {"pieces": 4}, _largest(1, 0.75, 0.5, 0.25), (0,)),
]

_each_case = pytest.mark.parametrize("case", CASES, ids=str)


def _computed(what: Any, points: Array, **settings: Any) -> tuple[Array, Array]:
    module = acs.activation(what, **settings).double().eval()
    value, gradient = value_and_gradient(module, torch.from_numpy(points))
    return value.numpy(), gradient.numpy()


def _off_kinks(case: Case, distance: float = 3 * _STEP) -> npt.NDArray[np.bool_]:
    kinks = np.array([*case.kinks, np.inf])
    return np.asarray(np.abs(GRID[:, None] - kinks).min(axis=1) > distance)


def _atol(case: Case) -> float:
    """Torch's softplus is linear from 20 on, which is off by exp(-20)."""
    return 3e-9 if case.name in ("softplus", "mish") else 1e-13


def test_every_row_of_the_catalog_has_its_closed_form_here() -> None:
    assert {case.name for case in CASES} | {"step", "softmax"} == set(acs.catalog)


@_each_case
def test_values_are_those_of_the_published_formula(case: Case) -> None:
    value, _ = _computed(case.name, GRID, **case.settings)
    np.testing.assert_allclose(value, case.closed_form(GRID), rtol=1e-11, atol=_atol(case))


@_each_case
def test_gradients_are_those_of_the_published_formula(case: Case) -> None:
    points = GRID[_off_kinks(case)]
    _, gradient = _computed(case.name, points, **case.settings)
    f, h = case.closed_form, _STEP
    expected = (8 * (f(points + h) - f(points - h)) - f(points + 2 * h) + f(points - 2 * h)) / 12
    np.testing.assert_allclose(gradient, expected / h, rtol=1e-7, atol=1e-8)


@_each_case
def test_the_formula_of_a_row_computes_the_same_function_as_its_module(case: Case) -> None:
    row = acs.catalog[case.name]
    tree = row.expression(row.bind(case.settings))
    value, gradient = _computed(tree, GRID)
    fused_value, fused_gradient = _computed(case.name, GRID, **case.settings)
    np.testing.assert_allclose(value, fused_value, rtol=1e-11, atol=_atol(case))
    smooth = _off_kinks(case)
    np.testing.assert_allclose(gradient[smooth], fused_gradient[smooth], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", acs.catalog.names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_of_the_input_are_kept(name: str, dtype: torch.dtype) -> None:
    module = acs.activation(name)
    for shape in ((1,), (2, 3), (0, 3), (2, 3, 4, 5)):
        y = module(torch.ones(shape, dtype=dtype))
        assert (y.shape, y.dtype) == (torch.Size(shape), dtype)


@pytest.mark.parametrize("name", acs.catalog.names())
def test_nan_is_never_hidden_and_the_input_never_written_to(name: str) -> None:
    x = torch.tensor([[float("nan"), -1.0, 0.5]])
    before = x.clone()
    assert acs.activation(name)(x)[0, 0].isnan()
    torch.testing.assert_close(x, before, rtol=0, atol=0, equal_nan=True)
