"""Every catalog row in float64 against its published definition, written in numpy and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from catalog_references import CASES, GRID, STEP, Array, Case
from scipy import special

import actsearch as acs
from actsearch.activations import value_and_gradient

_SHORT = 1e-6

# rows that are no function of one number, or random in their start: each has its own test, here or where named
ELSEWHERE = {
    "step",  # test_activation_gradients
    "softmax", "softmin", "log_softmax", "softmax2d", "glu", "crelu",
    "maxout",  # test_maxout
    "rational", "piecewise_linear", "mixture",  # test_learned_forms
}  # fmt: skip

_each_case = pytest.mark.parametrize("case", CASES, ids=str)


def _computed(what: Any, grid: Array, **settings: Any) -> tuple[Array, Array]:
    module = acs.activation(what, **settings).double().eval()
    value, gradient = value_and_gradient(module, torch.from_numpy(grid))
    return value.numpy(), gradient.numpy()


def _reference(case: Case, points: Array) -> Array:
    with np.errstate(all="ignore"):  # exp(exp(700)) is infinite, and meant to be
        return case.closed_form(points)


def _off_kinks(case: Case, distance: float = 3 * STEP) -> npt.NDArray[np.bool_]:
    kinks = np.array([*case.kinks, np.inf])
    return np.asarray(np.abs(GRID[:, None] - kinks).min(axis=1) > distance)


def _atol(case: Case) -> float:
    """Torch's softplus is linear from 20 on, which is off by exp(-20)."""
    built_on_softplus = {"softplus", "mish", "mila", "serf", "sqrtsoftplus", "shifted_softplus"}
    built_on_softplus |= {"learned_softplus", "tanhsoft1"}
    return 3e-9 if case.name in built_on_softplus else 1e-13


def test_every_row_of_the_catalog_has_its_closed_form_here() -> None:
    covered = {case.name for case in CASES}
    assert not covered & ELSEWHERE
    assert covered | ELSEWHERE == set(acs.catalog)


def test_every_row_with_settings_is_tried_away_from_its_defaults() -> None:
    tried = {case.name for case in CASES if case.settings}
    expected = {
        name
        for name, row in acs.catalog.items()
        if {setting.name for setting in row.hyperparameters} - {"per"}
    }
    assert tried >= expected - ELSEWHERE


@_each_case
def test_values_are_those_of_the_published_formula(case: Case) -> None:
    value, _ = _computed(case.name, GRID, **case.settings)
    np.testing.assert_allclose(value, _reference(case, GRID), rtol=1e-11, atol=_atol(case))


@_each_case
def test_gradients_are_those_of_the_published_formula(case: Case) -> None:
    points = GRID[_off_kinks(case)]
    _, gradient = _computed(case.name, points, **case.settings)

    def f(step: float) -> Array:
        return _reference(case, points + step)

    h = STEP
    expected = (8 * (f(h) - f(-h)) - f(2 * h) + f(-2 * h)) / 12 / h
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-8)


@_each_case
def test_the_gradient_at_a_kink_lies_between_the_slopes_on_both_sides(case: Case) -> None:
    """Where the slopes are the same, as for relu squared at 0, this is the derivative itself."""
    kinks = np.array(case.kinks, dtype=float)
    _, gradient = _computed(case.name, kinks, **case.settings)
    here = _reference(case, kinks)
    left = (here - _reference(case, kinks - _SHORT)) / _SHORT
    right = (_reference(case, kinks + _SHORT) - here) / _SHORT
    assert (gradient >= np.minimum(left, right) - 1e-5).all()
    assert (gradient <= np.maximum(left, right) + 1e-5).all()


@_each_case
def test_the_formula_of_a_row_computes_the_same_function_as_its_module(case: Case) -> None:
    row = acs.catalog[case.name]
    tree = row.expression(row.bind(case.settings))
    value, gradient = _computed(tree, GRID)
    fused_value, fused_gradient = _computed(case.name, GRID, **case.settings)
    np.testing.assert_allclose(value, fused_value, rtol=1e-11, atol=_atol(case))
    smooth = _off_kinks(case)
    np.testing.assert_allclose(gradient[smooth], fused_gradient[smooth], rtol=1e-7, atol=1e-8)


# exp(100) overflows, and must; maxout is no function of one number
_BOUNDED_FAR_OUT = set(acs.catalog.names(role="hidden")) - {"exp", "maxout"}


@pytest.mark.parametrize("name", sorted(_BOUNDED_FAR_OUT))
def test_values_and_gradients_stay_finite_far_out_in_single_precision(name: str) -> None:
    points = torch.tensor([-100.0, 100.0])
    value, gradient = value_and_gradient(acs.activation(name).eval(), points)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


# forms over a whole axis


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_forms_over_an_axis_are_those_of_their_definition(axis: int) -> None:
    x = np.random.default_rng(5).normal(size=(4, 6, 8)) * 4
    x[0, 0, 0] = 700.0
    first, second = np.split(x, 2, axis=axis)
    expected = {
        "softmax": special.softmax(x, axis=axis),
        "softmin": special.softmax(-x, axis=axis),
        "log_softmax": special.log_softmax(x, axis=axis),
        "glu": first * special.expit(second),
        "crelu": np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=axis),
    }
    for name, reference in expected.items():
        y = acs.activation(name, dim=axis)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(y, reference, rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5)])
def test_softmax2d_sums_to_one_over_the_channels(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(6).normal(size=shape)
    y = acs.activation("softmax2d")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(y, special.softmax(x, axis=-3), rtol=1e-12)


def test_the_default_dimensions_are_the_last_for_glu_and_the_channels_for_crelu() -> None:
    x = torch.ones(2, 4, 6)
    assert acs.activation("glu")(x).shape == (2, 4, 3)
    assert acs.activation("crelu")(x).shape == (2, 8, 6)
