"""The learning rate of a search, chosen with the model unchanged before the first trial."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.evaluation.request import Outcomes
from actsearch.evaluation.subject import Subject
from actsearch.placement.random_streams import isolated_random
from actsearch.seeds import derive, seed_list
from actsearch.storage import Storage
from actsearch.study.rate import choose_rate
from actsearch.training import fit

X = torch.randn(96, 2, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + X[:, 1] > 0).long()
SLOW = 1e-4  # far too small for four epochs


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


class NeverRead(torch.utils.data.Dataset[Any]):
    """Test data: a search must not look at them."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("test data were read")


def task(**changes: Any) -> acs.Task:
    settings = {
        "model": make, "train": (X[:64], Y[:64]), "valid": (X[64:80], Y[64:80]), "test": (X[80:], Y[80:]),
        "loss": F.cross_entropy, "metric": "loss", "epochs": 4, "batch_size": 16, "lr": SLOW, "device": "cpu",
        "diagnostics": False,
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


def study(**how: Any) -> acs.Study:
    space = acs.Space(activations=["tanh", "gelu", "silu", "elu"])
    return acs.create_study(**{"study_name": "s", "strategy": "random", "space": space, **how})


def run(made: acs.Study, count: int, what: acs.Task | None = None) -> None:
    made.optimize(what or task(), n_trials=count, show_progress_bar=False)


def rows(made: acs.Study) -> list[Any]:
    return [(t.number, t.candidate.label, t.state, t.value) for t in made.trials]


@pytest.mark.parametrize("way", ["read", "callback"])
def test_a_trial_is_written_with_the_rate_that_it_trained_at(way: str) -> None:
    made, seen = study(), []
    made.optimize(
        task(),
        n_trials=2,
        show_progress_bar=False,
        callbacks=[lambda _, trial: seen.append(trial)],
    )
    used = made.user_attrs["learning_rate"]["used"]
    assert used != SLOW
    by_way = {"read": made.trials[1], "callback": seen[-1]}
    code = acs.to_python(by_way[way])
    said = f"Trials trained with learning rate {used:.3g}, which the study chose in the place of 0.0001."
    assert said in " ".join(code.split())
    assert f"\nLEARNING_RATE = {used!r}\n" in code
    names: dict[str, Any] = {}
    exec(code, names)  # it is a file
    assert names["LEARNING_RATE"] == used


def test_a_trial_that_trained_at_the_tasks_own_rate_is_written_without_one() -> None:
    made = study()
    run(made, 2, task(tune_lr=False))
    assert "LEARNING_RATE" not in acs.to_python(made.trials[1])
    assert "learning rate" not in acs.to_python(made.trials[1])


def plain_value(lr: float) -> float:
    """What the model unchanged reaches at a rate under the study's seed, without a study."""
    (seed,) = seed_list(0, "search", 1)
    with isolated_random(derive(seed, "init")):
        model = make()
    return fit(task(lr=lr), model, seed).metrics["loss"]


def test_a_rate_that_is_far_too_small_is_replaced_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = study()
    run(made, 2, task(test=NeverRead()))
    tried = dict(made.user_attrs["learning_rate"]["tried"])
    used = made.user_attrs["learning_rate"]["used"]
    assert used == min(tried, key=tried.__getitem__) > 20 * SLOW
    assert tried == {lr: plain_value(lr) for lr in tried}
    assert made.trials[0].value == plain_value(used)
    assert f"trials train with lr {used:.2g}, not 0.0001" in caplog.text
    assert "Task(tune_lr=False) keeps the given one" in caplog.text


def test_candidates_train_at_it_as_well() -> None:
    made, fast = study(), study()
    run(made, 3)
    run(fast, 3, task(lr=made.user_attrs["learning_rate"]["used"], tune_lr=False))
    assert rows(made) == rows(fast)


def test_a_good_rate_is_kept() -> None:
    made = study()
    best = min((3.0**step * SLOW for step in range(8)), key=plain_value)
    run(made, 1, task(lr=best))
    assert made.user_attrs["learning_rate"]["used"] == best


@pytest.mark.parametrize("tune_lr", [False, True])
def test_it_can_be_left_out_or_taken_in_any_case(tune_lr: bool) -> None:
    made = study()
    run(made, 1, task(tune_lr=tune_lr))
    assert ("learning_rate" in made.user_attrs) is tune_lr
    assert (made.trials[0].value == plain_value(SLOW)) is not tune_lr


def test_where_the_optimizer_sets_its_own_rates_none_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def own(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.1)

    made = study()
    with caplog.at_level(logging.INFO, "actsearch"):
        run(made, 1, task(optimizer=own))
    assert "learning_rate" not in made.user_attrs
    assert "sets its own" in caplog.text


def test_a_search_in_parts_makes_the_same_trials(sqlite_url: str) -> None:
    whole = study()
    run(whole, 4)
    parts = study(storage=sqlite_url)
    run(parts, 1)
    run(acs.load_study(study_name="s", storage=sqlite_url), 3)
    assert rows(whole) == rows(parts)


def test_interrupted_it_goes_on(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is interrupted whenever one training was stored."""
    whole = study()
    run(whole, 2)
    study(storage=sqlite_url)
    for _ in range(20):
        made = acs.load_study(study_name="s", storage=sqlite_url)
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "update_study", _fail_after(3, Storage.update_study))
            try:
                run(made, 2)
            except KeyboardInterrupt:
                continue
        break
    assert rows(made) == rows(whole)
    assert made.user_attrs["learning_rate"] == whole.user_attrs["learning_rate"]


def _fail_after(count: int, function: Any) -> Any:
    """The function, interrupted at its call of that number."""
    calls: list[int] = []

    def counted(*arguments: Any, **others: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return function(*arguments, **others)

    return counted


@pytest.mark.slow
def test_it_is_the_same_in_processes() -> None:
    here, there = study(), study()
    run(here, 2)
    there.optimize(task(), n_trials=2, executor=acs.Processes(2), show_progress_bar=False)
    assert here.user_attrs["learning_rate"] == there.user_attrs["learning_rate"]
    assert rows(here) == rows(there)


@pytest.mark.parametrize(
    "changed",
    [
        {"tune_lr": False},
        {"optimizer": torch.optim.RMSprop},
        {"lr": 3 * SLOW},
    ],
)
def test_a_rate_chosen_for_another_way_of_training_is_left(
    changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made, fresh = study(), study()
    run(made, 1)
    made.optimize(task(**changed), n_trials=1, task_changed="accept", show_progress_bar=False)
    (trained,) = [t for t in made.trials if t.state.is_trained and not t.is_baseline]
    fresh.enqueue_trial(trained.candidate)
    run(fresh, 1, task(**changed | {"tune_lr": False}))
    assert trained.value == fresh.trials[0].value
    assert "train with the task's own lr from here on" in caplog.text


def test_a_rate_holds_where_something_else_is_changed() -> None:
    made = study()
    run(made, 1)
    used = made.user_attrs["learning_rate"]
    made.optimize(task(epochs=5), n_trials=1, task_changed="accept", show_progress_bar=False)
    assert made.user_attrs["learning_rate"] == used


def test_scores_of_an_interrupted_sweep_do_not_count_for_another_task(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, fresh = study(storage=sqlite_url), study()
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "update_study", _fail_after(3, Storage.update_study))
        with pytest.raises(KeyboardInterrupt):
            run(made, 1)
    assert made.user_attrs["learning_rate"]["unfinished"]
    other = task(epochs=5)
    made.optimize(other, n_trials=1, task_changed="accept", show_progress_bar=False)
    run(fresh, 1, other)
    assert made.user_attrs["learning_rate"] == fresh.user_attrs["learning_rate"]
    assert rows(made) == rows(fresh)


def test_a_verdict_tunes_around_the_rate_of_the_search() -> None:
    made = study()
    run(made, 3)
    used = made.user_attrs["learning_rate"]["used"]
    verdict = made.confirm(task(), top_k=1, seeds=2, show_progress_bar=False)
    again = study()
    at_once = task(lr=used, tune_lr=False)
    run(again, 3, at_once)
    same = again.confirm(at_once, top_k=1, seeds=2, show_progress_bar=False)
    assert verdict.baseline.values == same.baseline.values
    assert verdict.baseline.as_given == same.baseline.as_given


def test_it_is_tuned_for_several_objectives_by_the_first() -> None:
    made = study(directions=("minimize", "minimize"))
    run(made, 1, task(objectives=("loss", "size")))
    assert made.user_attrs["learning_rate"]["used"] > 20 * SLOW


class Tunable(Subject):
    """A subject whose rate can be set."""

    learning_rate = 1e-2

    def train(self, requests: Any, *more: Any, **others: Any) -> Outcomes:
        raise AssertionError("the executor trains")

    def describe(self) -> dict[str, Any]:
        return {}

    def test_id(self, study_id: int) -> str:
        return ""


def used_rate(tune_lr: Any, score: Callable[[float, bool], float | None]) -> float:
    """Of scores that are a function of the rate, and of whether the seed is the study's."""
    subject = Tunable()
    subject.tune_lr = tune_lr
    record = dataclasses.replace(study().record, direction="maximize")
    chosen = choose_rate(
        subject, record, 0, lambda wanted: [score(lr, seed == 0) for lr, seed in wanted]
    )
    assert chosen is not None
    return float(chosen["used"])


@pytest.mark.parametrize(("tune_lr", "used"), [("auto", 1e-2), (True, 3e-2)])
def test_luck_under_one_seed_changes_no_rate(tune_lr: Any, used: float) -> None:
    def lucky(lr: float, is_first: bool) -> float:
        return 0.9 if is_first and lr == pytest.approx(3e-2) else 0.5

    assert used_rate(tune_lr, lucky) == pytest.approx(used)


def test_the_second_of_the_first_seed_may_win() -> None:
    """At 0.03 the training often fails to start; at 0.09 it does not."""

    def noisy(lr: float, is_first: bool) -> float:
        if lr == pytest.approx(9e-2):
            return 0.8
        return (0.9 if is_first else 0.1) if lr == pytest.approx(3e-2) else 0.2

    assert used_rate("auto", noisy) == pytest.approx(9e-2)


def test_a_rate_at_which_all_diverges_is_left_for_the_first_that_trains() -> None:
    assert used_rate("auto", lambda lr, _: None if lr > 1e-3 else 0.5) == pytest.approx(1e-2 / 27)


def test_a_far_too_large_rate_with_a_wild_score_is_left() -> None:
    """Losses of hundreds differ by hundreds between seeds."""

    def wild(lr: float, is_first: bool) -> float:
        return -0.3 if lr < 5e-3 else (-155.0 if is_first else -40.0)

    assert used_rate("auto", wild) < 5e-3
