"""What a search or a verdict found is taken wherever an activation is: trials, verdicts and their lines."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.evaluation import Candidate

X = torch.linspace(-2, 2, 12).reshape(3, 4)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def _distance_to_sine(candidate: Any, run: Any) -> float:
    """Smallest for the sine, whatever the seed."""
    x = torch.linspace(-2, 2, 50) + 1e-3 * (run.seed % 7)
    error: Tensor = candidate.module()(x) - x.sin()
    return float(error.square().mean()) + 1e-6 * (float(run.seed) % 5)


@pytest.fixture(scope="module")
def study() -> Any:
    study = acs.create_study(study_name="sine", strategy="random", direction="minimize")
    for what in ("sin", "x * sigmoid(x)", "tanh"):
        study.enqueue_trial(what)
    study.optimize(_distance_to_sine, n_trials=3, show_progress_bar=False)
    return study


@pytest.fixture(scope="module")
def verdict(study: Any) -> Any:
    return study.confirm(
        _distance_to_sine, top_k=2, seeds=8, baseline="relu", show_progress_bar=False
    )


def test_a_trial_is_an_activation_and_is_placed(study: Any) -> None:
    trial = study.best_trial
    assert torch.equal(acs.activation(trial)(X), X.sin())
    assert acs.fingerprint(trial) == acs.fingerprint("sin(x)")
    placement = acs.place(_model(), trial)
    assert [item.new for item in placement.replaced] == ["sin", "sin"]
    half = acs.place(_model(), {"1": trial, "3": "gelu"})
    assert [item.new for item in half.replaced] == ["sin", "gelu"]


def test_the_winner_of_a_verdict_and_each_line_are_activations_and_are_placed(
    verdict: Any,
) -> None:
    assert verdict.winner.label == "sin"
    assert torch.equal(acs.activation(verdict)(X), X.sin())
    for what in (verdict, verdict.winner, *verdict.rows, verdict.baseline):
        label = acs.activation(what).record.label
        assert [item.new for item in acs.place(_model(), what).replaced] == [label, label]


def test_a_trial_can_be_enqueued_again(study: Any) -> None:
    other = acs.create_study(study_name="other", strategy="random", direction="minimize")
    other.enqueue_trial(study.best_trial)
    assert other.trials[0].candidate.label == "sin"


def test_several_activations_are_placed_together_and_are_not_one(study: Any) -> None:
    several = Candidate.of({"1": "sin", "3": "tanh"})
    record = dataclasses.replace(study.best_trial.record, candidate=several.record)
    trial = dataclasses.replace(study.best_trial, record=record)
    placement = acs.place(_model(), trial)
    assert [item.new for item in placement.replaced] == ["sin", "tanh"]
    with pytest.raises(acs.ActivationError, match=r"several activations, at 1, 3: choose one"):
        acs.activation(trial)


def test_the_model_unchanged_is_placed_as_it_is_and_is_no_activation(verdict: Any) -> None:
    model = _model()
    unchanged = dataclasses.replace(verdict.baseline, activation=None, label="ReLU")
    kept = dataclasses.replace(verdict, winner=unchanged)
    for what in (Candidate.baseline(), unchanged, kept):
        placement = acs.place(model, what)
        assert str(placement) == "the model unchanged"
        assert torch.equal(placement.model(X), model(X))
        with pytest.raises(acs.ActivationError, match="the model unchanged, not an activation"):
            acs.activation(what)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("leaky_relu(x, 0.2)", "write what it computes: max(x, 0) + 0.01 * min(x, 0)"),
        ("x + swish(x)", "acs.activation('swish', beta=1.0, per='tensor')"),
        ("lrelu(x)", "acs.activation('leaky_relu', negative_slope=0.01)"),
        ("2 * softmax(x)", "acs.activation('softmax', dim=-1)"),
        ("rational(x) - 1", "acs.activation('rational', "),
    ],
)
def test_a_row_of_the_catalog_in_a_formula_is_answered_with_what_to_write(
    text: str, advice: str
) -> None:
    with pytest.raises(
        acs.FormulaError, match="is a row of the catalog, not an operator"
    ) as error:
        acs.activation(text)
    assert advice in str(error.value)
    with pytest.raises(acs.FormulaError, match="A name of the catalog stands alone"):
        acs.parse(text)
