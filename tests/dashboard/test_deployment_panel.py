"""What a candidate costs in a product, on its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from saying import said
from streamlit.testing.v1 import AppTest
from torch import nn
from torch.nn import functional as F

import actsearch as acs

Opener = Callable[..., AppTest]


@pytest.mark.usefixtures("function_process")
def test_what_a_trial_learned_is_in_its_forms_and_named(opened: Opener, tmp_path: Path) -> None:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    y = x.relu().sum(1, keepdim=True)
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), train=(x[:32], y[:32]),
        valid=(x[32:], y[32:]), loss=F.mse_loss, metric="mse", epochs=4, lr=3e-2, device="cpu", tune_lr=False,
    )  # fmt: skip
    path = tmp_path / "learned.db"
    study = acs.create_study(study_name="s", storage=f"sqlite:///{path}", strategy="random")
    study.enqueue_trial("x * sigmoid(param(1.9) * x)")
    study.optimize(task, n_trials=2, show_progress_bar=False)
    trial = next(trial for trial in study.trials if "param" in trial.candidate.formula)
    number = trial.number
    assert trial.diagnostics is not None
    (beta,) = trial.diagnostics.end[0].learned["theta_0"]
    assert abs(beta - 1.9) > 0.01
    app = opened("activation", path, study="s", trial=str(number))
    app.button(key=f"deploy {number}").click().run()
    assert f"theta_0 = {beta:.6g}" in said(app)
    table = next(frame.value for frame in app.dataframe if "kept / GELU" in frame.value)
    errors = dict(zip(table["form"], table["error at most"], strict=True))
    assert errors["int8 table"] == pytest.approx(acs.deploy(trial, "int8").max_error)


@pytest.mark.usefixtures("function_process")
def test_of_several_activations_the_reader_chooses_one(opened: Opener, by_site: Path) -> None:
    app = opened("activation", by_site, study="by site", trial="1")
    assert "In a product" in said(app)
    choice = app.selectbox(key="deploy group 1")
    assert choice.options == ["depth:1/3", "depth:2/3", "depth:3/3"]
    choice.set_value("depth:2/3").run()  # a relu, which one hinge is exactly
    app.button(key="deploy 1 depth:2/3").click().run()
    said(app)
    table = next(frame.value for frame in app.dataframe if "kept / GELU" in frame.value)
    errors = dict(zip(table["form"], table["error at most"], strict=True))
    assert errors["1 hinges"] < 1e-6
