"""Hinge sums: at least as good as the hand-made one, honest about their error, exact where that is possible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special

import actsearch as acs


def hand_made_sigmoid(x: np.ndarray) -> np.ndarray:
    """The four-hinge sum of the project's sources."""
    h1, h2, h3, h4 = (np.maximum(x + shift, 0) for shift in (4, 2, -2, -4))
    inner = 0.00776 * x + 0.0429 * h1 + 0.1398 * h2 - 0.1398 * h3 - 0.0429 * h4 + 0.0490
    outer: np.ndarray = np.maximum(inner, 0)
    return outer


def largest_error(fit: acs.HingeSum, reference: np.ufunc, points: np.ndarray) -> float:
    values = fit.module().double()(torch.from_numpy(points)).numpy()
    return float(np.abs(values - reference(points)).max())


def test_four_hinges_beat_the_hand_made_sigmoid() -> None:
    grid = np.linspace(-6, 6, 12001)
    by_hand = np.abs(hand_made_sigmoid(grid) - special.expit(grid)).max()
    fit = acs.approximate("sigmoid", hinges=4)
    assert largest_error(fit, special.expit, grid) <= by_hand
    assert largest_error(fit, special.expit, grid) < 0.02


@pytest.mark.parametrize(
    ("name", "reference"), [("sigmoid", special.expit), ("tanh", np.tanh), ("sin", np.sin)]
)
def test_stated_error_is_the_true_one(name: str, reference: np.ufunc) -> None:
    fit = acs.approximate(name, hinges=5)
    assert fit.max_error == pytest.approx(
        largest_error(fit, reference, np.linspace(-6, 6, 24001)), rel=1e-2
    )


def test_more_hinges_are_closer() -> None:
    errors = [acs.approximate("gelu", hinges=hinges).max_error for hinges in (1, 3, 6)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("formula", ["relu", "leaky_relu", "abs(x)", "hardtanh"])
def test_piecewise_linear_functions_are_found_exactly(formula: str) -> None:
    assert acs.approximate(formula, hinges=2).max_error < 1e-6


def test_formula_is_a_formula_of_the_language_with_that_many_hinges() -> None:
    fit = acs.approximate("mish", hinges=3, interval=(-4, 2))
    assert str(acs.parse(fit.formula)) == fit.formula
    assert fit.formula.count("relu(") == 3
    assert all(-4 < knot < 2 for knot in fit.knots)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"what": "sigmoid", "hinges": 0}, "hinges"),
        ({"what": "sigmoid", "interval": (2, 1)}, "interval"),
        ({"what": "log(x)"}, "not finite"),
        ({"what": "softmax"}, "not a function of one number"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(acs.ActivationError, match=said):
        acs.approximate(**arguments)  # type: ignore[arg-type]
