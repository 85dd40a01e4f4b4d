"""What physics-informed models differentiate twice: every form has the second derivative of its values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways_out_cases import Case, formula_cases, operator_cases

import actsearch as acs

ROWS = [
    Case(name, name, {})
    for name, row in acs.catalog.items()
    if row.elementwise and not row.straight_through
]
PIECEWISE_LINEAR = [
    "max(x, 0)", "x", "3 * x - 1", "min(x, 1, 0.1 * x)", "piecewise(0.1 * x, x)", "x / 2 + min(0, x)",
    "mix(max(x, 0), x)", "sum(x, 1, max(x, 2))", "prod(max(x, 0), 0.5, 3)", "-max(-x, param(0.1) * x)",
    "gate(1, x)", "sign(x) + x", "identity(x)", "hardsigmoid(x)",
]  # fmt: skip
TORCH: list[tuple[str, dict[str, Any], nn.Module]] = [
    ("relu", {}, nn.ReLU()),
    ("leaky_relu", {}, nn.LeakyReLU()),
    ("prelu", {}, nn.PReLU()),
    ("rrelu", {}, nn.RReLU()),
    ("max(x, 0)", {}, nn.ReLU()),
    ("min(max(x, -1), 1)", {}, nn.Hardtanh()),
    ("min(max(x, 0), 6)", {}, nn.ReLU6()),
    ("max(x, 0) + expm1(min(x, 0))", {}, nn.ELU()),
    ("elu", {"alpha": 0.7}, nn.ELU(0.7)),
    ("celu", {}, nn.CELU()),
    ("selu", {}, nn.SELU()),
    ("gelu", {}, nn.GELU()),
    ("gelu_tanh", {}, nn.GELU("tanh")),
    ("silu", {}, nn.SiLU()),
    ("x * sigmoid(x)", {}, nn.SiLU()),
    ("mish", {}, nn.Mish()),
    ("softplus", {"beta": 2.0}, nn.Softplus(2.0)),
    ("softsign", {}, nn.Softsign()),
    ("sigmoid", {}, nn.Sigmoid()),
    ("tanh", {}, nn.Tanh()),
    ("tanhshrink", {}, nn.Tanhshrink()),
    ("logsigmoid", {}, nn.LogSigmoid()),
    ("hardswish", {}, nn.Hardswish()),
    ("hardshrink", {}, nn.Hardshrink()),
    ("softshrink", {}, nn.Softshrink()),
    ("threshold", {"threshold": 0.1, "value": 0.2}, nn.Threshold(0.1, 0.2)),
]


def _derivatives(model: nn.Module, t: Tensor, order: int) -> list[Tensor]:
    """u_t, u_tt, ... of a model of one coordinate, as such models are written: nothing may be unused."""
    t = t.clone().requires_grad_()
    y, found = model(t), []
    for _ in range(order):
        (y,) = torch.autograd.grad(y.sum(), t, create_graph=True)
        found.append(y)
    return found


def _network(act: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(1, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 1)]
    return nn.Sequential(*layers).to(dtype).eval()


TIMES = torch.linspace(-1, 1, 8, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize(
    "case", [*ROWS, *operator_cases(finite=True), *formula_cases()[1:]], ids=lambda case: case.name
)
def test_it_is_that_of_finite_differences_in_the_input_and_in_every_parameter(case: Case) -> None:
    module = case.module().double()
    x = torch.tensor([[-4.1, -1.7, -0.6], [0.4, 1.3, 3.7]], dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Any:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, given, (x,))

    def curvature(x: Tensor, *parameters: Tensor) -> Any:
        """A derivative of the derivatives: all second ones, mixed with steps of every argument."""
        slopes = torch.autograd.grad(
            call(x, *parameters).sum(), (x, *parameters), create_graph=True, allow_unused=True
        )
        return tuple(slope for slope in slopes if slope is not None and slope.requires_grad)

    assert torch.autograd.gradcheck(curvature, (x.requires_grad_(), *values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", [*PIECEWISE_LINEAR, *(case.name for case in ROWS)])
def test_a_model_is_differentiated_twice_with_nothing_unused(text: str) -> None:
    network = _network(acs.activation(text))
    second = _derivatives(network, TIMES, 2)[1]
    assert second.isfinite().all()
    if text in PIECEWISE_LINEAR:
        assert not second.any()


@pytest.mark.parametrize(("name", "settings", "module"), TORCH, ids=[row[0] for row in TORCH])
def test_derivatives_of_a_model_are_those_with_torch_s_own_module(
    name: str, settings: dict[str, Any], module: nn.Module
) -> None:
    for order in (2, 3):
        try:
            theirs = _derivatives(_network(module), TIMES, order)
        except RuntimeError:
            assert order == 3  # that of a leaky ReLU does not exist for torch
            return
        ours = _derivatives(_network(acs.activation(name, **settings)), TIMES, order)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # jacfwd calls it
@pytest.mark.parametrize("text", ["relu", "prelu", "max(x, 0)", "hardsigmoid", "maxout", "step"])
def test_functional_hessians_are_those_of_autograd(text: str) -> None:
    pieces = 2 if text == "maxout" else 1
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 4 * pieces), acs.activation(text), nn.Linear(4, 1))
    network.double()
    backward = _derivatives(network, TIMES, 2)[1]
    for outer in (torch.func.jacrev, torch.func.jacfwd):
        second = torch.func.vmap(outer(torch.func.jacrev(lambda t: network(t[None]).sum())))
        assert torch.equal(second(TIMES).flatten(), backward.flatten())
        assert not backward.any()


def test_values_and_gradients_of_hardsigmoid_are_bit_for_bit_torch_s() -> None:
    x = torch.linspace(-5, 5, 1001).requires_grad_()
    weights = torch.linspace(0.1, 2, 1001)
    theirs = torch.nn.functional.hardsigmoid(x)
    for what in ("hardsigmoid", "hardsigmoid(x)"):
        ours = acs.activation(what)(x)
        assert torch.equal(ours, theirs)
        for one, other in zip(
            torch.autograd.grad(ours, x, weights),
            torch.autograd.grad(theirs, x, weights, retain_graph=True),
            strict=True,
        ):
            assert torch.equal(one, other)
