"""Whole searches that learn shapes: with one curve for each group of sites, and one that finds what was planted."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.records import CURVES, SHAPE, UNEXPLAINED

FEW: dict[str, Any] = {
    "activations": ["relu", "tanh"],
    "operators": ["add", "mul", "tanh"],
    "max_size": 5,
}
SITES: tuple[Any, ...] = ("per_site", "per_depth", {"1": None, "5": None, "3": None})


def model() -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(4, 4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(4, 1))


def task() -> acs.Task:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(128, 4, generator=generator)
    y = torch.sin(2 * x[:, :1])
    return acs.Task(
        model=model, train=(x[:96], y[:96]), valid=(x[96:], y[96:]), loss=F.mse_loss, metric="mse",
        epochs=2, batch_size=32, lr=1e-2, tune_lr=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("sites", SITES, ids=str)
def test_each_group_gets_a_curve_and_names_of_its_own(sites: Any) -> None:
    study = acs.create_study(
        study_name="s", strategy="gradient", space=acs.Space(**FEW, sites=sites), seed=1
    )
    study.optimize(task(), n_trials=8, show_progress_bar=False)
    passes = [trial for trial in study.trials if trial.record.candidate.learns_shape]
    assert len(passes) >= 2
    keys = list(passes[0].record.candidate.activations)
    assert len(keys) == 3
    for trial in passes:
        assert set(trial.user_attrs[CURVES]) == set(keys)
    frozen = next(t for t in study.trials if t.record.candidate.operation == "learned curve")
    assert {item.name for item in frozen.record.candidate.activations.values()} == {
        "linear_spline"
    }
    names = [t for t in study.trials if UNEXPLAINED in t.user_attrs]
    assert names
    assert all(t.state is not acs.TrialState.FAILED for t in study.trials)
    assert study.best_trial.state is acs.TrialState.COMPLETE
    assert not study.best_trial.record.candidate.operation.startswith(SHAPE)


@pytest.mark.slow
def test_a_planted_formula_is_found_in_few_trainings() -> None:
    """cos(x) * tanh(x) behind a frozen layer, for which the genetic search takes some thousand trainings."""
    file = Path(__file__).parents[2] / "studies" / "teacher.py"
    spec = importlib.util.spec_from_file_location("study_teacher_of_gradients", file)
    assert spec is not None
    assert spec.loader is not None
    teacher = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = teacher
    spec.loader.exec_module(teacher)
    plant = teacher.PLANTS[2]
    took = []
    for seed in range(3):
        study = acs.create_study(study_name="t", strategy="gradient", space=plant.space, seed=seed)

        def stop(study: acs.Study, trial: acs.Trial) -> None:
            if trial.value is not None and trial.value < plant.solved:
                study.stop()

        study.optimize(
            teacher.make_task(plant, seed), n_trials=16, callbacks=(stop,), show_progress_bar=False
        )
        found = acs.activation(study.best_trial.record.candidate.single)
        assert teacher.unexplained(found, plant.module()) < teacher.EQUAL
        took.append(teacher.count_trainings(study))
    assert statistics.median(took) <= 10
