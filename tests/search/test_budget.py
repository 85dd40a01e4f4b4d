"""Budgets: in epochs or in steps, where a training is evaluated, and which of its evaluations counts."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.request import Request
from actsearch.training import check_task, fit

X = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def make_task(**settings: Any) -> acs.Task:
    usual = dict(
        model=build,
        train=(X[:64], Y[:64]),
        valid=(X[64:96], Y[64:96]),
        loss=F.cross_entropy,
        batch_size=16,
    )
    return acs.Task(**{**usual, **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(eval_every=5), "give steps="),
        (dict(steps=100, eval_every=200), "eval_every=200 is more than steps=100"),
        (dict(steps=100, schedule_every="epoch"), "schedule_every='epoch' needs a budget in epochs"),
        (dict(steps=10, accumulate_grad_batches=4), "steps=10 must be a multiple of accumulate_grad_batches=4"),
        (dict(steps=0), "steps must be an integer from 1"),
        (dict(steps=1.5), "steps must be an integer from 1 to 2147483647, not 1.5"),
        (dict(patience=0), "patience must be an integer from 1"),
        (dict(schedule_every="batch"), "schedule_every must be 'step', 'epoch' or None, not 'batch'"),
        (dict(tune_lr="yes"), "tune_lr must be 'auto', True or False"),
        (dict(patience=2, metric=lambda output, target: 0.0), "it is not known whether"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(acs.TaskError, match=says):
        make_task(**settings)


@pytest.mark.parametrize(
    ("settings", "positions"),
    [
        (dict(epochs=3), [1, 2, 3]),
        (dict(steps=250, eval_every=100), [100, 200, 250]),
        (dict(steps=20, eval_every=10, epochs=7), [10, 20]),
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


# steps


def built(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.detach() for value in model.state_dict().values()]


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_as_many_steps_as_epochs_have_batches_train_the_same(schedule: str | None) -> None:
    usual: dict[str, Any] = {"metric": "accuracy", "lr": 1e-2, "schedule": schedule}
    by_epoch, by_step = built(), built()
    wanted = fit(make_task(epochs=3, **usual), by_epoch, 7)
    found = fit(make_task(steps=12, eval_every=4, **usual), by_step, 7)
    assert equal(by_epoch, by_step)
    assert found.metrics == wanted.metrics
    assert [record.epoch for record in found.epochs] == [4, 8, 12]
    assert [record.train_loss for record in found.epochs] == [
        record.train_loss for record in wanted.epochs
    ]


def test_steps_go_through_the_data_again_and_end_in_the_middle_of_a_pass() -> None:
    rows: list[int] = []

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        rows.extend(batch[1].tolist())
        loss: torch.Tensor = model(batch[0]).sum() * 0.0
        return loss

    numbers = torch.arange(10)
    task = make_task(
        train=(X[:10], numbers), batch_size=5, steps=5, eval_every=2, loss=None, step=step,
        evaluate=lambda model, batches: {"loss": 0.0},
    )  # fmt: skip
    fit(task, built(), 0)
    assert len(rows) == 25
    assert sorted(rows[:10]) == sorted(rows[10:20]) == numbers.tolist()
    assert rows[:10] != rows[10:20]
    assert len(set(rows[20:])) == 5


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return ((X[i % 64], Y[i % 64]) for i in itertools.count())


def test_an_endless_stream_is_trained_on_in_steps(sqlite_url: str) -> None:
    stream = DataLoader(Endless(), batch_size=8)
    study = acs.create_study(study_name="stream", storage=sqlite_url, strategy="random")
    study.optimize(
        make_task(train=stream, steps=6, eval_every=3), n_trials=1, show_progress_bar=False
    )
    assert [record.epoch for record in study._trials(epochs=True)[0].evaluations[0].epochs] == [
        3,
        6,
    ]


@pytest.mark.parametrize(
    ("which", "way"), [("train", "give steps="), ("valid", "give data that end")]
)
def test_a_stream_without_an_end_is_refused_where_its_end_is_waited_for(
    which: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actsearch.training.streams._MOST_BATCHES", 50)
    task = make_task(**{which: DataLoader(Endless(), batch_size=8)})
    with pytest.raises(
        acs.TaskError, match=f"{which} data .* did not end within 50 batches: {way}"
    ):
        check_task(task, built())


def test_evaluate_may_take_some_of_an_endless_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actsearch.training.streams._MOST_BATCHES", 50)

    def task(most: int | None) -> acs.Task:
        def evaluate(model: nn.Module, batches: Any) -> float:
            losses = [
                F.cross_entropy(model(x), y).item() for x, y in itertools.islice(batches, most)
            ]
            return sum(losses) / len(losses)

        return make_task(valid=DataLoader(Endless(), batch_size=8), evaluate=evaluate, steps=4)

    check_task(task(10), built())
    assert len(fit(task(10), built(), 0).epochs) == 4
    with pytest.raises(acs.TaskError, match=r"evaluate= has taken 50 batches .*itertools.islice"):
        check_task(task(None), built())


def test_a_stream_that_can_be_read_once_alone_is_named() -> None:
    class Once(IterableDataset[Any]):
        items = iter([(X[i], Y[i]) for i in range(32)])

        def __iter__(self) -> Iterator[Any]:
            return self.items

    task = make_task(train=DataLoader(Once(), batch_size=8), steps=6)
    with pytest.raises(acs.TaskError, match="give no batch when they are begun anew"):
        fit(task, built(), 0)


def test_a_loss_that_is_not_finite_is_placed_by_its_step() -> None:
    calls = itertools.count(1)

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = model(batch[0]).sum()
        return loss * (float("nan") if next(calls) == 7 else 1.0)

    task = make_task(
        steps=12, eval_every=4, loss=None, step=step,
        evaluate=lambda model, batches: {"loss": 0.0},
    )  # fmt: skip
    assert fit(task, built(), 0).stopped == "training loss became nan at step 7"


@pytest.mark.parametrize("batch", [1, 4])
def test_rungs_of_a_budget_in_steps_are_counted_in_evaluations(
    batch: int, sqlite_url: str
) -> None:
    usual: dict[str, Any] = {"metric": "loss", "lr": 3e-2}

    def trials(name: str, task: acs.Task) -> list[Any]:
        study = acs.create_study(
            study_name=name, storage=sqlite_url, strategy="random", seed=2,
            pruner=acs.SuccessiveHalving(reduction_factor=2),
        )  # fmt: skip
        with contextlib.closing(acs.Local(batch=batch)) as executor:
            study.optimize(task, n_trials=6, show_progress_bar=False, executor=executor)
        return [
            (t.state.name, t.value, [r.epoch for e in t.evaluations for r in e.epochs], t.reason)
            for t in study._trials(epochs=True)
        ]  # fmt: skip

    by_epoch = trials("epochs", make_task(epochs=4, **usual))
    by_step = trials("steps", make_task(steps=16, eval_every=4, **usual))
    assert any(state == "PRUNED" for state, *_ in by_epoch)
    for (state, value, epochs, reason), found in zip(by_epoch, by_step, strict=True):
        at_step = re.sub(r"epoch (\d+)", lambda m: f"step {4 * int(m[1])}", reason)
        assert found == (state, value, [4 * epoch for epoch in epochs], at_step)


# accumulation of gradients


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_accumulated_batches_make_the_step_of_one_large_batch(optimizer: Any) -> None:
    usual: dict[str, Any] = {"optimizer": optimizer, "lr": 1e-2, "clip_grad_norm": 0.1}
    large, small = built(), built()
    fit(make_task(batch_size=24, epochs=2, **usual), large, 3)  # 24, 24 and 16 samples
    task = make_task(
        batch_size=8, accumulate_grad_batches=3, epochs=2, schedule=count_steps, **usual
    )
    fit(task, small, 3)
    assert counted == [6]
    for one, other in zip(weights(large), weights(small), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


counted: list[int] = []


def count_steps(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    counted[:] = [steps]
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


# the best evaluation


def noisy_task(**settings: Any) -> acs.Task:
    """Large steps, so that the metric goes up and down."""
    usual = {"epochs": 12, "metric": "accuracy", "lr": 0.3, "test": (X[96:], Y[96:])}
    return make_task(**{**usual, **settings})


def test_with_patience_the_best_evaluation_counts_with_its_weights() -> None:
    plain = [record.valid_metric or 0.0 for record in fit(noisy_task(), built(), 1).epochs]
    best = max(range(12), key=lambda index: (plain[index], -index))
    assert plain[best] > plain[-1], "an example in which it matters"
    model, stopped_there = built(), built()
    result = fit(noisy_task(patience=12), model, 1)
    fit(noisy_task(), stopped_there, 1, epochs=best + 1)
    assert result.metrics["accuracy"] == plain[best]
    assert len(result.epochs) == 12
    assert equal(model, stopped_there)
    on_test = fit(noisy_task(patience=12), built(), 1, on_test=True)
    assert on_test.metrics == fit(noisy_task(), built(), 1, epochs=best + 1, on_test=True).metrics


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_training_ends_after_so_many_evaluations_without_a_better_one(patience: int) -> None:
    plain = [record.valid_metric for record in fit(noisy_task(), built(), 1).epochs]
    best, waited, length = -1.0, 0, 0
    for value in plain:
        length += 1
        assert value is not None
        best, waited = (value, 0) if value > best else (best, waited + 1)
        if waited == patience:
            break
    result = fit(noisy_task(patience=patience), built(), 1)
    assert [record.valid_metric for record in result.epochs] == plain[:length]
    assert result.metrics["accuracy"] == best


def test_a_verdict_scores_the_best_weights_of_each_training() -> None:
    request = Request(Candidate.baseline().record, (1,), split="test")
    subject = make_subject(noisy_task(patience=12))
    (found,) = subject.train([request])
    epochs = found.evaluations[0].epochs
    values = [record.valid_metric or 0.0 for record in epochs]
    best = values.index(max(values))
    assert subject.validation_score(epochs) == max(values) > values[-1]
    (expected,) = make_subject(noisy_task(epochs=best + 1)).train([request])
    assert found.value == expected.value


def test_a_loss_is_better_when_it_is_smaller() -> None:
    result = fit(noisy_task(metric="loss", patience=12), built(), 1)
    assert result.metrics["loss"] == min(record.valid_loss or 0.0 for record in result.epochs)


def test_trials_with_patience_are_the_same_in_any_batch(sqlite_url: str) -> None:
    def trials(batch: int) -> list[Any]:
        study = acs.create_study(study_name=f"{batch}", storage=sqlite_url, strategy="random")
        with contextlib.closing(acs.Local(batch=batch)) as executor:
            task = noisy_task(patience=2, epochs=5)
            study.optimize(task, n_trials=3, show_progress_bar=False, executor=executor)
        return [(t.number, t.state, t.value) for t in study.trials]

    assert trials(1) == trials(3)
