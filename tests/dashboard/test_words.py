"""Words that say what is: failures with their reason, what is finished, and the verdict that counts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

import actsearch as acs
from actsearch.records import (
    SHARED,
    ActivationRecord,
    CandidateRecord,
    Outcome,
    TrialRecord,
    TrialState,
)
from actsearch.report import Measured, Verdict, compute_verdict
from actsearch.report.columns import make_columns
from actsearch.storage import Storage
from actsearch_dashboard.data import open_store
from actsearch_dashboard.studies_panel import are_comparable

Opener = Callable[..., AppTest]


def _failed(reason: str) -> Outcome:
    return Outcome(TrialState.FAILED, None, reason=reason)


@pytest.mark.parametrize("page", ["study", "leaderboard"])
def test_a_study_of_failures_says_why_and_not_how_to_confirm(
    opened: Opener, tmp_path: Path, page: str
) -> None:
    reason = "seed 7: RuntimeError: the data loader could not open train.h5"
    path = write_study(tmp_path / "s.db", "s", [_failed(reason)] * 9 + [_failed("loss is nan")])
    text = said(opened(page, path, study="s"))
    assert "All 10 trained trials failed, 9 of them with: **RuntimeError: the data loader" in text
    assert "study.confirm" not in text
    assert list(opened("studies", path).dataframe[0].value["state"]) == ["failed"]


def test_some_failures_are_counted_beside_what_was_trained(opened: Opener, tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.5, _failed("loss is nan"), 0.6])
    app = opened("study", path, study="s")
    assert {item.label: item.value for item in app.metric}["Trials trained"] == "3, 1 failed"
    assert "trained trials failed" not in said(app)


def test_a_search_that_got_what_it_asked_for_is_not_called_unfinished(
    opened: Opener, tmp_path: Path, whole: Path
) -> None:
    """The random strategy proposes more than the two trials that were asked for."""
    states = dict(opened("studies", whole).dataframe[0].value[["study", "state"]].values)
    assert states["plain"] == "searched"
    text = said(opened("study", whole, study="plain"))
    assert "of the last batch: a batch is proposed whole" in text
    assert "esumable" not in text


# verdicts


def _verdict(path: Path, gain: float, seeds: int) -> Verdict:
    """Store a verdict on the first trial of the study "s"."""
    plain = [0.90 + 0.002 * (seed % 4) for seed in range(seeds)]
    own = [value + gain + 0.001 * (seed % 3) for seed, value in enumerate(plain)]
    candidate = CandidateRecord({SHARED: ActivationRecord("x * tanh(x)")})
    verdict = compute_verdict(
        Measured("relu", "relu", plain),
        [Measured("x * tanh(x)", "x * tanh(x)", own, number=0, activation=candidate.activations[SHARED].to_json())],
        study_name="s", metric="accuracy", direction="maximize",
    )  # fmt: skip
    with closing(sqlite3.connect(path)) as base, base:
        (count,) = base.execute("SELECT count(*) FROM confirmations").fetchone()
        base.execute(
            "INSERT INTO confirmations (study_id, number, key, verdict, created) VALUES (1, ?, ?, ?, ?)",
            (
                count,
                f"k{count}",
                json.dumps(verdict.to_json()),
                f"2030-01-0{count + 1} 00:00:00.000000",
            ),
        )
    return verdict


@pytest.fixture
def twice(tmp_path: Path) -> Path:
    """A verdict over ten seeds, and a later one over four, which are too few to tell."""
    path = write_study(tmp_path / "s.db", "s", [0.93, 0.9], task={"metric": "accuracy"})
    assert _verdict(path, 0.03, 10).winner.number == 0
    assert not _verdict(path, 0.03, 4).is_decided
    return path


@pytest.mark.parametrize("page", ["study", "leaderboard"])
def test_a_later_verdict_that_cannot_tell_is_no_headline(
    opened: Opener, twice: Path, page: str
) -> None:
    app = opened(page, twice, study="s")
    assert "Use x * tanh(x)" in said(app)
    assert "Use x" in app.success[0].value.replace("\\", "")
    assert "takes nothing of it back" in said(app)
    if page == "leaderboard":
        assert app.dataframe[1].value["verdict"].tolist() == ["better", ""]
        assert app.selectbox[0].value == 1  # the older of two


def test_a_verdict_has_one_colour(opened: Opener, twice: Path) -> None:
    """Green on the page of the study, and on that of the trial."""
    for page in ("study", "activation"):
        app = opened(page, twice, study="s", trial="0")
        said(app)
        assert len(app.success) == 1
        assert not [box for box in app.info if "erdict" in box.value]


def test_a_verdict_that_decides_later_is_the_headline(opened: Opener, twice: Path) -> None:
    _verdict(twice, -0.001, 12)
    assert "Keep relu" in said(opened("study", twice, study="s"))


# how a candidate was made


def test_rows_of_the_catalog_are_not_called_like_the_users_model() -> None:
    model = CandidateRecord({}, "baseline")
    row = CandidateRecord({SHARED: ActivationRecord("max(x, 0)", "relu")}, "baseline")
    trials = [TrialRecord(n, TrialState.COMPLETE, one) for n, one in enumerate((model, row))]
    assert make_columns(trials)["operation"].tolist() == ["baseline", "catalog"]
    study = acs.create_study(
        study_name="s", strategy=acs.Bayesian(start="catalog"), direction="minimize"
    )
    study.optimize(lambda candidate, run: 1.0, n_trials=1, show_progress_bar=False)
    assert set(study.trials_dataframe()["operation"]) == {"catalog"}


def test_tables_call_the_model_unchanged_by_its_name(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    write_study(path, "s", [0.5], formulas=("x * tanh(x)",))
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("UPDATE trials SET operation = 'baseline', activations = '{}', formula = ''")
    for page, column in (("trials", "operation"), ("leaderboard", "made by")):
        table = opened(page, path, study="s").dataframe[0].value
        assert table[column].tolist() == ["your model unchanged"]


@pytest.mark.parametrize("state", [TrialState.REJECTED, TrialState.DUPLICATE])
def test_what_is_never_trained_has_not_yet_to_end(
    opened: Opener, tmp_path: Path, state: TrialState
) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.5])
    storage = Storage(f"sqlite:///{path}")
    study = storage.study("s")
    lease = storage.lease(study)
    lease.acquire()
    candidate = CandidateRecord({SHARED: ActivationRecord("x * 0")})
    original = 0 if state is TrialState.DUPLICATE else None
    refused = TrialRecord(-1, state, candidate, reason="constant", duplicate_of=original)
    storage.add_trials(study.id, [refused], lease)
    lease.release()
    text = said(opened("activation", path, study="s", trial="1"))
    assert "and not trained" in text
    assert "not ended" not in text


# studies side by side


def test_values_of_another_magnitude_are_not_compared_without_a_word(
    opened: Opener, tmp_path: Path
) -> None:
    path = write_study(tmp_path / "s.db", "small", [1e-11, 2e-11], directions=("minimize",))
    write_study(path, "large", [9000.0, 8000.0], directions=("minimize",))
    text = said(opened("compare", path, studies="small,large"))
    assert "orders of magnitude apart" in text
    write_study(path, "a", [0.5], directions=("minimize",), task={"objective": "perplexity"})
    write_study(path, "b", [0.6], directions=("minimize",), task={"objective": "latency"})
    app = opened("compare", path, studies="a,b")
    assert "measure different things" in said(app)
    assert not app.get("plotly_chart")
    store = open_store(f"sqlite:///{path}")
    assert not are_comparable([store.view("a"), store.view("b")])
