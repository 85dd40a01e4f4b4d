"""What a new user sees first: a task that is printed, an objective that is none, a folder that was not there."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs

X, Y = torch.linspace(-1, 1, 4000).reshape(1000, 4), torch.arange(1000) % 2
DATA = TensorDataset(X, Y)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def study() -> Any:
    """Without trials: those that use it are refused before the first."""
    return acs.create_study(study_name="refused", strategy="random", direction="minimize")


def _task(**changes: Any) -> acs.Task:
    settings = {"train": (X, Y), "valid": (X, Y), "loss": F.cross_entropy, "metric": "accuracy"}
    return acs.Task(model=make_model, **{**settings, **changes})


def test_a_printed_task_shows_shapes_and_settings_and_no_data() -> None:
    assert repr(_task()) == (
        "Task(model=make_model, train=(float32[1000, 4], int64[1000]), valid=(float32[1000, 4], int64[1000]), "
        "loss=cross_entropy, metric='accuracy', epochs=10, lr=0.001)"
    )
    loss = functools.partial(F.cross_entropy, weight=torch.ones(2))
    text = repr(_task(train=DataLoader(DATA, 50), valid=DATA, loss=loss, seeds=3))
    assert "train=DataLoader of 20, valid=TensorDataset of 1000, loss=cross_entropy(...)" in text
    assert "seeds=3" in text


@pytest.mark.parametrize(
    "data", [{"x": X, "z": X}, (X, X), tuple(X for _ in range(9))], ids=["mapping", "pair", "many"]
)
def test_a_printed_task_is_short_whatever_its_inputs(data: Any) -> None:
    assert len(repr(_task(train=(data, Y), valid=(data, Y)))) < 500


def test_arrays_are_shown_by_shape() -> None:
    data = (np.zeros((50, 4)), np.zeros(50, dtype=int))
    assert "[50, 4]" in repr(_task(train=data, valid=data))


@pytest.mark.parametrize("model", [make_model(), nn.ReLU, nn.Identity()])
def test_a_model_is_no_objective(study: Any, model: Any) -> None:
    with pytest.raises(acs.StudyError, match=r"the objective is a model .*acs\.Task\(model="):
        study.optimize(model, n_trials=1, show_progress_bar=False)
    assert not study.trials


@pytest.mark.parametrize(
    "objective", [make_model, lambda candidate: 1.0, lambda a, b, c: 1.0, lambda *, run: 1.0]
)
def test_a_function_that_takes_other_arguments_is_refused_before_any_trial(
    study: Any, objective: Any
) -> None:
    with pytest.raises(acs.StudyError, match=r"cannot be called as objective\(candidate, run\)"):
        study.optimize(objective, n_trials=1, show_progress_bar=False)
    assert not study.trials


@pytest.mark.parametrize(
    "objective",
    [
        lambda candidate, run: 1.0,
        lambda *arguments: 1.0,
        functools.partial(lambda a, b, c: 1.0, 0),
    ],
)
def test_every_function_that_can_be_called_is_an_objective(objective: Any) -> None:
    study = acs.create_study(study_name="called", strategy="random", direction="minimize")
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    assert study.best_value == 1.0


def test_a_folder_that_is_made_for_a_database_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "actsearch")
    acs.create_study(study_name="a", strategy="random", storage=f"sqlite:///{tmp_path}/here.db")
    assert not caplog.messages
    acs.create_study(study_name="a", strategy="random", storage=f"sqlite:///{tmp_path}/new/a.db")
    assert caplog.messages == [f"made the folder {tmp_path}/new for the database"]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_layer_that_learns_its_size_by_running_is_refused() -> None:
    x = torch.randn(16, 3)
    made = acs.Task(
        model=lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 1)),
        train=(x, x[:, :1]), valid=(x, x[:, :1]), loss=nn.MSELoss(), metric="mse",
    )  # fmt: skip
    study = acs.create_study(study_name="s", strategy="random")
    with pytest.raises(
        acs.TaskError, match="does not know the size of 0.weight before it has run"
    ):
        study.optimize(made, n_trials=1, show_progress_bar=False)
