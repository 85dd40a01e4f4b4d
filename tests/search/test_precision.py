"""The same function in every precision: float64 to the last digits, bfloat16 and autocast to bfloat16's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from ways_out_cases import Case, all_cases, operator_cases, value_and_gradients

CASES = all_cases(finite=True)
BFLOAT16 = 2.0**-8  # rounding of one number, relative


def _distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference, relative to what was expected."""
    assert found.isfinite().all()
    return float((found.float() - expected).norm() / expected.norm().clamp_min(1e-6))


def _normal(*shape: int) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_bfloat16_values_and_gradients_are_right_to_a_few_roundings(case: Case) -> None:
    x = _normal(512, 3).bfloat16()
    module = case.module()
    exact = copy.deepcopy(module)
    module.bfloat16()
    with torch.no_grad():  # what bfloat16 holds of the learned numbers
        for parameter, rounded in zip(exact.parameters(), module.parameters(), strict=True):
            parameter.copy_(rounded)
    found = value_and_gradients(module, x)
    expected = value_and_gradients(exact, x.float())
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found, expected, strict=True):
        assert _distance(one, other) < 8 * BFLOAT16


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_under_autocast_computes_and_learns_what_it_does_in_float32(case: Case) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), case.module(channels=16), nn.Linear(16, 4))
    x, weights = _normal(64, 8), torch.linspace(0.5, 1.5, 4)
    results: list[list[Tensor]] = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = model(x)
        loss = (y.float() * weights).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
        results.append([y.detach(), *gradients])
    (found, *found_slopes), (expected, *expected_slopes) = results
    jumps = case.name == "sign"  # rounding carries some inputs across 0
    assert _distance(found, expected) < (0.15 if jumps else 0.06)
    assert {slope.dtype for slope in found_slopes} == {torch.float32}
    for one, other in zip(found_slopes, expected_slopes, strict=True):
        assert _distance(one, other) < 0.15  # sums of 64 samples, in which much cancels


@pytest.mark.parametrize("case", operator_cases(finite=True), ids=lambda case: case.name)
def test_in_float64_a_formula_has_the_derivative_of_its_values(case: Case) -> None:
    module = case.module().double()
    x = torch.tensor([[-4.1, -1.7, -0.6], [0.4, 1.3, 3.6]], dtype=torch.float64)
    assert module(x).dtype == torch.float64
    # torch's hardsigmoid kernel holds 1/6 in single precision
    assert torch.autograd.gradcheck(module, x.requires_grad_(), rtol=1e-6, atol=1e-8)
