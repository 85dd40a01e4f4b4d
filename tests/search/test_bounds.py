"""Interval bounds: nothing that a formula does lies outside of them, and they are close."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import actsearch as acs
from actsearch.activations import build_expression
from actsearch.bounds import Interval, bound_magnitude, bound_slope, bound_values, enclose
from actsearch.errors import FormulaError
from actsearch.operators import OPERATORS

FORMULAS = (
    "max(x, sin(x), 0.1 * x)", "min(x, 1, cos(x))", "piecewise(0.1 * x, x * x)", "mix(x, tanh(x), 0.3)",
    "gate(sin(x), x)", "prod(x, x, tanh(x))", "x**3 - 2 * x**2", "abs(x)**1.5", "x**-2", "2**x", "sinc(2 * x)",
    "x / (1 + square(x))", "sum(x, abs(x - 1), sign(x))", "log(x)", "1 / x", "sqrt(x) + log1p(x)",
)  # fmt: skip
CALLS = tuple(
    f"{name}(x)" for name, row in OPERATORS.items() if row.arity == 1 and row.symbol is None
)
FIXED = tuple(
    name
    for name, row in acs.catalog.items()
    if row.elementwise and row.role == "hidden" and not row.learned and not row.straight_through
)


@pytest.mark.parametrize("formula", [*FORMULAS, *CALLS, *FIXED])
def test_values_and_slopes_of_torch_lie_within(formula: str) -> None:
    """On intervals of any width and place, those that end at kinks included."""
    tree = build_expression(formula)
    draw = np.random.default_rng(0)
    low = np.concatenate([draw.uniform(-8, 8, 60), [-3.0, -1.0, 0.0, 0.0, -2.0]])
    width = np.concatenate([draw.choice([1e-6, 1e-2, 0.5, 4.0], 60), [6.0, 1.0, 1.0, 0.0, 2.0]])
    found = enclose(tree, Interval(low, low + width))
    points = low[:, None] + width[:, None] * np.linspace(0, 1, 33)
    x = torch.tensor(points, requires_grad=True)
    y = acs.activation(tree).double().eval()(x)
    (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    slopes = np.zeros_like(points) if slope is None else slope.numpy()
    values = y.detach().numpy()
    has_value = np.isfinite(values)
    assert not (
        has_value
        & (
            (values < found.values.low[:, None] - 1e-12)
            | (values > found.values.high[:, None] + 1e-12)
        )
    ).any()
    near = 1e-7 * np.maximum(1, np.abs(slopes))  # torch holds some constants in single precision
    inside = (slopes >= found.slopes.low[:, None] - near) & (
        slopes <= found.slopes.high[:, None] + near
    )
    # at the end of an interval, a kink's slope is of one side here and a convention of torch's there
    assert inside[:, 1:-1][np.isfinite(slopes[:, 1:-1])].all()
    assert np.isinf(found.values.magnitude[(~has_value).any(1)]).all()


def test_bounds_are_close_where_the_answer_is_known() -> None:
    top, bottom = bound_values(acs.parse("sin(x)"), -10, 10)
    assert 1 <= top.at_most <= 1.002
    assert 1 <= bottom.at_most <= 1.002
    steepest, falling = bound_slope(build_expression("gelu"), -20, 20)
    assert 1.1289 <= steepest.at_most <= 1.1311  # at sqrt(2)
    assert math.isclose(steepest.point, math.sqrt(2), abs_tol=0.05)
    assert 0.1289 <= falling.at_most <= 0.1292
    largest = bound_magnitude(acs.parse("x * exp(-x)"), 0, 20)
    assert math.exp(-1) - 1e-9 <= largest.at_most <= 1.0011 * math.exp(-1)
    assert math.isclose(largest.point, 1, abs_tol=0.05)


def test_a_pole_and_a_jump_have_no_bound_of_what_they_lack() -> None:
    assert math.isinf(bound_magnitude(acs.parse("1 / x"), -1, 1).at_most)
    assert math.isinf(bound_slope(acs.parse("sign(x)"), -1, 1)[0].at_most)
    assert bound_magnitude(acs.parse("sign(x)"), -1, 1).at_most <= 1.001


UNBOUNDED: frozenset[str] = frozenset()
"""Operators whose formulas are refused where a sure bound is needed: hinges, required properties."""


def test_every_operator_has_a_bound() -> None:
    """A new row says in bounds/functions.py how it is bounded, or is named above."""
    for name, row in OPERATORS.items():
        if name in UNBOUNDED:
            continue
        count = max(row.arity, 1)
        call = (
            acs.Expression.from_json([name, *(["x"] * count)])
            if name != "pow"
            else acs.parse("x**2")
        )
        try:
            enclose(call, Interval(np.array([0.2]), np.array([0.3])))
        except FormulaError as error:
            pytest.fail(f"{name}: {error}")
