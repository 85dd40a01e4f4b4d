"""Results that look like a search and are none are said, and no verdict is made of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.training.data_check import check_data

generator = torch.Generator().manual_seed(6)
X = torch.randn(120, 4, generator=generator)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
ONE_HOT = F.one_hot(Y, 3).float()


def make(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, outputs))


def task(y: Tensor = Y, **changes: Any) -> acs.Task:
    settings: dict[str, Any] = {
        "model": make, "train": (X[:60], y[:60]), "valid": (X[60:90], y[60:90]),
        "test": (X[90:], y[90:]), "loss": F.cross_entropy, "metric": "accuracy", "epochs": 1,
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


def always_right(outputs: Tensor, targets: Tensor) -> float:
    return 1.0


def searched(made: acs.Task, name: str) -> acs.Study:
    space = acs.Space(activations=["relu", "tanh", "gelu", "silu", "elu", "sin"])
    study = acs.create_study(study_name=name, strategy="random", direction="maximize", space=space)
    study.optimize(made, n_trials=5, show_progress_bar=False)
    return study


def test_candidates_that_all_score_alike_are_said_and_not_confirmed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = task(metric=always_right)
    with caplog.at_level(logging.WARNING, "actsearch"):
        study = searched(made, "saturated")
    assert "candidates have the same always_right, 1.0: the metric is constant" in caplog.text
    with pytest.raises(acs.StudyError, match=r"the baseline and all \d+ candidates have the same"):
        study.confirm(made, top_k=2, seeds=2, show_progress_bar=False)


def test_candidates_that_differ_raise_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    made = task(metric="loss")
    study = acs.create_study(study_name="sound", strategy="random")
    with caplog.at_level(logging.WARNING, "actsearch"):
        study.optimize(made, n_trials=5, show_progress_bar=False)
    assert "the same" not in caplog.text


@pytest.mark.parametrize("metric", ["accuracy", "f1", "top2_accuracy"])
@pytest.mark.parametrize("name", ["train", "valid"])
@pytest.mark.parametrize(("y", "says"), [(Y, "labels are 1"), (ONE_HOT, "targets are class 1")])
def test_labels_of_one_class_are_refused(metric: str, name: str, y: Tensor, says: str) -> None:
    one = torch.ones_like(Y) if y is Y else F.one_hot(torch.ones_like(Y), 3).float()
    rows = slice(60) if name == "train" else slice(60, 90)
    made = task(y, metric=metric, **{name: (X[rows], one[rows])})
    with pytest.raises(acs.TaskError, match=f"all .* {name} {says}"):
        check_data(made, make)


def test_constant_targets_have_no_correlation() -> None:
    y = X[:, :1]
    made = task(y, model=lambda: make(1), loss=F.mse_loss, metric="pearson",
                valid=(X[60:90], y[60:90] * 0))  # fmt: skip
    with pytest.raises(acs.TaskError, match="pearson is undefined on constant targets"):
        check_data(made, lambda: make(1))


def test_an_area_under_the_curve_needs_every_class_in_valid() -> None:
    made = task(metric="auc", valid=(X[60:90], Y[60:90].clamp(max=1)))
    with pytest.raises(acs.TaskError, match="valid has no row of class 2"):
        check_data(made, make)


def test_columns_with_nan_are_counted() -> None:
    inputs = X[:60].clone()
    inputs[[3, 7], [0, 2]] = torch.nan
    with pytest.raises(acs.TaskError, match=r"2 NaN in 2 of 60 rows .*, in 2 of 4 columns"):
        check_data(task(train=(inputs, Y[:60])), make)


def test_classes_on_the_last_axis_are_no_labels_outside() -> None:
    steps = torch.randn(30, 2, 4, generator=generator)
    tags = (steps[..., 0] > 0).long() + (steps[..., 1] > 0).long()

    def loss(o: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(o.transpose(1, 2), t)

    made = acs.Task(
        model=make, train=(steps[:20], tags[:20]), valid=(steps[20:], tags[20:]), loss=loss,
        metric="accuracy", epochs=1,
    )  # fmt: skip
    make_subject(made).check()  # a warning would be an error
