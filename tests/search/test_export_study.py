"""``actsearch export``: a table, everything as JSON, and a study that Optuna's own tools open."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState

import actsearch as acs
from actsearch.cli import main
from actsearch.records import TrialState

Objective = Callable[[acs.Candidate, acs.Run], float]


@pytest.fixture
def study(sqlite_url: str, distance: Objective) -> acs.Study:
    """Complete, failed, pruned, repeated, refused and waiting trials."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        run.report(1, 0.5)
        if candidate.formula == "sin(x)":
            raise ValueError("no sin")
        if candidate.formula == "cos(x)":
            raise acs.TrialPruned("enough")
        return distance(candidate, run)

    made = acs.create_study(
        study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
    )
    for formula in ("x*tanh(x)", "sin(x)", "cos(x)", "x*tanh(x)", "x*0+1"):
        made.enqueue_trial(formula)
    made.enqueue_trial("leaky_relu", negative_slope=0.3)
    made.optimize(objective, n_trials=8, show_progress_bar=False)
    made.enqueue_trial("tanh(x)*7")
    return made


def _export(url: str, kind: str, target: object, *, in_two_words: bool) -> None:
    words = ["--to", kind, str(target)] if in_two_words else [f"--to-{kind}", str(target)]
    assert main(["export", "s", "--storage", url, *words]) == 0


@pytest.mark.parametrize("in_two_words", [True, False])
def test_optuna_opens_it(
    study: acs.Study, sqlite_url: str, tmp_path: Path, in_two_words: bool
) -> None:
    target = f"sqlite:///{tmp_path}/optuna.db"
    _export(sqlite_url, "optuna", target, in_two_words=in_two_words)
    opened = optuna.load_study(study_name="s", storage=target)
    assert opened.direction is optuna.study.StudyDirection.MINIMIZE
    assert opened.best_value == study.best_value
    assert opened.best_trial.number == study.best_trial.number
    assert opened.metric_names == ["value"]
    trained = [trial for trial in study.trials if trial.state.is_trained]
    told = study.trials[: trained[-1].number + 1]
    assert [trial.number for trial in opened.trials] == [trial.number for trial in told]
    others = {trial.number: trial.state.name for trial in told if not trial.state.is_trained}
    assert set(others.values()) == {"REJECTED", "DUPLICATE"}
    for trial in (opened.trials[number] for number in others):
        assert (trial.state, trial.value, trial.params) == (OptunaState.FAIL, None, {})
        assert trial.user_attrs["state"] == others[trial.number]
    states = {
        TrialState.COMPLETE: OptunaState.COMPLETE,
        TrialState.FAILED: OptunaState.FAIL,
        TrialState.PRUNED: OptunaState.PRUNED,
    }
    assert {t.state for t in opened.trials} == set(states.values())
    for ours in trained:
        theirs = opened.trials[ours.number]
        assert theirs.state == states[ours.state]
        assert theirs.user_attrs["formula"] == ours.candidate.formula
        assert theirs.user_attrs["reason"] == ours.reason
        if ours.state is TrialState.COMPLETE:
            assert theirs.value == ours.value
        assert theirs.params["activation"] in theirs.distributions["activation"].choices  # type: ignore[attr-defined]
        assert set(theirs.params) == set(theirs.distributions)
        assert theirs.datetime_complete is not None
    (leaky,) = [t for t in opened.trials if t.params.get("leaky_relu.negative_slope") == 0.3]
    assert isinstance(leaky.distributions["activation"], CategoricalDistribution)
    assert leaky.distributions["leaky_relu.negative_slope"] == FloatDistribution(0, 1)
    composed = [t for t in opened.trials if t.params.get("activation") == "composed"]
    assert composed[0].params["composed.size"] == 4
    assert isinstance(composed[0].distributions["composed.size"], IntDistribution)
    optuna.importance.get_param_importances(opened, params=["activation"])


def test_written_twice_it_is_refused_and_the_first_stays(
    study: acs.Study,
    sqlite_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = f"sqlite:///{tmp_path}/optuna.db"
    _export(sqlite_url, "optuna", target, in_two_words=True)
    words = ["export", "s", "--storage", sqlite_url, "--to", "optuna", target]
    assert main(words) == 1
    assert "already" in capsys.readouterr().err
    opened = optuna.load_study(study_name="s", storage=target)
    assert sum("state" in trial.user_attrs for trial in opened.trials) == len(opened.trials) >= 10


@pytest.mark.parametrize("in_two_words", [True, False])
def test_json_holds_everything(
    study: acs.Study, sqlite_url: str, tmp_path: Path, in_two_words: bool
) -> None:
    target = tmp_path / "s.json"
    _export(sqlite_url, "json", target, in_two_words=in_two_words)
    data = json.loads(target.read_text("utf-8"), parse_constant=pytest.fail)
    assert data["study"]["name"] == "s"
    assert data["study"]["direction"] == "minimize"
    assert [t["number"] for t in data["trials"]] == [t.number for t in study.trials]
    assert [t["state"] for t in data["trials"]] == [t.state.name for t in study.trials]
    assert [t["value"] for t in data["trials"]] == [t.value for t in study.trials]
    first = data["trials"][0]
    assert first["candidate"]["formula"] == "x * tanh(x)"
    assert first["evaluations"][0]["epochs"][0]["valid_metric"] == 0.5
    assert first["completed"].endswith("+00:00")


@pytest.mark.parametrize("in_two_words", [True, False])
def test_csv_is_a_table_of_the_trials(
    study: acs.Study, sqlite_url: str, tmp_path: Path, in_two_words: bool
) -> None:
    target = tmp_path / "s.csv"
    _export(sqlite_url, "csv", target, in_two_words=in_two_words)
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == [t.state.name for t in study.trials]
    for row, trial in zip(rows, study.trials, strict=True):
        value = float(row["value"]) if row["value"] else None
        assert value == trial.value or (
            value is not None and math.isclose(value, trial.value or 0)
        )


@pytest.mark.parametrize(
    "words", [["--to", "xml", "x"], ["--to", "csv"], [], ["--to-csv", "a", "--to-json", "b"]]
)
def test_other_words_are_wrong_usage(
    study: acs.Study, sqlite_url: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["export", "s", "--storage", sqlite_url, *words])
    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_said(
    study: acs.Study, sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("csv", "json"):
        target = str(tmp_path / "nowhere" / "file")
        assert main(["export", "s", "--storage", sqlite_url, "--to", kind, target]) == 1
        assert "cannot write" in capsys.readouterr().err
