"""Hinge sums: at least as good as the hand-made one, honest about their error, exact where that is possible."""

from __future__ import annotations

import time
from itertools import pairwise

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
    assert (
        largest_error(fit, special.expit, grid) < 0.0100
    )  # simplex searches from many starts end at 0.0099


@pytest.mark.parametrize(
    ("name", "reference"), [("sigmoid", special.expit), ("tanh", np.tanh), ("sin", np.sin)]
)
def test_stated_error_is_the_true_one(name: str, reference: np.ufunc) -> None:
    fit = acs.approximate(name, hinges=5)
    assert fit.max_error == pytest.approx(
        largest_error(fit, reference, np.linspace(-6, 6, 24001)), rel=1e-2
    )


@pytest.mark.parametrize(
    ("low", "high", "hinges"),
    [
        pytest.param(*interval, hinges, marks=() if hinges in (quick, 7, 32) else pytest.mark.slow)
        for interval, quick in (((-1, 1), 2), ((0, 5), 1))
        for hinges in (1, 2, 3, 7, 32)
    ],
)
def test_a_parabola_is_fitted_as_well_as_can_be(low: float, high: float, hinges: int) -> None:
    # n equal chords of length L / n are off by (L / n)^2 / 4 at most, all to one side; shifted by half of that
    fit = acs.approximate("x*x", hinges=hinges, interval=(low, high))
    length = (high - low) / (hinges + 1)
    assert fit.max_error == pytest.approx(length**2 / 8, rel=1e-2)  # the fit sees 601 points
    even = np.linspace(low, high, hinges + 2)[1:-1]
    assert fit.knots == pytest.approx(even, abs=0.1 * length)


@pytest.mark.slow
def test_more_hinges_are_no_further() -> None:
    for name in ("gelu", "tanh"):
        errors = [acs.approximate(name, hinges=hinges).max_error for hinges in range(1, 9)]
        assert all(after <= before * (1 + 1e-3) for before, after in pairwise(errors))
        assert errors[-1] < errors[0] / 4


def test_a_large_number_of_hinges_takes_little_time() -> None:
    start = time.process_time()
    assert acs.approximate("sigmoid", hinges=32).max_error < 3.0e-4
    assert time.process_time() - start < 3


@pytest.mark.parametrize("formula", ["relu", "leaky_relu", "abs(x)", "hardtanh"])
def test_piecewise_linear_functions_are_found_exactly(formula: str) -> None:
    assert acs.approximate(formula, hinges=2).max_error < 1e-6


def test_formula_is_a_formula_of_the_language_with_that_many_hinges() -> None:
    fit = acs.approximate("mish", hinges=3, interval=(-4, 2))
    assert str(acs.parse(fit.formula)) == fit.formula
    assert fit.formula.count("relu(") == 3
    assert all(-4 < knot < 2 for knot in fit.knots)


@pytest.mark.parametrize(
    ("what", "formula"),
    [
        ("relu", "relu(x)"),
        ("-relu(x)", "-relu(x)"),
        ("leaky_relu", "0.01 * x + 0.99 * relu(x)"),
        ("hardtanh", "-1 + relu(x + 1) - relu(x - 1)"),
        ("3 - x", "3 - x"),
        ("0 * x", "0"),
        ("2 + 0*x", "2"),
    ],
)
def test_the_formula_holds_no_idle_terms(what: str, formula: str) -> None:
    fit = acs.approximate(what, hinges=4)
    assert fit.formula == formula
    assert len(fit.knots) == formula.count("relu")


def test_the_formula_adds_where_a_knot_is_negative() -> None:
    formula = acs.approximate("sigmoid", hinges=4).formula
    assert "relu(x + " in formula
    assert "- -" not in formula
    assert "+ -" not in formula


def test_integers_of_any_type_count_hinges() -> None:
    assert acs.approximate("abs", hinges=np.int64(2)) == acs.approximate("abs", hinges=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"what": "sigmoid", "hinges": 0}, "hinges"),
        ({"what": "sigmoid", "hinges": 33}, "from 1 to 32, not 33"),
        ({"what": "sigmoid", "hinges": 2.0}, "integer from 1 to 32, not 2.0"),
        ({"what": "sigmoid", "hinges": True}, "integer from 1 to 32, not True"),
        ({"what": "sigmoid", "interval": (2, 1)}, "low < high"),
        ({"what": "sigmoid", "interval": (1, 2, 3)}, "two numbers"),
        ({"what": "sigmoid", "interval": 5}, "two numbers"),
        ({"what": "sigmoid", "interval": None}, "two numbers"),
        ({"what": "sigmoid", "interval": ("a", "b")}, "two numbers"),
        ({"what": "sigmoid", "interval": (0, float("nan"))}, "low < high"),
        ({"what": "relu", "interval": (-1e10, 1e10)}, "within 1e\\+09 of 0"),
        ({"what": "relu", "interval": (1, 1 + 1e-15)}, "too narrow"),
        ({"what": "exp(x)", "interval": (-30, 30), "hinges": 32}, "choose a narrower interval"),
        ({"what": "log(x)"}, "not finite"),
        ({"what": "softmax"}, "not a function of one number"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(acs.ActivationError, match=said):
        acs.approximate(**arguments)  # type: ignore[arg-type]
