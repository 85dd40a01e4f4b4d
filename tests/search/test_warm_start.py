"""A new study begins with the best of an old one: what comes along, what does not, and what is written down."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs
from actsearch.strategies import STRATEGIES

Objective = Callable[[acs.Candidate, acs.Run], float]
FORMULAS = ("x*tanh(x)", "sin(x)", "x*sigmoid(x)*2", "tanh(x)*0.5")


def _study(name: str, storage: str | None = None, **settings: Any) -> acs.Study:
    given: dict[str, Any] = {"strategy": "random", "direction": "minimize"}
    return acs.create_study(study_name=name, storage=storage, **given | settings)


def _run(study: acs.Study, objective: Any, n_trials: int) -> None:
    study.optimize(objective, n_trials, show_progress_bar=False)


@pytest.fixture
def old(sqlite_url: str, distance: Objective) -> acs.Study:
    """The best is x*tanh(x): the objective measures the distance to it."""
    study = _study("old", sqlite_url)
    for formula in FORMULAS:
        study.enqueue_trial(formula)
    _run(study, distance, len(FORMULAS))
    return study


def _ranked(study: acs.Study) -> list[acs.Trial]:
    complete = [trial for trial in study.trials if trial.state is acs.TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (trial.value, trial.number))


def test_the_best_are_trained_first_and_anew(
    old: acs.Study, sqlite_url: str, distance: Objective
) -> None:
    def doubled(candidate: acs.Candidate, run: acs.Run) -> float:
        return 2 * distance(candidate, run)

    study = _study("new", sqlite_url, warm_start_from="old", warm_start_top_k=2)
    best = _ranked(old)[:2]
    assert [t.state.name for t in study.trials] == ["WAITING", "WAITING"]
    assert [t.value for t in study.trials] == [None, None]
    _run(study, doubled, 3)
    first = study.trials[:2]
    assert [t.candidate.formula for t in first] == [t.candidate.formula for t in best]
    assert [t.value for t in first] == [2 * (t.value or 0) for t in best]
    assert first[0].user_attrs["warm_start"] == {
        "study": "old",
        "number": best[0].number,
        "value": best[0].value,
    }
    assert study.user_attrs["warm_start"] == {
        "study": "old",
        "top_k": 2,
        "trials": [t.number for t in best],
        "left_out": [],
    }


def test_from_another_storage(old: acs.Study, tmp_path: Path) -> None:
    study = _study("new", f"sqlite:///{tmp_path}/other.db", warm_start_from=old)
    assert study.trials[0].candidate.formula == "x * tanh(x)"
    assert len(study.trials) == len(FORMULAS)  # at most the default of 5


@pytest.mark.parametrize("strategy", ["random", "bayesian", "genetic"])
def test_every_strategy_goes_on_from_there(
    old: acs.Study, distance: Objective, strategy: str
) -> None:
    study = _study("new", strategy=strategy, warm_start_from=old)
    _run(study, distance, 8)
    assert [t.record.candidate.operation for t in study.trials[:4]] == ["warm start"] * 4
    assert study.best_trial.number == 0


def test_what_lies_outside_of_the_space_is_left_out_and_said(
    old: acs.Study, caplog: pytest.LogCaptureFixture
) -> None:
    space = acs.Space(operators=["mul", "tanh"])
    study = _study("new", space=space, warm_start_from=old)
    formulas = {t.candidate.formula for t in study.trials}
    assert formulas == {"x * tanh(x)", "tanh(x) * 0.5"}
    left_out = study.user_attrs["warm_start"]["left_out"]
    assert {item["reason"] for item in left_out} == {
        "uses sin, not among the operators of the space",
        "uses sigmoid, not among the operators of the space",
    }
    assert "is left out: it uses sin" in caplog.text


@pytest.mark.parametrize(
    ("candidate", "space", "reason"),
    [
        ("gelu", acs.Space(activations=["relu"]), "uses gelu, which is not in the space"),
        ("x*tanh(x)+sin(x)", acs.Space(max_size=5), "nodes, the space allows 5"),
        ("x*tanh(param(1.0)*x)", acs.Space(learned=False), "has learned numbers, which the space"),
        ("tanh(tanh(tanh(x)))", acs.Space(max_depth=3), "levels, the space allows 3"),
    ],
)
def test_where_nothing_lies_inside_no_study_is_made(
    sqlite_url: str, distance: Objective, candidate: str, space: acs.Space, reason: str
) -> None:
    old = _study("old", sqlite_url)
    old.enqueue_trial(candidate)
    _run(old, distance, 1)
    with pytest.raises(acs.StudyError, match="nothing of study 'old'") as caught:
        _study("new", sqlite_url, space=space, warm_start_from="old")
    assert reason in str(caught.value)
    with pytest.raises(acs.StudyError, match="there is no study 'new'"):
        acs.load_study(study_name="new", storage=sqlite_url)


def test_run_again_a_script_adds_nothing(
    old: acs.Study, sqlite_url: str, distance: Objective
) -> None:
    for _ in range(2):
        study = _study("new", sqlite_url, warm_start_from="old", load_if_exists=True)
        assert len(study.trials) == len(FORMULAS)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"warm_start_from": "other"}, "warm_start_from: 'other', stored 'old'"),
        ({"warm_start_from": "old", "warm_start_top_k": 2}, "warm_start_top_k: 2, stored 5"),
    ],
)
def test_another_start_is_refused(
    old: acs.Study, sqlite_url: str, settings: dict[str, Any], difference: str
) -> None:
    _study("new", sqlite_url, warm_start_from="old")
    with pytest.raises(acs.StudyError, match=difference):
        _study("new", sqlite_url, load_if_exists=True, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"warm_start_from": "missing"},
        {"warm_start_from": 3},
        {"warm_start_from": "old", "warm_start_top_k": 0},
        {"warm_start_from": "old", "warm_start_top_k": True},
        {"warm_start_top_k": 3},
        {"warm_start_from": "empty"},
    ],
)
def test_what_is_no_start_is_refused(
    old: acs.Study, sqlite_url: str, settings: dict[str, Any]
) -> None:
    _study("empty", sqlite_url)
    with pytest.raises(acs.StudyError):
        _study("new", sqlite_url, **settings)
    with pytest.raises(acs.StudyError, match="there is no study 'new'"):
        acs.load_study(study_name="new", storage=sqlite_url)


def test_a_doctored_formula_is_left_out(old: acs.Study, sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as base, base:
        base.execute(
            "UPDATE trials SET activations = replace(activations, 'x * tanh(x)', '__import__(1)')"
        )
    study = _study("new", sqlite_url, warm_start_from="old")
    assert len(study.trials) == len(FORMULAS) - 1
    (item,) = study.user_attrs["warm_start"]["left_out"]
    assert item["reason"].startswith("cannot be read: ")


# what learns shapes takes no function
@pytest.mark.parametrize(
    "strategy", [n for n, kind in STRATEGIES.items() if not kind().learns_shapes]
)
def test_the_strategys_own_formulas_lie_inside_its_space(
    distance: Objective, strategy: str
) -> None:
    space = acs.Space(max_size=12, max_depth=5)
    old = _study(strategy, strategy=strategy, space=space)
    _run(old, distance, 30)
    study = _study("new", space=space, warm_start_from=old, warm_start_top_k=30)
    assert study.user_attrs["warm_start"]["left_out"] == []
