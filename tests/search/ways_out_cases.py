"""What the tests of every way out of the library share: which activations, on which points, and how close."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.expression import Call, Expression
from actsearch.operators import OPERATORS

CHANNELS = 3

FORMULAS = [
    "3",
    "x + sin(1) * 100000",
    "2.5e-7 * x - 4 / 3",
    "x * sigmoid(param(1.0) * x)",
    "max(x, 0.5) - min(-1.5, param(0.3))",
    "piecewise(param(0.1) * x, 2) + 2**x",
    "mix(relu(x), sum(x, 1, sin(x))) - prod(x, 0.5, min(x, 1, param(0.4)))",
    "gate(2, x) - x**3 / 7 + square(sin(x)) * sin(x)",
    'tanh(param(1.0, per="channel") * x) * param(2.0) + param(0.1, per="channel")',
    "0.5 * x * (1 + tanh(0.79788456 * (x + 0.044715 * cube(x))))",
]
"""Composed ones: folded numbers, numbers that must be tensors, shared parts, parameters of both scopes."""

_DOMAIN = {name: "square(x) + 0.5" for name in ("sqrt", "reciprocal", "log", "log1p")}
"""Arguments on which an operator is finite and smooth; x for every other."""


class Case(NamedTuple):
    """An activation that must be the same whichever way it leaves the library."""

    name: str
    what: str | Expression
    settings: dict[str, Any]

    def module(self, channels: int = CHANNELS) -> nn.Module:
        """In evaluation mode; learned numbers moved away from their start, each to another value."""
        module = acs.activation(self.what, channels=channels, **self.settings).eval()
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                parameter.add_(torch.linspace(0.02, 0.06, parameter.numel()).view(parameter.shape))
                parameter.mul_(1 + 0.1 * index)
        return module


def operator_call(name: str, *, finite: bool = False) -> Expression:
    """An operator applied to x, one of two arguments to two expressions of x, one of any number to three.

    Args:
        name: the operator.
        finite: keep to where its values are finite, for tests that compare gradients of all points.
    """
    first = "1 + x*x" if name == "pow" else _DOMAIN.get(name, "x") if finite else "x"
    arguments = [acs.parse(text) for text in (first, "sin(x) + 2", "x / 3 - 1")]
    row = OPERATORS[name]
    return Call(name, tuple(arguments[: 3 if row.separator is not None else row.arity]))


def operator_cases(*, finite: bool = False) -> list[Case]:
    """One for every operator."""
    return [Case(name, operator_call(name, finite=finite), {}) for name in OPERATORS]


def recommended_cases() -> list[Case]:
    """One for every recommended row of the catalog, learned ones also with a number for the whole tensor."""
    cases = []
    for name in acs.catalog.names(tier="recommended"):
        cases.append(Case(f"row {name}", name, {}))
        if any(setting.name == "per" for setting in acs.catalog[name].hyperparameters):
            cases.append(Case(f"row {name}, shared", name, {"per": "tensor"}))
    return [*cases, Case("row relu, 0.5 at 0", "relu", {"grad_at_zero": 0.5})]


def formula_cases() -> list[Case]:
    """The composed formulas."""
    return [Case(text, text, {}) for text in FORMULAS]


def all_cases(*, finite: bool = False) -> list[Case]:
    """Operators, recommended rows, composed formulas."""
    return [*operator_cases(finite=finite), *recommended_cases(), *formula_cases()]


def in_gate(cases: list[Case], sample: Collection[str]) -> list[Any]:
    """Parameters for pytest: those of the sample run always, the others are marked slow."""
    assert set(sample) <= {case.name for case in cases}
    return [
        pytest.param(case, id=case.name, marks=() if case.name in sample else pytest.mark.slow)
        for case in cases
    ]


def points() -> Tensor:
    """Even points that include the usual kinks, and some far out; shape (12, 3)."""
    far = torch.tensor([-0.0, 1e-4, -1e-4, 0.1, -0.1, 2.2, -2.2, 15.0, -15.0, 30.0, -30.0])
    return torch.cat([torch.linspace(-6, 6, 25), far]).reshape(-1, CHANNELS)


def extremes() -> Tensor:
    """NaN, and points where a careless formula overflows; each in every channel; shape (12, 3)."""
    numbers = [float("nan"), 50, -50, 88, -88, 100, -100, 1e4, -1e4, 1e-8, -1e-8, 0.0]
    return torch.tensor(numbers).unsqueeze(1).expand(-1, CHANNELS).contiguous()


def value_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, then the gradients of a weighted sum of it in the input and in every parameter."""
    x = x.clone().requires_grad_()
    y = module(x)
    weights = torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
    wanted = [x, *module.parameters()]
    if not y.requires_grad:
        return [y]
    gradients = torch.autograd.grad((y * weights).sum(), wanted, materialize_grads=True)
    return [y.detach(), *gradients]


def assert_same(found: Tensor, expected: Tensor, x: Tensor, atol: float = 1e-6) -> None:
    """Within rounding of float32, on the scale of the larger of the result, the input and 1.

    Two implementations of erf or of a sigmoid differ by 1e-7 where they are near 0; the input multiplies that.
    """
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.isnan(), expected.isnan(), rtol=0, atol=0)
    scale = x.abs().clamp_min(1).nan_to_num() if x.shape == expected.shape else torch.tensor(100.0)
    torch.testing.assert_close(
        found / scale, expected / scale, rtol=1e-5, atol=atol, equal_nan=True
    )
