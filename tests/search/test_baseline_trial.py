"""The user's own model as the first trial of a search."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs
from actsearch.placement.random_streams import isolated_random
from actsearch.seeds import derive, seed_list
from actsearch.storage import Storage
from actsearch.study.proposing import Proposer
from actsearch.training import fit

X = torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long()
SPACE = ["tanh", "gelu", "silu", "elu", "relu", "softsign", "sin"]


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def task(**changes: Any) -> acs.Task:
    settings = {
        "model": make, "train": (X[:32], Y[:32]), "valid": (X[32:40], Y[32:40]), "test": (X[40:], Y[40:]),
        "loss": F.cross_entropy, "metric": "loss", "epochs": 2, "batch_size": 8, "lr": 1e-2, "device": "cpu",
        "tune_lr": False,
    }  # fmt: skip
    return acs.Task(**{**settings, **changes})


def study(strategy: Any = "random", **how: Any) -> acs.Study:
    space = acs.Space(activations=SPACE)
    return acs.create_study(**{"study_name": "s", "strategy": strategy, "space": space, **how})


def run(made: acs.Study, count: int, what: Any = None) -> None:
    made.optimize(what or task(), n_trials=count, show_progress_bar=False)


def objective(candidate: acs.Candidate, run: acs.Run) -> float:
    return float(candidate.module()(torch.tensor([0.5])))


def test_trial_0_is_the_model_unchanged_and_has_the_value_of_a_plain_training() -> None:
    made = study()
    run(made, 3)
    first = made.trials[0]
    assert (first.number, first.state.name, first.is_baseline) == (0, "COMPLETE", True)
    assert [trial.is_baseline for trial in made.trials[1:]].count(True) == 0
    (seed,) = seed_list(0, "search", 1)  # the study's
    with isolated_random(derive(seed, "init")):
        model = make()
    assert first.value == fit(task(), model, seed).metrics["loss"]


def test_it_counts_like_any_trained_trial() -> None:
    made = study()
    run(made, 3)
    assert sum(trial.state.is_trained for trial in made.trials) == 3
    made.optimize(task(), total_trials=5, show_progress_bar=False)
    assert sum(trial.state.is_trained for trial in made.trials) == 5
    assert sum(trial.is_baseline for trial in made.trials) == 1


@pytest.mark.parametrize("strategy", ["random", "bayesian", "genetic"])
def test_a_strategy_proposes_what_it_proposes_without_it(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with a study that has no such trial, whose numbers are smaller by one."""
    made, without = study(strategy), study(strategy)
    quick = task(epochs=1, batch_size=32, diagnostics=False)
    run(made, 13, quick)
    monkeypatch.setattr("actsearch.study.intake.missing_baseline", lambda *_: [])
    run(without, 12, quick)
    rows = [(t.candidate.formula, t.state, t.value) for t in made.trials[1:]]
    assert rows == [(t.candidate.formula, t.state, t.value) for t in without.trials]


def test_a_strategy_is_not_shown_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    candidates = Proposer._candidates

    def noted(self: Proposer, trials: Any, context: Any) -> Any:
        seen.extend(trial.candidate.is_baseline for trial in trials)
        return candidates(self, trials, context)

    monkeypatch.setattr(Proposer, "_candidates", noted)
    run(study("bayesian"), 20)
    assert seen
    assert not any(seen)


def test_interrupted_before_it_was_stored_it_runs_again_under_its_number(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study(storage=sqlite_url)
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "finish_trials", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(made, 2)
    assert made.trials[0].state.is_open
    run(acs.load_study(study_name="s", storage=sqlite_url), 2)
    assert [trial.is_baseline for trial in made.trials if trial.state.is_trained] == [True, False]


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_study_of_before_goes_on_without_it(sqlite_url: str) -> None:
    made = study(storage=sqlite_url)
    run(made, 2)
    lease = made._storage.lease(made.record)
    lease.acquire()
    made._storage.update_study(made.record.id, lease, user_attrs={})
    lease.release()
    with made._storage.database.writing() as session:
        session.connection().exec_driver_sql("DELETE FROM trials WHERE number = 0")
    run(acs.load_study(study_name="s", storage=sqlite_url), 2)
    assert not any(trial.is_baseline for trial in made.trials)


def test_a_function_has_no_such_trial_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made = study(direction="maximize")
    with caplog.at_level(logging.INFO, "actsearch"):
        made.optimize(objective, n_trials=2, show_progress_bar=False)
    assert not any(trial.is_baseline for trial in made.trials)
    assert "the model of a function is not known" in caplog.text


@pytest.mark.parametrize("what", ["baseline", None])
def test_it_can_be_enqueued_and_is_trained_once(what: str | None) -> None:
    made = study()
    number = made.enqueue_trial(what)
    made.enqueue_trial(what)
    run(made, 3)
    first, second = made.trials[number], made.trials[number + 1]
    assert (first.is_baseline, first.state.name) == (True, "COMPLETE")
    assert (second.state.name, second.duplicate_of, second.value) == ("DUPLICATE", 0, first.value)
    assert sum(trial.is_baseline for trial in made.trials) == 2


def test_a_module_cannot_be_enqueued() -> None:
    with pytest.raises(acs.ActivationError, match="module \\(ReLU\\) cannot be enqueued"):
        study().enqueue_trial(nn.ReLU())
    with pytest.raises(acs.StudyError, match="takes no alpha"):
        study().enqueue_trial("baseline", alpha=1.0)


def only_own(score: float) -> acs.Task:
    """A task whose unchanged model has a score, and all others the same."""

    def evaluate(model: nn.Module, batches: Any) -> dict[str, float]:
        return {"score": score if type(model.get_submodule("1")) is nn.ReLU else 0.5}

    return task(metric="score", evaluate=evaluate, epochs=4)


@pytest.mark.parametrize("executor", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_it_is_never_pruned_and_nothing_is_pruned_because_of_it(executor: int | None) -> None:
    for score in (0.0, 1.0):
        made = study(direction="maximize", pruner=acs.SuccessiveHalving(reduction_factor=2))
        for name in SPACE[:5]:
            made.enqueue_trial(name)  # it comes after these, and would lose to them
        made.optimize(
            only_own(score), n_trials=7,
            executor=None if executor is None else acs.Processes(executor), show_progress_bar=False,
        )  # fmt: skip
        assert not any(trial.state.name == "PRUNED" for trial in made.trials)
        assert made.trials[5].is_baseline
        made._storage.database.close()


class TestAsTheBest:
    @pytest.fixture
    def won(self) -> acs.Study:
        """A study in which nothing is as good as the model unchanged."""
        made = study(direction="maximize")
        run(made, 4, only_own(1.0))
        return made

    def test_it_is_the_best_trial_and_called_your_model_unchanged(self, won: acs.Study) -> None:
        assert won.best_trial.number == 0
        assert won.best_trial.candidate.label == "ReLU (your model unchanged)"
        assert "your model unchanged" in repr(won.best_trial)

    def test_tables_mark_it(self, won: acs.Study) -> None:
        row = won.trials_dataframe().iloc[0]
        assert (row["operation"], row["activation"]) == ("baseline", "ReLU (your model unchanged)")

    def test_its_export_is_a_comment_and_it_is_no_function(self, won: acs.Study) -> None:
        assert acs.to_python(won.best_trial).startswith(
            "# This trial is the model unchanged: keep ReLU"
        )
        with pytest.raises(acs.ActivationError, match="model unchanged"):
            acs.plot(won.best_trial)
        with pytest.raises(acs.ActivationError, match="model unchanged"):
            won.best_trial.candidate.module()

    def test_optuna_shows_it_as_a_choice(self, won: acs.Study) -> None:
        shown = won.optuna_study
        assert shown.trials[0].params == {"activation": "baseline"}
        assert shown.best_trial.user_attrs["number"] == 0


def test_a_verdict_compares_candidates_with_it_and_not_with_itself() -> None:
    made = study()
    run(made, 1)
    with pytest.raises(acs.StudyError, match="nothing is complete but the trial of the model"):
        made.confirm(task(), top_k=1, seeds=2, show_progress_bar=False)
    run(made, 3)
    verdict = made.confirm(task(), top_k=2, seeds=2, show_progress_bar=False)
    assert 0 not in [row.number for row in verdict.rows]


def test_one_that_cannot_be_trained_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Explodes(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * float("nan")

    made = study()
    broken = task(model=lambda: nn.Sequential(nn.Linear(2, 4), Explodes(), nn.Linear(4, 2)))
    run(made, 2, broken)
    assert [trial.state.name for trial in made.trials[:2]] == ["FAILED", "COMPLETE"]
    assert "your model unchanged could not be trained" in caplog.text


def test_where_what_is_placed_is_measured_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    made = study(directions=("minimize", "minimize"))
    with caplog.at_level(logging.INFO, "actsearch"):
        run(made, 2, task(objectives=("loss", "size")))
    assert not any(trial.is_baseline for trial in made.trials)
    assert "size is measured on what is placed" in caplog.text


def test_its_sites_are_diagnosed() -> None:
    made = study()
    run(made, 1)
    seen = made.trials[0].diagnostics
    assert seen is not None
    assert [site.site for site in seen.end] == ["1"]
    assert np.isclose(sum(seen.end[0].histogram), 1)
