"""The study as users meet it: making, searching, enqueueing, stopping, resuming, confirming."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
import torch
from driven import Child, Launcher
from torch import nn

import actsearch as acs
from actsearch.records import TrialState
from actsearch.seeds import seed_list
from actsearch.storage import Storage

Objective = Callable[[acs.Candidate, acs.Run], float | Mapping[str, float]]
STRATEGIES = ("random", "bayesian", "genetic")
SMALL = acs.Space(activations=["leaky_relu", "tanh", "sin"])


def _study(**settings: Any) -> acs.Study:
    return acs.create_study(**({"study_name": "s", "direction": "minimize"} | settings))


def _run(study: acs.Study, objective: Any, n_trials: int | None = None, **how: Any) -> None:
    study.optimize(objective, n_trials, show_progress_bar=False, **how)


def _confirm(study: acs.Study, objective: Any, **how: Any) -> acs.Verdict:
    return study.confirm(objective, show_progress_bar=False, **({"top_k": 1, "seeds": 2} | how))


def _rows(study: acs.Study) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state.name, t.candidate.formula, t.value, t.reason, t.duplicate_of)
        for t in study.trials
    ]


def _trained(study: acs.Study) -> int:
    return sum(trial.state.is_trained for trial in study.trials)


class TestMaking:
    def test_it_is_there_when_loaded(self, sqlite_url: str) -> None:
        made = _study(storage=sqlite_url, strategy=acs.Genetic(batch=7), space=SMALL, seed=5)
        loaded = acs.load_study(study_name="s", storage=sqlite_url)
        assert loaded.record == made.record
        assert loaded.record.strategy["settings"]["batch"] == 7
        assert loaded.record.space["activations"] == ["leaky_relu", "tanh", "sin"]
        assert (loaded.record.seed, loaded.direction) == (5, "minimize")
        assert set(loaded.record.versions) >= {"python", "torch", "optuna", "deap", "actsearch"}

    def test_deleted_it_is_gone(self, sqlite_url: str) -> None:
        _study(storage=sqlite_url)
        acs.delete_study(study_name="s", storage=sqlite_url)
        with pytest.raises(acs.StudyError, match="there is no study 's'"):
            acs.load_study(study_name="s", storage=sqlite_url)

    def test_a_misspelt_name_gets_a_suggestion(self, sqlite_url: str) -> None:
        _study(storage=sqlite_url, study_name="digits")
        with pytest.raises(acs.StudyError, match="did you mean 'digits'"):
            acs.load_study(study_name="digit", storage=sqlite_url)

    def test_a_name_is_taken_once(self, sqlite_url: str) -> None:
        _study(storage=sqlite_url)
        with pytest.raises(acs.StudyError, match="already"):
            _study(storage=sqlite_url)

    def test_without_a_storage_it_lives_in_memory(self, distance: Objective) -> None:
        study = _study()
        _run(study, distance, 3)
        assert _trained(study) == 3

    def test_a_strategy_or_space_named_by_default_is_auto_and_recommended(self) -> None:
        record = acs.create_study(study_name="s").record
        assert record.strategy["name"] == "auto"
        assert record.space["activations"] == acs.catalog.names(tier="recommended")
        assert record.direction is None
        assert record.seed == 0

    @pytest.mark.parametrize(
        "settings",
        [
            {"study_name": ""},
            {"study_name": "  "},
            {"study_name": "a\0b"},
            {"study_name": "a\ud800"},
            {"study_name": 3},
            {"direction": "max"},
            {"seed": -1},
            {"seed": 2**31},
            {"seed": 1.0},
            {"seed": True},
        ],
    )
    def test_settings_that_are_none_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(acs.StudyError, match=next(iter(settings))):
            _study(**settings)


class TestLoadIfExists:
    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"space": acs.Space(activations=["relu"])}, "missing"),
            (
                {"space": acs.Space(activations=["leaky_relu", "tanh", "sin"], max_size=9)},
                "max_size",
            ),
            ({"space": acs.Space(activations="all")}, "added"),
            ({"space": acs.Space(operators=["add"])}, "operators"),
            ({"strategy": "bayesian"}, "strategy"),
            ({"strategy": acs.Genetic(batch=3)}, "batch"),
            ({"direction": "maximize"}, "direction"),
            ({"seed": 4}, "seed"),
            ({"seed": 0}, "seed"),
        ],
    )
    def test_other_settings_are_refused_with_the_difference(
        self, sqlite_url: str, changed: dict[str, Any], said: str
    ) -> None:
        _study(storage=sqlite_url, strategy="genetic", space=SMALL, seed=3)
        with pytest.raises(acs.StudyError, match=said):
            acs.create_study(study_name="s", storage=sqlite_url, load_if_exists=True, **changed)

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"strategy": "genetic"},
            {"strategy": acs.Genetic()},
            {"space": acs.Space(activations=["leaky_relu", "tanh", "sin"])},
            {"space": acs.Space()},
            {"direction": "minimize"},
            {"seed": 3},
        ],
    )
    def test_the_same_settings_or_none_are_accepted(
        self, sqlite_url: str, given: dict[str, Any]
    ) -> None:
        made = _study(storage=sqlite_url, strategy="genetic", space=SMALL, seed=3)
        again = acs.create_study(study_name="s", storage=sqlite_url, load_if_exists=True, **given)
        assert again.record == made.record

    def test_a_study_that_does_not_exist_is_made(self, sqlite_url: str) -> None:
        assert _study(storage=sqlite_url, load_if_exists=True).trials == []


class TestHowMany:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_only_trained_trials_count(self, strategy: str, distance: Objective) -> None:
        study = _study(strategy=strategy)
        _run(study, distance, 12)
        assert _trained(study) == 12
        _run(study, distance, 3)
        assert _trained(study) == 15

    def test_failed_and_pruned_count_refused_and_repeated_do_not(self) -> None:
        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            if run.number % 3 == 0:
                raise ValueError("no")
            if run.number % 3 == 1:
                run.report(1, 0.5)
                raise acs.TrialPruned
            return float(run.number)

        study = _study(strategy="random")
        study.enqueue_trial("x + 1")
        study.enqueue_trial("relu")
        study.enqueue_trial("relu")
        _run(study, objective, 9)
        states = Counter(trial.state for trial in study.trials)
        trained = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
        assert all(states[state] for state in trained)
        assert sum(states[state] for state in trained) == 9
        assert states[TrialState.REJECTED] >= 1
        assert states[TrialState.DUPLICATE] >= 1

    def test_zero_trials_are_none(self, distance: Objective) -> None:
        study = _study()
        _run(study, distance, 0)
        assert study.trials == []

    def test_total_trials_fills_up_once(self, distance: Objective) -> None:
        study = _study()
        _run(study, distance, total_trials=7)
        assert _trained(study) == 7
        before = _rows(study)
        _run(study, distance, total_trials=7)
        assert _rows(study) == before
        _run(study, distance, total_trials=9)
        assert _trained(study) == 9

    def test_the_smaller_limit_holds(self, distance: Objective) -> None:
        study = _study()
        _run(study, distance, 4, total_trials=6)
        _run(study, distance, 4, total_trials=6)
        assert _trained(study) == 6

    @pytest.mark.parametrize(
        ("strategy", "steps"),
        [
            ("random", (10, 10)),
            ("bayesian", (1, 15, 12)),
            (acs.Genetic(first_batch=8, batch=6), (10, 10)),
        ],
        ids=["random", "bayesian", "genetic"],
    )
    def test_parts_make_the_same_trials_as_the_whole(
        self,
        strategy: str | acs.Genetic,
        steps: tuple[int, ...],
        sqlite_url: str,
        distance: Objective,
    ) -> None:
        whole = _study(strategy=strategy, seed=2)
        _run(whole, distance, sum(steps))
        for count in steps:
            part = _study(strategy=strategy, seed=2, storage=sqlite_url, load_if_exists=True)
            _run(part, distance, count)
        assert _rows(part) == _rows(whole)
        assert len(_rows(whole)) >= sum(steps)

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_two_half_trainings_make_the_same_trials_as_one(
        self, strategy: str, sqlite_url: str, tiny_task: acs.Task
    ) -> None:
        settings: dict[str, Any] = {"strategy": strategy, "direction": None, "seed": 1}
        whole = _study(**settings)
        _run(whole, tiny_task, 12)
        for _ in range(2):
            part = _study(**settings, storage=sqlite_url, load_if_exists=True)
            _run(part, tiny_task, 6)
        assert _rows(part) == _rows(whole)

    def test_another_seed_makes_other_trials(self, distance: Objective) -> None:
        studies = [_study(strategy="random", seed=seed) for seed in (0, 1)]
        for study in studies:
            _run(study, distance, 5)
        assert _rows(studies[0]) != _rows(studies[1])

    def test_after_the_timeout_no_further_trial_starts(self) -> None:
        def slow(candidate: acs.Candidate, run: acs.Run) -> float:
            time.sleep(0.4)
            return 0.5

        study = _study()
        _run(study, slow, timeout=1)  # the first proposal included
        assert 1 <= _trained(study) <= 3
        assert not any(trial.state is TrialState.RUNNING for trial in study.trials)

    @pytest.mark.parametrize(
        "limits",
        [
            {"n_trials": -1},
            {"n_trials": 2.5},
            {"n_trials": True},
            {"total_trials": -1},
            {"total_trials": "9"},
            {"timeout": 0},
            {"timeout": -1.0},
            {"timeout": math.nan},
        ],
    )
    def test_limits_that_are_none_are_refused(
        self, limits: dict[str, Any], distance: Objective
    ) -> None:
        study = _study()
        with pytest.raises(acs.StudyError, match=next(iter(limits))):
            _run(study, distance, **limits)
        assert study.trials == []


class TestCallbacks:
    def test_they_get_the_study_and_each_trained_trial(self, distance: Objective) -> None:
        seen: list[tuple[acs.Study, acs.Trial]] = []
        study = _study(strategy="random")
        _run(study, distance, 6, callbacks=[lambda *given: seen.append(given)])
        assert all(which is study for which, _ in seen)
        assert [trial.number for _, trial in seen] == [
            trial.number for trial in study.trials if trial.state.is_trained
        ]
        assert all(trial.value is not None for _, trial in seen)

    def test_what_they_are_told_is_stored_already(
        self, sqlite_url: str, distance: Objective
    ) -> None:
        def look(study: acs.Study, trial: acs.Trial) -> None:
            stored = acs.load_study(study_name="s", storage=sqlite_url).trials[trial.number]
            assert (stored.state, stored.value) == (trial.state, trial.value)
            looked.append(stored.number)

        looked: list[int] = []
        _run(_study(storage=sqlite_url), distance, 3, callbacks=[look])
        assert len(looked) == 3

    def test_stop_ends_before_the_next_trial(self, distance: Objective) -> None:
        def stop(study: acs.Study, trial: acs.Trial) -> None:
            if trial.number == 2:
                study.stop()

        study = _study()
        _run(study, distance, 10, callbacks=[stop])
        assert _trained(study) == 3
        _run(study, distance, 2)  # and the next call goes on
        assert _trained(study) == 5

    def test_an_exception_of_theirs_loses_no_trial(
        self, sqlite_url: str, distance: Objective
    ) -> None:
        def fail(study: acs.Study, trial: acs.Trial) -> None:
            raise ZeroDivisionError

        study = _study(storage=sqlite_url)
        with pytest.raises(ZeroDivisionError):
            _run(study, distance, 5, callbacks=[fail])
        assert _trained(acs.load_study(study_name="s", storage=sqlite_url)) == 1
        _run(study, distance, 1)


class TestEnqueueing:
    def test_a_formula_is_tried_first(self, distance: Objective) -> None:
        study = _study()
        assert study.enqueue_trial("x * tanh(x)") == 0
        assert study.trials[0].state is TrialState.WAITING
        _run(study, distance, 1)
        assert study.trials[0].value == pytest.approx(0, abs=1e-12)
        assert study.best_trial.number == 0
        assert study.trials[0].record.candidate.operation == "user"

    def test_so_is_a_catalog_row_with_hyperparameters(self, distance: Objective) -> None:
        study = _study()
        study.enqueue_trial("leaky_relu", negative_slope=0.37)
        _run(study, distance, 1)
        (activation,) = study.trials[0].record.candidate.activations.values()
        assert activation.name == "leaky_relu"
        assert activation.hyperparameters == {"negative_slope": 0.37}

    def test_it_goes_before_further_proposals_also_from_a_callback(
        self, distance: Objective
    ) -> None:
        def enqueue(study: acs.Study, trial: acs.Trial) -> None:
            if trial.number == 0:
                study.enqueue_trial("x * tanh(x)")

        study = _study(strategy=acs.Bayesian(batch=2, start="catalog"), space=SMALL)
        _run(study, distance, 5, callbacks=[enqueue])
        wanted = study.trials[3]  # the first batch, of three, was proposed already
        assert wanted.candidate.formula == "x * tanh(x)"
        assert wanted.state is TrialState.COMPLETE

    @pytest.mark.parametrize("formula", ["x + 1", "2 * x", "x - x", "sign(x)", "log(x)"])
    def test_a_hopeless_one_is_refused_with_a_reason(
        self, formula: str, distance: Objective
    ) -> None:
        study = _study()
        study.enqueue_trial(formula)
        _run(study, distance, 1)
        refused = study.trials[0]
        assert refused.state is TrialState.REJECTED
        assert refused.reason
        assert refused.value is None
        assert _trained(study) == 1  # another one was trained instead

    def test_a_repeated_one_points_at_the_original_and_has_its_value(
        self, distance: Objective
    ) -> None:
        study = _study()
        study.enqueue_trial("silu")
        study.enqueue_trial("x * sigmoid(x)")
        study.enqueue_trial("x * tanh(x)")
        _run(study, distance, 2)
        original, repeated, other = study.trials[:3]
        assert repeated.state is TrialState.DUPLICATE
        assert repeated.duplicate_of == 0
        assert repeated.value == original.value is not None
        assert "trial 0" in repeated.reason
        assert other.state is TrialState.COMPLETE

    @pytest.mark.parametrize(
        ("what", "error"),
        [("x +", acs.FormulaError), ("rellu", acs.ActivationError), (3, acs.ActivationError)],
    )
    def test_what_is_no_activation_is_refused_at_once(
        self, what: Any, error: type[Exception]
    ) -> None:
        study = _study()
        with pytest.raises(error):
            study.enqueue_trial(what)
        with pytest.raises(acs.ActivationError):
            study.enqueue_trial("leaky_relu", negative_slope=7)
        assert study.trials == []


class TestDirection:
    @pytest.mark.parametrize(("metric", "own"), [("loss", "minimize"), ("accuracy", "maximize")])
    def test_none_takes_the_metrics_own(
        self, tiny_task: acs.Task, metric: str, own: str, sqlite_url: str
    ) -> None:
        study = acs.create_study(study_name="s", storage=sqlite_url)
        _run(study, tiny_task.replace(metric=metric), 2)
        assert study.direction == own
        assert acs.load_study(study_name="s", storage=sqlite_url).direction == own

    def test_a_contradiction_is_refused(self, tiny_task: acs.Task) -> None:
        study = _study(direction="maximize")
        with pytest.raises(acs.StudyError, match="minimize"):
            _run(study, tiny_task, 1)
        assert study.trials == []

    def test_a_callable_needs_it_said(self, distance: Objective) -> None:
        study = acs.create_study(study_name="s")
        with pytest.raises(acs.StudyError, match="direction='maximize'"):
            _run(study, distance, 1)

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_the_best_is_at_its_end(
        self, direction: Literal["minimize", "maximize"], distance: Objective
    ) -> None:
        study = _study(direction=direction)
        _run(study, distance, 8)
        values = [trial.value for trial in study.trials if trial.value is not None]
        assert study.best_value == (min if direction == "minimize" else max)(values)


class TestLooking:
    @pytest.fixture
    def study(self) -> acs.Study:
        """Trials in every state but RUNNING; the lowest value belongs to a pruned one."""

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            if run.number == 2:
                raise ValueError("no")
            if run.number == 3:
                run.report(1, -100.0)
                raise acs.TrialPruned("hopeless")
            return float(run.number)

        study = _study()
        for what in ("x + 1", "relu", "tanh", "sin", "relu", "x * tanh(x)"):
            study.enqueue_trial(what)
        _run(study, objective, 6)
        return study

    def test_only_a_complete_trial_is_best(self, study: acs.Study) -> None:
        states = {trial.state.name for trial in study.trials}
        assert states >= {"COMPLETE", "FAILED", "PRUNED", "REJECTED", "DUPLICATE", "WAITING"}
        assert study.trials[3].value == -100
        assert study.best_trial.number == 1
        assert study.best_value == 1.0

    def test_without_a_complete_trial_there_is_no_best(self) -> None:
        with pytest.raises(acs.StudyError, match="no trial is complete yet"):
            _ = _study().best_trial

    def test_where_every_trial_failed_the_reason_is_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def objective(candidate: Any, run: Any) -> float:
            raise ValueError("no such file")

        study = _study()
        study.optimize(objective, n_trials=2, show_progress_bar=False)
        assert "all 2 trials failed, the last one: " in caplog.text
        with pytest.raises(acs.StudyError, match=r"2 failed, the last one with: .*no such file"):
            _ = study.best_trial

    def test_the_dataframe_has_a_row_for_each_trial(self, study: acs.Study) -> None:
        frame = study.trials_dataframe()
        assert list(frame["number"]) == list(range(len(study.trials)))
        assert list(frame["state"]) == [trial.state.name for trial in study.trials]
        assert frame["value"][1] == 1.0
        assert math.isnan(frame["value"][0])
        assert frame["value"][4] == 1.0  # the DUPLICATE of trial 1
        assert frame["duplicate_of"][4] == 1
        assert "no" in frame["reason"][2]
        assert frame["formula"][5] == "x * tanh(x)"

    def test_an_empty_dataframe_has_the_same_columns(self, study: acs.Study) -> None:
        assert list(_study().trials_dataframe().columns) == list(study.trials_dataframe().columns)

    def test_the_optuna_study_holds_the_trained_trials(self, study: acs.Study) -> None:
        view = study.optuna_study
        states = [trial.state.name for trial in view.trials]
        assert states.count("COMPLETE") == 4
        assert states.count("PRUNED") == states.count("FAIL") == 1
        numbers = [trial.number for trial in study.trials if trial.state.is_trained]
        assert [trial.number for trial in view.trials] == numbers != list(range(len(numbers)))
        assert view.best_trial.number == study.best_trial.number
        assert view.metric_names == ["value"]
        assert view.direction is optuna.study.StudyDirection.MINIMIZE

    @pytest.mark.parametrize(
        "plot", ["plot_slice", "plot_optimization_history", "plot_param_importances"]
    )
    def test_optunas_plots_work_on_it(self, plot: str, tiny_task: acs.Task) -> None:
        study = _study(space=SMALL, direction=None)
        _run(study, tiny_task, 12)
        how: dict[str, Any] = {}
        if plot == "plot_param_importances":
            # trees built over one parameter that every trial has; the others are conditional
            how = {
                "params": ["activation"],
                "evaluator": optuna.importance.FanovaImportanceEvaluator(seed=0),
            }
        figure = getattr(optuna.visualization, plot)(study.optuna_study, **how)
        assert figure.data

    def test_epochs_are_the_intermediate_values(self, tiny_task: acs.Task) -> None:
        study = _study(direction=None)
        _run(study, tiny_task.replace(epochs=3), 2)
        trial = study.optuna_study.trials[0]
        assert list(trial.intermediate_values) == [1, 2, 3]
        assert trial.intermediate_values[3] == trial.value  # the last epoch, never the best


class TestEndsOnItsOwn:
    @pytest.mark.parametrize("strategy", ["bayesian", "genetic", "random"])
    def test_a_space_with_nothing_new_ends_the_call(
        self, strategy: str, distance: Objective, caplog: pytest.LogCaptureFixture
    ) -> None:
        space = acs.Space(activations=["tanh"], operators=["tanh"], max_size=3, max_depth=2)
        study = _study(strategy=strategy, space=space)
        _run(study, distance, 100)
        assert 1 <= _trained(study) < 10
        assert "widen the space" in caplog.text or "nothing more to propose" in caplog.text

    def test_after_200_idle_proposals(self, distance: Objective) -> None:
        study = _study(strategy="bayesian", space=acs.Space(activations=["tanh"]))
        _run(study, distance, 5)
        states = Counter(trial.state for trial in study.trials)
        assert states[TrialState.COMPLETE] == 1
        assert 200 <= states[TrialState.DUPLICATE] <= 208
        assert len(states) == 2

    def test_an_objective_that_always_raises_is_stopped_after_ten(self) -> None:
        def broken(candidate: acs.Candidate, run: acs.Run) -> float:
            raise RuntimeError("shapes do not match")

        study = _study()
        with pytest.raises(acs.StudyError, match="shapes do not match"):
            _run(study, broken, 50)
        failed = [trial for trial in study.trials if trial.state is TrialState.FAILED]
        assert len(failed) == 10 == _trained(study)
        assert all("RuntimeError: shapes do not match" in trial.reason for trial in failed)

    def test_failures_of_different_kinds_go_on(self) -> None:
        def fickle(candidate: acs.Candidate, run: acs.Run) -> float:
            raise RuntimeError(f"trial {run.number}")

        study = _study()
        _run(study, fickle, 15)
        assert _trained(study) == 15

    @pytest.mark.parametrize("returned", [math.nan, math.inf, None, "0.5", True, {}, []])
    def test_what_is_no_finite_number_is_a_failure(self, returned: Any) -> None:
        study = _study()
        _run(study, lambda candidate, run: returned, 2)
        assert [trial.state.name for trial in study.trials[:2]] == ["FAILED", "FAILED"]
        assert study.trials[0].value is None
        assert study.trials[0].reason

    def test_an_exception_that_can_not_be_shown_is_a_failure_too(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise ValueError

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            raise Mute

        study = _study()
        _run(study, objective, 1)
        assert study.trials[0].state is TrialState.FAILED
        assert "Mute" in study.trials[0].reason

    @pytest.mark.parametrize("objective", [None, 3, "task", [1]])
    def test_what_is_no_objective_is_refused(self, objective: Any) -> None:
        with pytest.raises(acs.StudyError, match="objective"):
            _run(_study(), objective, 1)


class TestChangedTask:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"lr": 0.5}, "lr: 0.5"),
            ({"epochs": 3}, "epochs"),
            ({"seeds": 2}, "seeds"),
            ({"batch_size": 16}, "batch_size"),
            ({"valid": (torch.eye(8, 2), torch.arange(8) % 2)}, "valid"),
            (
                {"model": lambda: nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 2))},
                "model",
            ),
        ],
    )
    def test_it_is_refused_with_the_difference(
        self, tiny_task: acs.Task, changes: dict[str, Any], said: str
    ) -> None:
        study = _study(direction=None)
        _run(study, tiny_task, 2)
        before = _rows(study)
        with pytest.raises(acs.StudyError, match=said):
            _run(study, tiny_task.replace(**changes), 1)
        assert _rows(study) == before

    def test_accepted_it_goes_on_and_is_recorded(
        self, tiny_task: acs.Task, sqlite_url: str
    ) -> None:
        study = _study(direction=None, storage=sqlite_url)
        _run(study, tiny_task, 2)
        changed = tiny_task.replace(lr=0.5)
        _run(study, changed, 1, task_changed="accept")
        stored = acs.load_study(study_name="s", storage=sqlite_url)
        assert "lr: 0.5" in str(stored.record.user_attrs["task_changes"])
        _run(stored, changed, 1)  # now it is the study's task
        with pytest.raises(acs.StudyError, match="task differs"):
            _run(stored, tiny_task, 1)
        assert _trained(stored) == 4

    @pytest.mark.parametrize("changes", [{"name": "other"}, {"test": None}, {"device": "auto"}])
    def test_what_shapes_no_trial_may_change(
        self, tiny_task: acs.Task, changes: dict[str, Any]
    ) -> None:
        study = _study(direction=None)
        _run(study, tiny_task, 1)
        _run(study, tiny_task.replace(**changes), 1)
        assert _trained(study) == 2

    def test_an_old_handle_does_not_overwrite_the_task(
        self, tiny_task: acs.Task, sqlite_url: str
    ) -> None:
        study = _study(direction=None, storage=sqlite_url)
        opened_before = acs.load_study(study_name="s", storage=sqlite_url)
        _run(study, tiny_task, 1)
        with pytest.raises(acs.StudyError, match="task differs"):
            _run(opened_before, tiny_task.replace(lr=0.5), 1)

    def test_other_words_are_refused(self, tiny_task: acs.Task) -> None:
        with pytest.raises(acs.StudyError, match="task_changed"):
            _run(_study(direction=None), tiny_task, 1, task_changed="yes")


HOLD = """
import sys, time
import actsearch as acs

def objective(candidate, run):
    print("RUNNING", flush=True)
    sys.stdin.readline()
    return 1.0

study = acs.load_study(study_name="s", storage=sys.argv[1])
study.optimize(objective, n_trials=1, show_progress_bar=False)
"""


class TestOneDriver:
    @pytest.fixture
    def other(self, launcher: Launcher, sqlite_url: str) -> Iterator[Child]:
        """Another process that is in the middle of a trial of the study."""
        _study(storage=sqlite_url)
        child = launcher.start(HOLD, sqlite_url)
        assert child.read(1) == ["RUNNING"]
        yield child
        if not child.is_over:
            child.kill()
            child.wait()

    def test_a_second_process_is_kept_out_and_a_dead_one_taken_over(
        self, other: Child, sqlite_url: str
    ) -> None:
        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            return 1.0

        objective.__qualname__ = "objective"  # as in the other process
        study = acs.load_study(study_name="s", storage=sqlite_url)
        before = _rows(study)
        assert before[0][1] == "RUNNING"
        with pytest.raises(acs.StudyError, match=f"process {other.pid}"):
            _run(study, objective, 1)
        with pytest.raises(acs.StudyError, match="is being run by"):
            acs.delete_study(study_name="s", storage=sqlite_url)
        assert _rows(study) == before
        other.kill()
        other.wait()
        _run(study, objective, 1)
        assert study.trials[0].state is TrialState.COMPLETE  # the interrupted one, run again
        assert _trained(study) == 1

    def test_a_lost_lease_stops_writing(self, sqlite_url: str) -> None:
        study = _study(storage=sqlite_url)
        storage = Storage(sqlite_url)

        def lose(candidate: acs.Candidate, run: acs.Run) -> float:
            lease = storage.lease(study.record)
            with storage.database.writing() as session:
                session.connection().exec_driver_sql("DELETE FROM leases")
            lease.acquire()
            return 1.0

        with pytest.raises(acs.StudyError, match="no longer ours"):
            _run(study, lose, 3)
        assert _trained(study) == 0
        assert storage.is_running(study.record.id)  # the other's lease was left alone

    @pytest.mark.parametrize("batch", [1, 3])
    def test_an_interrupt_leaves_the_trial_to_be_run_again(
        self, sqlite_url: str, distance: Objective, batch: int
    ) -> None:
        def interrupted(candidate: acs.Candidate, run: acs.Run) -> float:
            if run.number == 4:
                raise KeyboardInterrupt
            return float(str(distance(candidate, run)))

        executor = acs.Local(batch)
        study = _study(storage=sqlite_url)
        interrupted.__qualname__ = "objective"  # not another task
        with pytest.raises(KeyboardInterrupt):
            _run(study, interrupted, 8, executor=executor)
        states = [trial.state for trial in study.trials]
        assert states[4] is TrialState.RUNNING
        assert _trained(study) == (4 // batch) * batch
        assert not Storage(sqlite_url).is_running(study.record.id)

        def mended(candidate: acs.Candidate, run: acs.Run) -> float:
            return float(str(distance(candidate, run)))

        mended.__qualname__ = "objective"
        _run(study, mended, total_trials=12)
        unbroken = _study()
        _run(unbroken, mended, 12)
        assert _rows(study) == _rows(unbroken)

    def test_a_reader_may_look_meanwhile(self, sqlite_url: str) -> None:
        looked: list[int] = []

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            other = acs.load_study(study_name="s", storage=sqlite_url)
            looked.append(sum(t.state is TrialState.RUNNING for t in other.trials))
            return 1.0

        study = _study(storage=sqlite_url)
        _run(study, objective, 2)
        assert looked == [1, 1]

    def test_someone_else_may_enqueue_meanwhile(
        self, sqlite_url: str, distance: Objective
    ) -> None:
        def enqueue(study: acs.Study, trial: acs.Trial) -> None:
            if trial.number == 1:
                thread = threading.Thread(target=_enqueue_in, args=(sqlite_url,))
                thread.start()
                thread.join()

        strategy = acs.Bayesian(batch=1, start="catalog")
        study = _study(storage=sqlite_url, strategy=strategy, space=SMALL)
        _run(study, distance, 6, callbacks=[enqueue])
        assert study.trials[3].candidate.formula == "x * tanh(x)"
        assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
        assert _trained(study) == 6


def _enqueue_in(url: str) -> None:
    acs.load_study(study_name="s", storage=url).enqueue_trial("x * tanh(x)")


class _Counting:
    """A callable objective that remembers its calls; the value is the trial's seed-free distance plus noise."""

    __qualname__ = "counting"

    def __init__(self, distance: Objective, *, reads_phase: bool = False) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self._distance = distance
        self._reads_phase = reads_phase

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        phase = run.phase if self._reads_phase else "unknown"
        self.calls.append((phase, run.seed, run.number))
        value = self._distance(candidate, run)
        assert isinstance(value, float)
        return value + (run.seed % 1000) * 1e-6


@pytest.fixture(scope="module")
def searched_file(make_tiny_task: Callable[[], acs.Task], tmp_path_factory: Any) -> Path:
    """The database of a study with eight trials."""
    path: Path = tmp_path_factory.mktemp("searched") / "study.db"
    study = _study(direction=None, storage=f"sqlite:///{path}")
    study.enqueue_trial("x * tanh(x)")
    _run(study, make_tiny_task(), 8)
    return path


class TestConfirm:
    @pytest.fixture
    def searched(self, searched_file: Path, tmp_path: Path, sqlite_url: str) -> acs.Study:
        with (
            contextlib.closing(sqlite3.connect(searched_file)) as source,
            contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as copy,
        ):
            source.backup(copy)
        return acs.load_study(study_name="s", storage=sqlite_url)

    def test_a_verdict_is_stored_and_read_back_without_training(
        self, searched: acs.Study, tiny_task: acs.Task, sqlite_url: str
    ) -> None:
        verdict = _confirm(searched, tiny_task)
        trained: list[str] = []

        def model() -> nn.Module:
            trained.append("built")
            return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))

        again = _confirm(
            acs.load_study(study_name="s", storage=sqlite_url), tiny_task.replace(model=model)
        )
        assert str(again) == str(verdict)
        assert again == verdict
        assert len(trained) <= 2  # its repr is compared; nothing is trained
        assert searched.verdicts == [verdict]

    @pytest.mark.parametrize("other", [{"seeds": 3}, {"baseline": "tanh"}, {"min_effect": 0.1}])
    def test_other_settings_make_another_verdict(
        self, searched: acs.Study, tiny_task: acs.Task, other: dict[str, Any]
    ) -> None:
        _confirm(searched, tiny_task)
        _confirm(searched, tiny_task, **other)
        assert len(searched.verdicts) == 2

    def test_so_do_new_trials_among_the_best(
        self, searched: acs.Study, tiny_task: acs.Task
    ) -> None:
        _confirm(searched, tiny_task, top_k=2)
        _run(searched, tiny_task, 3)
        _confirm(searched, tiny_task, top_k=2)
        assert len(searched.verdicts) == 2

    def test_looks_are_counted_over_every_study_on_the_same_test_data(
        self, searched: acs.Study, tiny_task: acs.Task, sqlite_url: str
    ) -> None:
        first = _confirm(searched, tiny_task)
        other = _study(study_name="other", direction=None, storage=sqlite_url, seed=9)
        _run(other, tiny_task, 4)
        second = _confirm(other, tiny_task)
        generator = torch.Generator().manual_seed(3)
        fresh = (torch.randn(16, 2, generator=generator), torch.arange(16) % 2)
        alone = _confirm(other, tiny_task.replace(test=fresh))
        assert len(first.rows) >= 1
        assert first.comparisons >= len(first.rows)
        assert alone.comparisons >= len(alone.rows) == len(second.rows)
        assert second.comparisons == first.comparisons + alone.comparisons

    @pytest.mark.slow
    def test_more_looks_make_the_intervals_wider(
        self, searched: acs.Study, tiny_task: acs.Task
    ) -> None:
        first = _confirm(searched, tiny_task, seeds=8)
        for count in (3, 4, 5):
            _confirm(searched, tiny_task, seeds=count)
        again = _confirm(searched, tiny_task, seeds=8, min_effect=1e-9)
        assert again.comparisons > first.comparisons

        def scaled(verdict: acs.Verdict) -> float:
            row = verdict.rows[0]
            values = torch.tensor(row.values) - torch.tensor(verdict.baseline.values)
            return (row.high - row.low) / float(values.std())

        assert scaled(again) > scaled(first)

    def test_without_a_complete_trial_there_is_nothing_to_confirm(
        self, tiny_task: acs.Task
    ) -> None:
        with pytest.raises(acs.StudyError, match="no trial is complete"):
            _confirm(_study(direction=None), tiny_task)

    def test_a_task_without_test_data_is_refused(
        self, searched: acs.Study, tiny_task: acs.Task
    ) -> None:
        with pytest.raises(acs.TaskError, match="test="):
            _confirm(searched, tiny_task.replace(test=None))

    @pytest.mark.parametrize(
        "how", [{"top_k": 0}, {"seeds": 1}, {"seeds": 2.5}, {"min_effect": 0}, {"top_k": True}]
    )
    def test_settings_that_are_none_are_refused(
        self, searched: acs.Study, tiny_task: acs.Task, how: dict[str, Any]
    ) -> None:
        with pytest.raises(acs.StudyError, match=next(iter(how))):
            _confirm(searched, tiny_task, **how)

    def test_rates_that_do_not_follow_the_task_are_not_tuned(
        self, tiny_task: acs.Task, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Three equal trainings would be compared, and a rate recommended that was never in use."""
        task = tiny_task.replace(
            schedule=lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 1e-2, total_steps=steps
            )
        )
        study = acs.create_study(study_name="s")
        study.optimize(task, n_trials=3, show_progress_bar=False)
        verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
        assert [row.learning_rate for row in (verdict.baseline, *verdict.rows)] == [None, None]
        assert verdict.baseline.mean == verdict.baseline.as_given
        assert "do not follow the task's lr" in caplog.text

    def test_a_baseline_by_name_is_called_by_it(
        self, searched: acs.Study, tiny_task: acs.Task
    ) -> None:
        assert _confirm(searched, tiny_task, baseline="tanh").baseline.label == "tanh"
        assert _confirm(searched, tiny_task).baseline.label == "ReLU"
        with pytest.raises(acs.ActivationError):
            _confirm(searched, tiny_task, baseline="no_such")

    def test_a_composed_winner_meets_the_best_catalog_row(
        self, searched: acs.Study, tiny_task: acs.Task
    ) -> None:
        verdict = _confirm(searched, tiny_task, top_k=2)
        assert any(row.is_catalog for row in verdict.rows)

    def test_few_seeds_say_so(self, searched: acs.Study, tiny_task: acs.Task) -> None:
        verdict = _confirm(searched, tiny_task, seeds=3)
        assert {row.verdict for row in verdict.rows} == {"too few seeds"}

    def test_the_lease_is_given_back(self, searched: acs.Study, tiny_task: acs.Task) -> None:
        before = _trained(searched)
        _confirm(searched, tiny_task)
        _run(searched, tiny_task, 1)
        assert _trained(searched) == before + 1

    @pytest.mark.parametrize("reads_phase", [False, True])
    def test_a_callable_is_validation_only_unless_it_reads_the_phase(
        self, distance: Objective, reads_phase: bool
    ) -> None:
        objective = _Counting(distance, reads_phase=reads_phase)
        study = _study(space=SMALL)
        _run(study, objective, 6)
        verdict = _confirm(study, objective, baseline="relu")
        assert verdict.validation_only is not reads_phase
        assert ("validation only" in str(verdict).lower()) is not reads_phase

    def test_its_seeds_are_others_than_those_of_the_search(self, distance: Objective) -> None:
        objective = _Counting(distance, reads_phase=True)
        study = _study(space=SMALL, seed=4)
        _run(study, objective, 6)
        searched = {seed for _, seed, _ in objective.calls}
        assert searched == set(seed_list(4, "search", 1))  # one list for the whole study
        objective.calls.clear()
        _confirm(study, objective, baseline="relu", seeds=5)
        chosen = {seed for phase, seed, _ in objective.calls if phase == "search"}
        tested = {seed for phase, seed, _ in objective.calls if phase == "confirm"}
        assert len(chosen) == 1
        assert len(tested) == 5
        assert not searched & chosen
        assert not searched & tested
        assert not chosen & tested

    def test_a_second_verdict_draws_new_seeds(self, distance: Objective) -> None:
        objective = _Counting(distance, reads_phase=True)
        study = _study(space=SMALL)
        _run(study, objective, 6)
        drawn = []
        for count in (3, 4):
            objective.calls.clear()
            _confirm(study, objective, baseline="relu", seeds=count)
            drawn.append({seed for phase, seed, _ in objective.calls if phase == "confirm"})
        assert not drawn[0] & drawn[1]

    def test_a_callable_is_not_called_for_a_stored_verdict(self, distance: Objective) -> None:
        objective = _Counting(distance)
        study = _study(space=SMALL)
        _run(study, objective, 6)
        first = _confirm(study, objective, baseline="relu")
        calls = len(objective.calls)
        assert _confirm(study, objective, baseline="relu") == first
        assert len(objective.calls) == calls

    def test_the_search_never_touches_the_test_data(self, tiny_task: acs.Task) -> None:
        class Untouchable(torch.utils.data.Dataset[Any]):
            touched = 0

            def __len__(self) -> int:
                return 16

            def __getitem__(self, index: int) -> Any:
                Untouchable.touched += 1
                generator = torch.Generator().manual_seed(index)
                return torch.randn(2, generator=generator), torch.tensor(index % 2)

        task = tiny_task.replace(test=Untouchable())
        study = _study(direction=None, strategy="genetic")
        _run(study, task, 10)
        assert Untouchable.touched == 0
        _confirm(study, task)
        assert Untouchable.touched > 0

    def test_other_test_data_change_no_trial(self, tiny_task: acs.Task) -> None:
        noise = (torch.randn(16, 2) * 100, torch.arange(16) % 2)
        studies = [_study(direction=None), _study(direction=None)]
        for study, task in zip(studies, (tiny_task, tiny_task.replace(test=noise)), strict=True):
            _run(study, task, 10)
        assert _rows(studies[0]) == _rows(studies[1])


def test_the_engine_prints_nothing(tiny_task: acs.Task, capfd: pytest.CaptureFixture[str]) -> None:
    study = _study(direction=None, strategy="genetic")
    _run(study, tiny_task, 5)
    _confirm(study, tiny_task)
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_when_asked_for(
    distance: Objective, capfd: pytest.CaptureFixture[str]
) -> None:
    _study().optimize(distance, 3, show_progress_bar=True)
    assert "3/3" in capfd.readouterr().err


def test_global_random_state_is_left_alone(tiny_task: acs.Task) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    study = _study(direction=None, strategy="genetic")
    _run(study, tiny_task, 5)
    _confirm(study, tiny_task)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_direction_that_nobody_had_said_can_be_said_when_the_study_is_opened(
    sqlite_url: str,
) -> None:
    acs.create_study(study_name="s", storage=sqlite_url)
    opened = acs.create_study(
        study_name="s", storage=sqlite_url, direction="minimize", load_if_exists=True
    )
    assert opened.direction == "minimize"
    assert acs.load_study(study_name="s", storage=sqlite_url).direction == "minimize"
    with pytest.raises(acs.StudyError, match="direction"):
        acs.create_study(
            study_name="s", storage=sqlite_url, direction="maximize", load_if_exists=True
        )


def test_confirming_another_task_is_refused(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s")
    study.optimize(tiny_task, n_trials=1, show_progress_bar=False)
    with pytest.raises(acs.StudyError, match="lr: 0.5"):
        study.confirm(tiny_task.replace(lr=0.5), seeds=2, show_progress_bar=False)


def test_a_changed_model_is_refused_with_the_lines_that_changed(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s")
    study.optimize(tiny_task, n_trials=1, show_progress_bar=False)
    wider = tiny_task.replace(
        model=lambda: torch.nn.Sequential(
            torch.nn.Linear(2, 9), torch.nn.ReLU(), torch.nn.Linear(9, 2)
        )
    )
    with pytest.raises(acs.StudyError, match=r"model \+ .*out_features=9"):
        study.optimize(wider, n_trials=1, show_progress_bar=False)


def test_an_alias_is_shown_beside_the_trial_whose_values_it_has(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s")
    study.enqueue_trial("relu")
    study.enqueue_trial("relu", grad_at_zero=1.0)
    study.enqueue_trial("tanh")
    study.optimize(tiny_task, n_trials=3, show_progress_bar=False)
    frame = study.trials_dataframe().head(3)
    assert list(frame.state) == ["COMPLETE"] * 3
    assert list(frame.same_values_as.fillna(-1)) == [-1, 0, -1]
    assert list(frame.mirror_of.fillna(-1)) == [-1, -1, -1]


def test_a_mirror_image_is_trained_and_shown_beside_its_original(tiny_task: acs.Task) -> None:
    study = acs.create_study(study_name="s")
    for what in ("relu", "tanh", "min(x, 0)", "-tanh(x)", "exp(x)"):
        study.enqueue_trial(what)
    study.optimize(tiny_task, n_trials=5, show_progress_bar=False)
    frame = study.trials_dataframe().head(5)
    assert list(frame.state) == ["COMPLETE"] * 5
    assert list(frame.mirror_of.fillna(-1)) == [-1, -1, 0, 1, -1]


def test_a_trial_has_the_measurements_of_its_trainings(
    tiny_task: acs.Task, sqlite_url: str
) -> None:
    study = acs.create_study(study_name="curves", storage=sqlite_url, strategy="random")
    study.optimize(tiny_task.replace(seeds=2, epochs=3), n_trials=2, show_progress_bar=False)
    trial = acs.load_study(study_name="curves", storage=sqlite_url).trials[0]
    curve = trial.curve
    assert list(curve["epoch"]) == [1, 2, 3] * 2
    assert curve["seed"].nunique() == 2
    assert trial.value == pytest.approx(curve[curve["epoch"] == 3]["valid_metric"].mean())
    study.enqueue_trial("tanh")
    assert acs.load_study(study_name="curves", storage=sqlite_url).trials[-1].curve.empty


def test_what_an_objective_reported_is_its_curve() -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        for step in range(3):
            run.report(step, step / 10)
        return 1.0

    study = acs.create_study(study_name="reports", direction="maximize", strategy="random")
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    assert list(study.trials[0].curve["valid_metric"]) == [0.0, 0.1, 0.2]
