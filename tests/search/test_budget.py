"""Budgets: in epochs or in steps, where a training is evaluated, and which of its evaluations counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs

X = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def make_task(**settings: Any) -> acs.Task:
    usual = dict(
        model=build,
        train=(X[:64], Y[:64]),
        valid=(X[64:], Y[64:]),
        loss=F.cross_entropy,
        batch_size=16,
    )
    return acs.Task(**{**usual, **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(eval_every=5), "give steps="),
        (dict(steps=100, epochs=3), "epochs=3 and steps=100 are two budgets: give one"),
        (dict(steps=100, eval_every=200), "eval_every=200 is more than steps=100"),
        (dict(steps=100, schedule_every="epoch"), "schedule_every='epoch' needs a budget in epochs"),
        (dict(steps=10, accumulate_grad_batches=4), "steps=10 must be a multiple of accumulate_grad_batches=4"),
        (dict(steps=0), "steps must be an integer from 1"),
        (dict(steps=1.5), "steps must be an integer from 1 to 2147483647, not 1.5"),
        (dict(patience=0), "patience must be an integer from 1"),
        (dict(schedule_every="batch"), "schedule_every must be 'step' or 'epoch', not 'batch'"),
        (dict(tune_lr="yes"), "tune_lr must be 'auto', True or False"),
        (dict(patience=2, metric=lambda output, target: 0.0), "it is not known whether"),
    ],
)  # fmt: skip
def test_a_budget_that_says_two_things_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(acs.TaskError, match=says):
        make_task(**settings)


@pytest.mark.parametrize(
    ("settings", "positions"),
    [
        (dict(epochs=3), [1, 2, 3]),
        (dict(steps=250, eval_every=100), [100, 200, 250]),
        (dict(steps=50), [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]),
        (dict(steps=3), [1, 2, 3]),
        (dict(steps=40, accumulate_grad_batches=8), [8, 16, 24, 32, 40]),
    ],
)
def test_a_training_is_evaluated_where_its_budget_says(
    settings: dict[str, Any], positions: list[int]
) -> None:
    task = make_task(**settings)
    assert [task.position(index + 1) for index in range(task.evaluations)] == positions


def test_settings_that_older_studies_lack_are_described_only_where_they_are_set() -> None:
    described = make_task(epochs=3).describe()
    assert described["epochs"] == 3
    new = {
        "sample",
        "steps",
        "eval_every",
        "schedule_every",
        "patience",
        "tune_lr",
        "accumulate_grad_batches",
    }
    assert not new & set(described)
    other = make_task(
        steps=30, patience=2, tune_lr=False, accumulate_grad_batches=3, sample=X[:2]
    ).describe()
    assert "epochs" not in other
    assert set(other) & new == new - {"schedule_every"}
