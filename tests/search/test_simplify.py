"""Parts of a formula that change nothing are left out, and nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actsearch as acs
from actsearch.screening import simplify
from actsearch.strategies import Space
from actsearch.strategies.genetic.trees import primitive_set
from actsearch.strategies.genetic.variation import random_formula


@pytest.mark.parametrize(
    ("bloated", "lean"),
    [
        ("sin(x * min(x, max(0, x)))", "sin(x * x)"),
        ("max(x, x - 1)", "x"),
        ("relu(relu(x)) + 1", "1 + relu(x)"),
        ("abs(square(x))", "square(x)"),
        ("x * tanh(x) + 0 * x", "x * tanh(x)"),
        ("tanh(x) - tanh(x) + sin(x)", "sin(x)"),
        ("max(sigmoid(x), -1) * x", "x * sigmoid(x)"),
        ("gate(x, x - x + 3)", "gate(x, 3)"),
        ("param(0.5) * relu(abs(x))", "param(0.5) * abs(x)"),
        ("mix(x, abs(abs(x)))", "mix(x, abs(x), param(0.5))"),
        ("sum(x, sin(x), x - x)", "x + sin(x)"),
        ("x * (sigmoid(sigmoid(2)) - sigmoid(sigmoid(2)))", "0"),
    ],
)
def test_what_changes_nothing_goes(bloated: str, lean: str) -> None:
    assert simplify(acs.parse(bloated)) == simplify(acs.parse(lean))
    assert simplify(acs.parse(bloated)).size == acs.parse(lean).size


@pytest.mark.parametrize(
    "formula",
    [
        "max(0, x)",  # not relu: another gradient at 0
        "x * sigmoid(param(1.0) * x)",  # not silu: it learns
        "param(0.0) * x + tanh(x)",
        "sqrt(x) * 0",  # NaN to the left
        "1 / x - 1 / x",
        "piecewise(x, abs(x))",  # x, but for the gradient at 0
        "x",
    ],
)
def test_what_is_another_candidate_stays(formula: str) -> None:
    tree = acs.parse(formula)
    assert simplify(tree).size == tree.size
    assert acs.fingerprint(simplify(tree)) == acs.fingerprint(tree)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_values_stay_those_of_the_formula(seed: int) -> None:
    random.seed(seed)
    tree = random_formula(primitive_set(Space(operators="all")))
    short = simplify(tree)
    assert short.size <= tree.size
    x = torch.linspace(-3.1, 3.3, 41, dtype=torch.float64).unsqueeze(
        1
    )  # between the points of identity
    with torch.no_grad():
        one, other = (acs.activation(item).double()(x).numpy() for item in (tree, short))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
