"""What is asked every day: a click opens it, did anything win, sort by what it was set to, how to train it again."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saying import said
from streamlit.delta_generator import DeltaGenerator
from streamlit.testing.v1 import AppTest
from written import write_study

import actsearch as acs
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.report import Reader
from actsearch.report.columns import make_columns
from actsearch_dashboard import figures
from actsearch_dashboard.export_panel import enqueue_text
from actsearch_dashboard.filters import all_orders, hyperparameters, sort_trials

Opener = Callable[..., AppTest]


def test_points_of_the_history_know_their_trials() -> None:
    """A click on one opens what ``customdata`` says."""
    trials = [
        TrialRecord(0, TrialState.COMPLETE, CandidateRecord({}), 0.5),
        TrialRecord(1, TrialState.FAILED, CandidateRecord({})),
        TrialRecord(2, TrialState.COMPLETE, CandidateRecord({}), 0.6),
    ]
    figure = figures.history(make_columns(trials), "maximize", "accuracy")
    known = {trace.name: list(trace.customdata) for trace in figure.data if trace.customdata}
    assert known == {"complete": [0, 2], "failed": [1]}


def test_studies_says_whether_anything_beat_the_users_model(opened: Opener, whole: Path) -> None:
    reader = Reader(f"sqlite:///{whole}")
    verdict = reader.verdicts(reader.study("confirmed"))[0][1]
    reader.close()
    table = opened("studies", whole).dataframe[0].value
    word = "nothing" if verdict.is_decided else "undecided"
    if verdict.winner is not verdict.baseline:
        word = verdict.winner.label
    assert dict(zip(table["study"], table["beats yours"], strict=True)) == {
        "confirmed": word, "plain": "", "empty": "",
    }  # fmt: skip


def test_studies_says_by_how_much_a_smaller_loss_beats_it(opened: Opener, tmp_path: Path) -> None:
    study = acs.create_study(
        study_name="s",
        storage=f"sqlite:///{tmp_path}/s.db",
        strategy="random",
        direction="minimize",
    )

    def loss(candidate: acs.Candidate, run: acs.Run) -> float:
        return 0.5 - 0.25 * ("sin" in candidate.formula) + run.seed % 3 / 1000

    study.enqueue_trial("sin")
    study.optimize(loss, n_trials=1, show_progress_bar=False)
    study.confirm(loss, baseline="relu", seeds=10, show_progress_bar=False)
    table = opened("studies", tmp_path / "s.db").dataframe[0].value
    assert table["beats yours"].tolist() == ["sin"]
    assert table["difference"].tolist() == pytest.approx([-0.25])
    assert list(table)[:3] == ["study", "beats yours", "difference"]


def _set_to(path: Path) -> Path:
    """Trials of three rows of the catalog, two of them with a number."""
    study = acs.create_study(
        study_name="s", storage=f"sqlite:///{path}", strategy="random", direction="maximize"
    )
    study.enqueue_trial("leaky_relu", negative_slope=0.3)
    study.enqueue_trial("x * tanh(x)")
    study.enqueue_trial("leaky_relu", negative_slope=0.05)
    study.optimize(lambda candidate, run: 1.0, n_trials=3, show_progress_bar=False)
    return path


def test_trials_are_sorted_by_what_they_were_set_to_and_what_has_none_is_last(
    opened: Opener, tmp_path: Path
) -> None:
    path = _set_to(tmp_path / "s.db")
    app = opened("trials", path, study="s")
    app.selectbox(key="order").set_value("negative_slope, largest first").run()
    said(app)
    slopes = app.dataframe[0].value["negative_slope"].to_numpy()
    known = slopes[~np.isnan(slopes)]
    assert {0.3, 0.05} <= set(known)
    assert list(known) == sorted(known, reverse=True)
    assert np.isnan(slopes[len(known) :]).all()
    assert len(known) < len(slopes)
    app.selectbox(key="order").set_value("negative_slope, smallest first").run()
    again = app.dataframe[0].value["negative_slope"].to_numpy()
    assert list(again[: len(known)]) == sorted(known)


def test_orders_know_the_whole_study_and_an_unknown_one_is_that_of_the_trials() -> None:
    frame = make_columns(
        [TrialRecord(n, TrialState.COMPLETE, CandidateRecord({}), float(n)) for n in range(3)]
    )
    assert hyperparameters(frame).empty
    assert sort_trials(frame, "alpha, largest first", "maximize")["number"].tolist() == [0, 1, 2]
    assert {"alpha, largest first", "alpha, smallest first"} <= set(all_orders(["alpha"]))


def test_downloads_are_named_after_the_study(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    button = DeltaGenerator.download_button

    def note(self: DeltaGenerator, *words: Any, **more: Any) -> Any:
        named.append(more["file_name"])
        return button(self, *words, **more)

    monkeypatch.setattr(DeltaGenerator, "download_button", note)
    path = write_study(tmp_path / "s.db", "digits, 2nd try", [0.5])
    said(opened("trials", path, study="digits, 2nd try"))
    assert named == ["digits-2nd-try-trials.csv"]


@pytest.mark.parametrize(
    "what",
    [
        ("x * tanh(x)", {}),
        ("leaky_relu", {"negative_slope": 0.3}),
        ("baseline", {}),
        ({"depth:1/3": "sin", "depth:2/3": "relu", "depth:3/3": "x*tanh(x)"}, {}),
    ],
)
def test_the_snippet_of_a_trial_makes_the_same_trial_again(
    what: tuple[object, dict[str, float]],
) -> None:
    """It is run: in a study that has the trial already, it is a duplicate of it."""
    grouped = isinstance(what[0], dict)
    study = acs.create_study(
        study_name="s",
        strategy="random",
        direction="maximize",
        space=acs.Space(sites="per_depth") if grouped else None,
    )
    study.enqueue_trial(what[0], **what[1])
    (trial,) = study.trials
    record = trial.candidate.record
    exec(enqueue_text(record), {"study": study})
    first, second = study.trials
    assert second.candidate.formula == first.candidate.formula


def test_a_recipe_has_seeds_rate_and_versions(opened: Opener, whole: Path) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    said(app)
    (recipe,) = [block.value for block in app.code if "learning rate" in block.value]
    reader = Reader(f"sqlite:///{whole}")
    (trial,) = reader.trials(reader.study("confirmed"), [0], epochs=True)
    reader.close()
    assert f"seeds: {trial.evaluations[0].seed}" in recipe
    assert "learning rate: 0.01" in recipe
    assert "epochs: 2" in recipe
    assert f"torch {trial.trained_with['torch']}" in recipe


def test_notes_are_shown_as_text(opened: Opener, tmp_path: Path, evil: str) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.5])
    with closing(sqlite3.connect(path)) as base, base:
        base.execute(
            "UPDATE trials SET user_attrs = ?", (json.dumps({"note": "try with lr 1e-4"}),)
        )
        base.execute("UPDATE studies SET user_attrs = ?", (json.dumps({"note": evil}),))
    app = opened("activation", path, study="s", trial="0")
    text = said(app)
    assert "try with lr 1e-4" in text
    assert "<img src=x" in text
    assert not [block for block in app.markdown if "<img" in block.value.replace("\\<", "")]


def test_how_to_go_on_is_there_to_copy(opened: Opener, whole: Path) -> None:
    app = opened("study", whole, study="plain")
    said(app)
    (code,) = [block.value for block in app.code if "load_study" in block.value]
    assert f"acs.load_study(study_name='plain', storage='sqlite:///{whole}')" in code
    compile(code, "pasted", "exec")
    assert not [block for block in app.code if "kill" in block.value]


def test_how_to_stop_a_search_is_there_to_copy(opened: Opener, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    study = acs.create_study(study_name="s", storage=url, strategy="random", direction="maximize")
    shown: list[str] = []

    def look(candidate: acs.Candidate, run: acs.Run) -> float:
        if run.number:
            app = opened("study", tmp_path / "s.db", study="s")
            shown.extend(block.value for block in app.code if "kill" in block.value)
        return 1.0

    study.optimize(look, n_trials=2, show_progress_bar=False)
    assert shown[0].startswith(f"kill -INT {os.getpid()}  # on {socket.gethostname()}")


def test_the_users_model_is_among_the_candidates(opened: Opener, tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.1, 0.9, 0.8, 0.7])
    with closing(sqlite3.connect(path)) as base, base:
        base.execute(
            "UPDATE trials SET operation = 'baseline', activations = '{}', formula = '', "
            "label = 'ReLU (your model unchanged)' WHERE number = 0"
        )
    app = opened("compare", path, study="s")
    said(app)
    assert app.multiselect[0].value == ["1", "2", "3", "0"]


def test_verdicts_of_studies_stand_side_by_side(opened: Opener, whole: Path) -> None:
    app = opened("compare", whole, studies="confirmed,plain")
    said(app)
    (table,) = [item.value for item in app.dataframe if "compared with" in item.value]
    assert table["study"].tolist() == ["confirmed"]
    assert table["compared with"].tolist() == ["ReLU"]
