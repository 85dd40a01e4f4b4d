"""Hopeless candidates are refused with a reason before they cost anything; what can train is let through."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.evaluation import Candidate
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch.screening import screen
from actsearch.screening.refusals import Screening


def screened(
    what: Any, *pre_activations: Tensor, dtype: torch.dtype = torch.float32, **settings: Any
) -> Screening:
    return screen(Candidate.of(what, **settings).record, pre_activations, dtype)


# refused


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("sqrt(x)", r"values are not finite \(50%\) on N\(0, 1\)"),
        ("log(x)", "values are not finite"),
        ("log1p(-exp(2*x + 9))", "values are not finite"),
        ("exp(exp(exp(exp(x))))", "values are not finite"),
        ("x/(x - x)", r"values are not finite \(100%\)"),
        ("sqrt(x + abs(x))", r"gradients are not finite \(50%\)"),
        ("sign(x)", r"gradient is zero almost everywhere \(0.0% alive\)"),
        ("piecewise(0, 1)", "gradient is zero"),
        ("sign(sin(x))", "gradient is zero"),
        ("relu(x - 9)", "gradient is zero"),
        ("relu(x - 2.9)", "gradient is zero almost everywhere"),
        ("3", "gradient is zero"),
        ("param(3.0)", "gradient is zero"),
        ("x - x", "gradient is zero|constant"),
        ("0*x + 7", "gradient is zero|constant"),
        ("1 + 1e-9*x", "constant"),
        ("1 + 1e-9*tanh(x)", "constant"),
        ("x", "affine: layers would collapse"),
        ("-x", "affine"),
        ("2*x + 1", "affine"),
        ("identity(x)", "affine"),
        ("param(1.0)*x", "affine"),
        ("param(2.0)*x + param(0.5)", "affine"),
        ('param(1.0, per="channel")*x', "affine"),
        ("x*(param(0.3) + 2) - param(1.0)*param(2.0)", "affine"),
        ("relu(x) - relu(neg(x))", "affine"),
        ("x + 1e-9*sin(x)", "affine"),
        ("max(x, -1000000)", "affine"),
        ("100*(sqrt(1 + 1e-8*x) - 1)", "affine"),
    ],
)  # fmt: skip
def test_what_cannot_train_is_refused_with_the_reason(formula: str, says: str) -> None:
    result = screened(formula)
    assert not result.passed
    assert re.search(says, result.reason), result.reason


def test_a_leaky_relu_of_slope_one_is_affine() -> None:
    assert "affine" in screened("leaky_relu", negative_slope=1.0).reason


def test_softmax_is_no_hidden_activation() -> None:
    assert "softmax is not elementwise" in screened("softmax").reason


@pytest.mark.parametrize("module", [nn.Flatten(0), nn.AdaptiveAvgPool1d(1)])
def test_a_form_that_does_not_keep_the_shape_is_refused(
    module: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = importlib.import_module("actsearch.screening.refusals")
    monkeypatch.setattr(floor, "build_at_start", lambda *args: module)
    points = torch.randn(7, 3)
    monkeypatch.setattr(floor, "_samples", lambda *args: [("test", points)])
    assert "output has shape" in screened("1.25*tanh(x)", points).reason


@pytest.mark.parametrize(
    "record",
    [
        ActivationRecord("x +* 2"),
        ActivationRecord("tanh(y)"),
        ActivationRecord("tanh(x)", name="tanhx"),
        ActivationRecord("elu(x)", name="elu", hyperparameters={"alpha": -5.0}),
        ActivationRecord("elu(x)", name="elu", hyperparameters={"beta": 1.0}),
    ],
)
def test_a_stored_candidate_that_cannot_be_built_is_refused_not_raised(
    record: ActivationRecord,
) -> None:
    result = screen(CandidateRecord.shared(record))
    assert not result.passed
    assert "\n" not in result.reason


# accepted


@pytest.mark.parametrize("name", [name for name in acs.catalog.names(role="hidden")])
def test_every_hidden_row_of_the_catalog_is_accepted(name: str) -> None:
    assert screened(name).reason == ""


@pytest.mark.parametrize(
    "formula",
    [
        "1/x",
        "reciprocal(x)",
        "tanh(x)/x",
        "log(abs(x))",
        "sqrt(abs(x))",
        "x/abs(x) + tanh(x)",
        "piecewise(-1, 1) + 0.1*x",
        "abs(x)",
        "x*x",
        "sin(30*x)",
        "relu(x - 2)",
        "1e-6*tanh(x)",
        "1000000*tanh(x)",
        "100 + tanh(x)",
        "exp(x)",
        "cube(x)",
        "x + 0.01*sin(x)",
        "max(x, 0.99*x)",
        "max(x, -3)",
        "x*sigmoid(param(0.0)*x)",
        "max(x, 0) + param(1.0)*min(x, 0)",
        'max(param(1.0, per="channel")*x, x)',
        "x + param(0.0)*tanh(x)",
    ],
)
def test_what_can_train_is_accepted(formula: str) -> None:
    assert screened(formula).reason == ""


def test_the_catalogs_straight_through_step_is_accepted_and_the_plain_one_is_not() -> None:
    assert screened("step").passed
    assert not screened("piecewise(0, 1)").passed
    outside_the_window = torch.randn(50, 20) - 8
    assert screened("step", outside_the_window).passed


def test_the_catalogs_identity_is_accepted_and_the_formula_x_is_not() -> None:
    assert screened("identity").passed
    assert not screened("x").passed


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_a_learned_form_may_be_affine_at_its_start(per: str) -> None:
    assert screened("prelu", init=1.0, per=per).passed


def test_the_model_unchanged_is_accepted() -> None:
    assert screen(CandidateRecord({})) == Screening("")


# warnings


@pytest.mark.parametrize(
    ("formula", "dtype", "warned"),
    [
        ("exp(x)", torch.float32, True),
        ("exp(x)", torch.float64, False),
        ("exp(-x)", torch.float32, True),
        ("cosh(x)", torch.float32, True),
        ("x*x", torch.float32, False),
        ("x*x*x", torch.float16, True),
        ("tanh(x)", torch.float32, False),
        ("softplus(x)", torch.float32, False),
        ("log(1 + exp(x))", torch.float32, True),
    ],
)
def test_infinities_far_out_are_a_warning(formula: str, dtype: torch.dtype, warned: bool) -> None:
    result = screened(formula, dtype=dtype)
    assert result.passed
    assert (result.warnings == ("not finite at x = -100 or 100",)) is warned
    assert bool(result.warnings) is warned


# the model's own pre-activations, and its precision


def test_the_models_pre_activations_are_looked_at_times_one_and_three() -> None:
    narrow = torch.linspace(-2, 2, 300).reshape(3, 100)
    assert screened("exp(exp(x))").passed
    assert screened("exp(exp(x))", narrow / 3).passed
    assert "3 x pre-activations of site 0" in screened("exp(exp(x))", narrow).reason
    assert "1 x pre-activations of site 0" in screened("exp(exp(x))", 3 * narrow).reason


def test_a_site_that_would_die_is_found() -> None:
    alive, dead = torch.randn(50, 20), torch.randn(50, 20) - 8
    assert screened("relu", alive).passed
    reason = screened("relu", alive, dead).reason
    assert reason.startswith("gradient is zero almost everywhere")
    assert "pre-activations of site 1" in reason


def test_large_samples_are_thinned_evenly() -> None:
    half_bad = torch.cat([torch.full((50_000,), -4.0), torch.full((50_000,), 4.0)])
    assert "50%" in screened("sqrt(x + 3.5)", half_bad).reason


@pytest.mark.parametrize(
    ("formula", "dtype", "passes"),
    [
        ("exp(6*x)", torch.float16, False),
        ("exp(6*x)", torch.bfloat16, True),
        ("exp(6*x)", torch.float32, True),
        ("exp(40*x)", torch.bfloat16, False),
        ("exp(40*x)", torch.float32, False),
        ("exp(40*x)", torch.float64, True),
        ("1/(x*x*1e-9 + 1e-9)", torch.float16, False),
        ("1/(x*x*1e-9 + 1e-9)", torch.float32, True),
    ],
)
def test_screening_computes_in_the_precision_of_training(
    formula: str, dtype: torch.dtype, passes: bool
) -> None:
    assert screened(formula, dtype=dtype).passed is passes


# candidates of several activations


def test_one_bad_activation_refuses_the_candidate() -> None:
    good, bad = ActivationRecord("tanh(x)"), ActivationRecord("2 * x")
    assert screen(CandidateRecord({"1": good, "3": good})).passed
    for activations in ({"1": good, "3": bad}, {"1": bad, "3": good}):
        assert "affine" in screen(CandidateRecord(activations)).reason


def test_warnings_of_all_activations_are_kept() -> None:
    exp = ActivationRecord("exp(x)")
    result = screen(CandidateRecord({"1": exp, "2": ActivationRecord("tanh(x)"), "3": exp}))
    assert result.warnings == ("at 1, 3: not finite at x = -100 or 100",)


@pytest.mark.parametrize("name", ["rrelu", "tanh", "swish"])
def test_screening_draws_no_random_numbers(name: str) -> None:
    state = torch.get_rng_state()
    screened(name, torch.ones(3, 3))
    assert torch.equal(torch.get_rng_state(), state)
