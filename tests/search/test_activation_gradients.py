"""Derivatives that a formula leaves open: at kinks, through a step; and autograd's own check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

import actsearch as acs
from actsearch.activations import curve, value_and_gradient

_INF, _NAN = float("inf"), float("nan")
POINTS = torch.tensor(
    [0.0, -0.0, 1, -1, 3, -3, 6, -6, 0.5, -0.5, 2.2, -2.2, 20.5, -20.5, 700, -700],
    dtype=torch.float64,
)

TORCH: list[tuple[str, dict[str, Any], nn.Module]] = [
    ("identity", {}, nn.Identity()),
    ("relu", {}, nn.ReLU()),
    ("leaky_relu", {"negative_slope": 0.3}, nn.LeakyReLU(0.3)),
    ("rrelu", {"lower": 0.1, "upper": 0.9}, nn.RReLU(0.1, 0.9).eval()),
    ("elu", {"alpha": 0.7}, nn.ELU(0.7)),
    ("selu", {}, nn.SELU()),
    ("celu", {"alpha": 2.0}, nn.CELU(2.0)),
    ("gelu", {}, nn.GELU()),
    ("gelu_tanh", {}, nn.GELU(approximate="tanh")),
    ("silu", {}, nn.SiLU()),
    ("mish", {}, nn.Mish()),
    ("softplus", {"beta": 2.0}, nn.Softplus(2.0)),
    ("softsign", {}, nn.Softsign()),
    ("sigmoid", {}, nn.Sigmoid()),
    ("tanh", {}, nn.Tanh()),
    ("hardtanh", {"min_val": -0.5, "max_val": 3.0}, nn.Hardtanh(-0.5, 3.0)),
    ("hardsigmoid", {}, nn.Hardsigmoid()),
    ("hardswish", {}, nn.Hardswish()),
]


def _gradient_at(points: list[float], what: str, **settings: Any) -> tuple[Tensor, Tensor]:
    module = acs.activation(what, **settings).double()
    return value_and_gradient(module, torch.tensor(points, dtype=torch.float64))


@pytest.mark.parametrize(("name", "settings", "module"), TORCH, ids=[row[0] for row in TORCH])
def test_a_row_that_torch_has_is_exchangeable_with_torch_kinks_included(
    name: str, settings: dict[str, Any], module: nn.Module
) -> None:
    ours = value_and_gradient(acs.activation(name, **settings).double().eval(), POINTS)
    theirs = value_and_gradient(module, POINTS)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)


def test_prelu_is_torchs_prelu_except_for_the_free_choice_of_gradient_at_zero() -> None:
    ours, theirs = acs.activation("prelu", init=0.4).double(), nn.PReLU(init=0.4).double()
    points = POINTS[POINTS != 0]
    torch.testing.assert_close(
        value_and_gradient(ours, points), value_and_gradient(theirs, points), rtol=1e-7, atol=0
    )
    ours(POINTS).sum().backward()
    theirs(POINTS).sum().backward()
    (our_slope,), (their_slope,) = ours.parameters(), theirs.parameters()
    assert our_slope.grad is not None
    assert their_slope.grad is not None
    assert our_slope.grad.item() == pytest.approx(their_slope.grad.item())
    _, at_zero = _gradient_at([0.0], "prelu", init=0.4)
    assert 0.4 <= at_zero.item() <= 1.0


@pytest.mark.parametrize("choice", [0.0, 0.5, 1.0])
def test_relu_has_the_chosen_gradient_at_exactly_zero_and_relus_elsewhere(choice: float) -> None:
    points = [-1.0, -5e-324, -0.0, 0.0, 5e-324, 2.0]
    value, gradient = _gradient_at(points, "relu", grad_at_zero=choice)
    assert value.tolist() == [0, 0, 0, 0, 5e-324, 2]
    assert gradient.tolist() == [0, 0, choice, choice, 1, 1]


def test_step_is_zero_or_one_and_lets_gradients_through_on_its_window() -> None:
    points = [-_INF, -1e300, -1.5, -1.0, -0.3, -0.0, 0.0, 1e-300, 0.3, 1.0, 1.5, 1e300, _INF]
    value, gradient = _gradient_at(points, "step")
    assert value.tolist() == [0] * 5 + [1] * 8
    assert gradient.tolist() == [0] * 3 + [1] * 7 + [0] * 3
    formula, _ = _gradient_at(points, "piecewise(0, 1)")
    assert torch.equal(formula, value)


def test_a_tie_of_max_affine_gives_a_gradient_between_the_slopes_that_meet() -> None:
    for pieces in (2, 3, 4):
        _, gradient = _gradient_at([0.0], "max_affine", pieces=pieces)
        assert 0.25 <= gradient.item() <= 1


@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_softmax_has_value_and_gradient_of_its_definition_on_each_dimension(dim: int) -> None:
    rng = np.random.default_rng(3)
    x, upstream = rng.normal(size=(2, 3, 4)) * 5, rng.normal(size=(2, 3, 4))
    tensor = torch.tensor(x, requires_grad=True)
    y = acs.activation("softmax", dim=dim)(tensor)
    y.backward(torch.from_numpy(upstream))
    p = special.softmax(x, axis=dim)
    expected = p * (upstream - (p * upstream).sum(axis=dim, keepdims=True))
    assert tensor.grad is not None
    np.testing.assert_allclose(y.detach().numpy(), p, rtol=1e-12)
    np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-9, atol=1e-14)


_ELEMENTWISE = [
    name for name, row in acs.catalog.items() if row.elementwise and not row.straight_through
]


@pytest.mark.parametrize("name", _ELEMENTWISE)
def test_autograd_agrees_with_differences_in_the_input_and_in_every_parameter(name: str) -> None:
    module = acs.activation(name).double().eval()
    x = torch.tensor([[-4.1, -1.7, -0.6], [0.4, 1.3, 3.6]], dtype=torch.float64)
    names = [key for key, _ in module.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Any:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (x,))

    # torch's hardsigmoid kernel holds 1/6 in single precision
    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *values), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("text", ["3", "sin(1) + param(2.0)", "sign(x)", "piecewise(0, 1)"])
def test_a_flat_formula_has_the_gradient_zero(text: str) -> None:
    _, gradient = _gradient_at([-1.0, 0.5, 2.0], text)
    assert gradient.tolist() == [0, 0, 0]


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_a_curve_samples_values_and_slopes_on_an_even_grid(beta: float) -> None:
    x, y, dy = curve(f"x * sigmoid({beta} * x)", -2, 2, 5)
    s = special.expit(beta * x)
    np.testing.assert_array_equal(x, [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(y, x * s, rtol=1e-12)
    np.testing.assert_allclose(dy, s + beta * x * s * (1 - s), rtol=1e-12)


def test_a_curve_of_what_is_not_a_function_of_one_number_is_refused() -> None:
    with pytest.raises(acs.ActivationError, match="softmax is not a function of one number"):
        curve("softmax")
