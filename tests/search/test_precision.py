"""The same function in every precision: float64 to the last digits, bfloat16 and autocast to bfloat16's."""

from __future__ import annotations

import copy
from typing import Any

import catalog_references
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from ways_out_cases import Case, all_cases, operator_cases, value_and_gradients

import actsearch as acs

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


HALF = [torch.float16, torch.bfloat16]
each_half = pytest.mark.parametrize("dtype", HALF, ids=str)


def _half_numbers(dtype: torch.dtype) -> Tensor:
    """Every fifth finite number of half precision, and the first and last ones."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    numbers = bits.view(dtype)
    numbers = numbers[numbers.isfinite()].sort().values
    return torch.cat([numbers[:20], numbers[::5], numbers[-20:]])


def _off_by(found: Tensor, exact: Tensor) -> float:
    """The largest error, in roundings of the dtype at the size of the exact number, or of 1 where that is smaller.

    Infinity is required just where the exact number rounds to it.
    """
    rounded = exact.to(found.dtype)
    finite = rounded.isfinite()
    torch.testing.assert_close(found.isfinite(), finite, rtol=0, atol=0)
    spacing = torch.exp2(exact[finite].abs().clamp_min(1).log2().floor())
    error = (found[finite].double() - exact[finite]).abs() / spacing
    return float(error.max()) / torch.finfo(found.dtype).eps


# Half a rounding is exact. torch's own kernels take some more; learned numbers are rounded themselves, once each.
_HALF_BOUND = 1.5


@each_half
@pytest.mark.parametrize("case", catalog_references.CASES, ids=str)
def test_in_half_precision_a_row_is_right_wherever_its_value_is_a_number(
    case: catalog_references.Case, dtype: torch.dtype
) -> None:
    x = _half_numbers(dtype)
    if case.name == "srelu":
        x = x[
            x.abs() < 1e15
        ]  # it adds and subtracts x: further out not even double precision holds the rest
    if case.name == "hardswish":
        x = x[x.abs() < 5e37]  # torch's kernel multiplies by 6 before it divides
    if case.name == "gelu":
        x = x[
            x.abs() < 1.6e38
        ]  # with AVX-512 torch's kernel multiplies by 1 + erf before it halves
    module = acs.activation(case.name, **case.settings).eval().to(dtype)
    with np.errstate(all="ignore"):
        exact = torch.from_numpy(np.asarray(case.closed_form(x.double().numpy()), np.float64))
    known = exact.isfinite()  # the definition as it is written may overflow
    with torch.no_grad():
        assert _off_by(module(x)[known], exact[known]) < _HALF_BOUND


def _slopes(module: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module(x).sum(), x, materialize_grads=True)
    return slope


_COMPOSED = [
    "x**4 / (1 + x**4)",
    "exp(x) / (1 + exp(x))",
    "sqrt(1 + square(x)) - 1",
    "cube(x) / (1 + abs(cube(x)))",
    "max(x, 100000) / 100000 - min(0.1, x)",
    "x * sigmoid(param(1.3) * x) + max(param(0.2) * x, square(x) / 70000)",
]


@each_half
@pytest.mark.parametrize(
    "what", [*(n for n in acs.catalog if acs.catalog[n].elementwise), *_COMPOSED]
)
def test_in_half_precision_gradients_are_those_of_double_precision(
    what: str, dtype: torch.dtype
) -> None:
    x = _half_numbers(dtype)
    if what == "gelu_tanh":
        x = x[x.abs() < 1e12]  # torch's kernel cubes it
    module = acs.activation(what).eval().to(dtype)
    # in double precision the numbers that it learns are what half precision holds of them
    exact = copy.deepcopy(module).double()
    assert _off_by(_slopes(module, x), _slopes(exact, x.double())) < _HALF_BOUND
    if what in _COMPOSED:
        with torch.no_grad():
            assert _off_by(module(x), exact(x.double())) <= 0.5


_TORCH: list[tuple[str, nn.Module]] = [
    ("relu", nn.ReLU()), ("leaky_relu", nn.LeakyReLU()), ("prelu", nn.PReLU()), ("elu", nn.ELU()),
    ("selu", nn.SELU()), ("celu", nn.CELU()), ("gelu", nn.GELU()), ("silu", nn.SiLU()), ("mish", nn.Mish()),
    ("softplus", nn.Softplus()), ("softsign", nn.Softsign()), ("sigmoid", nn.Sigmoid()), ("tanh", nn.Tanh()),
    ("hardtanh", nn.Hardtanh()), ("hardsigmoid", nn.Hardsigmoid()), ("hardswish", nn.Hardswish()),
    ("relu6", nn.ReLU6()), ("logsigmoid", nn.LogSigmoid()), ("threshold", nn.Threshold(1.0, 0.0)),
    ("hardshrink", nn.Hardshrink()), ("softshrink", nn.Softshrink()), ("tanhshrink", nn.Tanhshrink()),
    ("identity", nn.Identity()), ("softmax", nn.Softmax(-1)), ("log_softmax", nn.LogSoftmax(-1)),
    ("x * sigmoid(x)", nn.SiLU()), ("max(x, 0)", nn.ReLU()), ("swish", nn.SiLU()),
]  # fmt: skip


@each_half
@pytest.mark.parametrize(("what", "module"), _TORCH, ids=[row[0] for row in _TORCH])
def test_under_autocast_the_dtype_is_that_of_torch_s_own_module(
    what: str, module: nn.Module, dtype: torch.dtype
) -> None:
    ours: Any = acs.activation(what)
    for given in (torch.float32, *HALF):
        x = torch.randn(4, 6).to(given)
        with torch.autocast("cpu", dtype):
            assert ours(x).dtype == module(x).dtype


def test_numbers_of_a_formula_keep_their_digits_in_half_precision() -> None:
    module = acs.activation("max(x, 100000) * 1e-5 + min(x, 0.1)")
    x = torch.tensor([1.0, -1.0])
    expected = module(x)
    assert module.half()(x.half()).tolist() == expected.half().tolist()
    assert torch.equal(module.float()(x), expected)


def test_a_learned_slope_runs_on_the_meta_device_which_has_no_autocast() -> None:
    with torch.device("meta"):
        assert acs.activation("prelu")(torch.zeros(2, 8)).shape == (2, 8)
