"""What a trial has learned is what a product gets: tables, hinges, headers and the dashboard's comparison."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch import function_server
from actsearch.activations import describe
from actsearch.records import CandidateRecord, Diagnostics, SiteDiagnostics

SWISH = "x * sigmoid(param(1.9) * x)"


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def make_task(**changes: Any) -> acs.Task:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :1].relu() - x[:, 1:].relu()
    settings: dict[str, Any] = dict(
        model=make_model, train=(x[:100], y[:100]), valid=(x[100:], y[100:]), loss=F.mse_loss, metric="mse", epochs=8,
        lr=3e-2, device="cpu", tune_lr=False,
    )  # fmt: skip
    return acs.Task(**settings | changes)


def train(formula: str, **changes: Any) -> Any:
    directions = ("minimize", "minimize") if "objectives" in changes else None
    study = acs.create_study(study_name="s", strategy="random", seed=0, directions=directions)
    study.enqueue_trial(formula)
    study.optimize(make_task(**changes), n_trials=2, show_progress_bar=False)
    return next(t for t in study.trials if t.candidate.formula == formula)


@pytest.fixture(scope="module")
def trial() -> Any:
    """Each of its two sites has learned a number of its own, and the int8 error is an objective."""
    return train(SWISH, objectives=("mse", "int8_error"))


def learned(trial: Any, site: int = 0) -> float:
    (beta,) = trial.diagnostics.end[site].learned["theta_0"]
    assert abs(beta - 1.9) > 0.01
    return float(beta)


def words(text: str | None) -> str:
    assert text is not None
    return " ".join(text.replace("*", " ").split())


def test_a_trial_is_deployed_with_what_it_learned(trial: Any) -> None:
    beta, x = learned(trial), np.linspace(-3, 3, 601)
    exact = x * special.expit(beta * x)
    for target, settings in (
        ("int8", {"inputs": (-3.0, 3.0)}),
        ("hinges", {"hinges": 32, "interval": (-3, 3)}),
        ("python", {}),
    ):
        made = acs.deploy(trial, target, **settings)  # type: ignore[call-overload]
        error = np.abs(made.module()(torch.from_numpy(x).float()).detach().numpy() - exact).max()
        assert error < (0.03 if target == "int8" else 2e-3)
        assert any(
            f"theta_0 = {beta:.6g}" in note and "one of 2 sites" in note for note in made.notes
        )
        if target == "python":
            assert f"{np.float32(beta)}"[:7] in made.text


def test_a_site_may_be_chosen(trial: Any) -> None:
    second = acs.deploy(trial, "int8", inputs=trial.diagnostics.end[1])
    assert any(f"theta_0 = {learned(trial, 1):.6g}" in note for note in second.notes)
    assert second.table != acs.deploy(trial, "int8").table


def test_the_objective_says_the_error_of_what_is_deployed(trial: Any) -> None:
    errors = [
        acs.deploy(trial, "int8", inputs=site).checks[-1].max_error
        for site in trial.diagnostics.end
    ]
    # diagnostics are stored with 7 digits
    assert trial.values[1] == pytest.approx(max(errors), rel=1e-5)


def test_the_comparison_of_the_dashboard_is_of_what_was_learned(trial: Any) -> None:
    record = trial.record.candidate.single.to_json()
    sites = [
        {
            "site": site.site, "mean": site.mean, "sd": site.sd, "histogram": site.histogram,
            "learned": dict(site.learned),
        }
        for site in trial.diagnostics.end
    ]  # fmt: skip
    request = {"call": "compare_deployments", "item": record, "sites": sites, "ended": True}
    made = json.loads(function_server.answer(json.dumps(request)))["result"]
    assert any(f"theta_0 = {learned(trial):.6g}" in note for note in made["notes"])
    header = acs.deploy(trial, "c", form="int8", name="activation")
    assert {"name": "activation_int8.h", "text": header.text} in made["files"]
    row = next(row for row in made["rows"] if row["form"] == "int8 table")
    assert row["error"] == acs.deploy(trial, "int8").max_error


@pytest.mark.parametrize("form", ["int8", "hinges"])
def test_a_header_says_which_numbers_it_is_made_with(trial: Any, form: Any) -> None:
    made = acs.deploy(trial, "c", form=form)
    assert f"recorded at {trial.diagnostics.end[0].site}: theta_0 = {learned(trial):.6g}" in words(
        made.text
    )
    start = acs.deploy(SWISH, "c", form=form, inputs=(-3.0, 3.0))
    assert "Learned numbers are at their start" in words(start.text)


def site(**numbers: Any) -> SiteDiagnostics:
    histogram = tuple(0.5 if 9 <= k <= 10 else 0.0 for k in range(22))
    return SiteDiagnostics("act", (4, 2), 0.0, 0.5, histogram, 0.0, 0.0, 0.0, 1.0, None, **numbers)


class Recorded:
    """As a trial: an activation, and what was recorded of it."""

    def __init__(self, formula: str, diagnostics: Diagnostics) -> None:
        self.candidate = CandidateRecord.shared(describe(formula))
        self.diagnostics = diagnostics


def test_numbers_that_nobody_recorded_are_at_their_start_and_that_is_said() -> None:
    silent = Recorded(SWISH, Diagnostics((site(),), (site(),)))
    made = acs.deploy(silent, "int8")
    assert made.table == acs.deploy(SWISH, "int8", inputs=silent.diagnostics).table
    assert "at their start, as the trial recorded none" in made.notes[0]
    broken = Recorded(SWISH, Diagnostics((site(learned={"theta_0": (2.0,)}),)))
    assert "as training did not come to its end" in acs.deploy(broken, "int8").notes[0]
    two = Recorded(
        "param(1.0) * tanh(param(2.0) * x)", Diagnostics((), (site(learned={"theta_1": (3.0,)}),))
    )
    (note,) = acs.deploy(two, "int8").notes
    assert "theta_1 = 3." in note
    assert "It recorded no theta_0, which is at its start" in note


def test_what_has_no_one_function_is_refused() -> None:
    numbers = site(learned={"theta_0": (2.0, 3.0)})
    channels = Recorded('x * sigmoid(param(1.0, per="channel") * x)', Diagnostics((), (numbers,)))
    with pytest.raises(acs.ActivationError, match="learns for each channel"):
        acs.deploy(channels, "int8")
    diverged = Recorded(SWISH, Diagnostics((), (site(learned={"theta_0": (float("nan"),)}),)))
    with pytest.raises(acs.ActivationError, match="learned theta_0 = nan at act"):
        acs.deploy(diverged, "int8")
