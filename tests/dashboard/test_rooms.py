"""Studies, a study, its trials: large ones, several objectives, running ones, and storages that go away."""

from __future__ import annotations

import dataclasses
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from crossed import WITHOUT_STUDY, only
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch.records import (
    SHARED,
    ActivationRecord,
    CandidateRecord,
    Outcome,
    RunGoal,
    TrialRecord,
    TrialState,
)
from actsearch.report import Reader, mirrors, trials_frame
from actsearch.report.columns import make_columns
from actsearch.storage import Storage, sqlite
from actsearch_dashboard import optuna_figures
from actsearch_dashboard.app import PAGES as NAMES
from actsearch_dashboard.data import open_store
from actsearch_dashboard.filters import ORDERS, Filters, sort_trials
from actsearch_dashboard.pace import measure_pace
from actsearch_dashboard.pages.trials import ROWS, trials_csv
from actsearch_dashboard.text import seconds

Opener = Callable[..., AppTest]
FORMULAS = ("sin(x)", "x * tanh(x)", "max(x, 0) + 0.1 * min(x, 0)")
LARGE = 1_203
WITH_STORAGE = [page for page in NAMES if page not in WITHOUT_STUDY]
EVERY = only(WITH_STORAGE, quick=("studies", "trials"))


def _record(number: int) -> TrialRecord:
    formula = FORMULAS[number % 3]
    candidate = CandidateRecord(
        {SHARED: ActivationRecord(formula, None, {}, formula)},
        ("crossover", "mutation")[number % 2],
        (0, 1) if number > 1 else (),
    )
    if number % 10 == 9:
        return TrialRecord(-1, TrialState.REJECTED, candidate, reason=f"reason {number % 20}")
    return TrialRecord(-1, TrialState.WAITING, candidate, fingerprint=str(number))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study "large" with 1,203 trials, the value the number of the trial; "two", with two objectives."""
    path = tmp_path_factory.mktemp("large") / "large.db"
    url = f"sqlite:///{path}"
    for name, directions in (("large", None), ("two", ["maximize", "minimize"])):
        acs.create_study(study_name=name, storage=url, strategy="random", directions=directions)
        storage = Storage(url)
        study = storage.study(name)
        lease = storage.lease(study)
        lease.acquire()
        count = LARGE if directions is None else 12
        stored = storage.add_trials(study.id, [_record(at) for at in range(count)], lease)
        outcomes = {
            item.number: Outcome(
                TrialState.COMPLETE, float(item.number), None, (), "", 1.0,
                values=() if directions is None else (float(item.number), -2.0 * item.number),
            )
            for item in stored
            if item.state.is_open
        }  # fmt: skip
        storage.finish_trials(study.id, outcomes, lease)
        lease.release()
        storage.database.close()
    return path


def test_studies_are_filtered_by_state_and_words(opened: Opener, whole: Path) -> None:
    app = opened("studies", whole)
    assert list(app.dataframe[0].value["state"]) == ["confirmed", "searched", "empty"]
    lines = list(app.dataframe[0].value["history"])
    assert [len(line) > 0 for line in lines] == [True, True, False]
    app.multiselect(key="stages").set_value(["empty"]).run()
    assert list(app.dataframe[0].value["study"]) == ["empty"]
    app.multiselect(key="stages").set_value([]).run()
    app.text_input(key="study_words").set_value("GENETIC").run()
    assert list(app.dataframe[0].value["study"]) == ["confirmed"]
    app.text_input(key="study_words").set_value("no such word").run()
    assert "No study matches" in said(app)


def test_a_dead_driver_leaves_an_interrupted_study(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE trials SET state = 'RUNNING', duplicate_of = NULL WHERE number = 1")
    app = opened("studies", copied)
    assert list(app.dataframe[0].value["state"])[:2] == ["interrupted", "interrupted"]
    assert "Its process ended while 1 trial was running" in said(
        opened("study", copied, study="plain")
    )


def test_a_page_of_trials_holds_five_hundred(opened: Opener, large: Path) -> None:
    app = opened("trials", large, study="large")
    assert f"{LARGE:,} of {LARGE:,} trials" in said(app)
    assert len(app.dataframe[0].value) == ROWS
    app.number_input(key="page").set_value(3).run()
    assert not app.exception
    assert list(app.dataframe[0].value["number"]) == list(range(2 * ROWS, LARGE))
    app.text_input(key="words").set_value("tanh").run()  # fewer pages than the one that was open
    assert not app.exception
    assert len(app.dataframe[0].value) == LARGE // 3


def test_trials_are_filtered_by_what_made_them_operators_size_and_value(
    opened: Opener, large: Path
) -> None:
    app = opened("trials", large, study="large")
    app.multiselect(key="operators").set_value(["sin"]).run()
    assert set(app.dataframe[0].value["formula"]) == {"sin(x)"}
    app.multiselect(key="operations").set_value(["mutation"]).run()
    assert set(app.dataframe[0].value["operation"]) == {"mutation"}
    assert set(app.dataframe[0].value["state"]) == {"complete", "rejected"}
    app.multiselect(key="operators").set_value([]).run()
    app.number_input(key="sizes_low").set_value(5).run()
    assert set(app.dataframe[0].value["formula"]) == {FORMULAS[2]}
    app.number_input(key="values_high").set_value(50.0).run()
    app.selectbox(key="order").set_value("best value first").run()
    assert not app.exception
    values = app.dataframe[0].value["value"].tolist()
    assert values == sorted(values, reverse=True)
    assert 0 < values[0] <= 50


def test_refusals_are_counted_by_reason(opened: Opener, large: Path) -> None:
    app = opened("trials", large, study="large")
    counted = app.dataframe[1].value
    refused = LARGE // 10
    assert counted["trials"].tolist() == [refused // 2, refused // 2]
    assert set(counted["reason"]) == {"reason 9", "reason 19"}


def test_the_csv_holds_every_page(large: Path) -> None:
    view = open_store(f"sqlite:///{large}").view("large")
    table = pd.read_csv(io.StringIO(trials_csv(view, Filters(words="tanh"), "newest first")))
    assert len(table) == LARGE // 3
    assert table["number"].is_monotonic_decreasing
    assert set(table["formula"]) == {FORMULAS[1]}


def test_a_large_study_says_what_is_drawn(opened: Opener, large: Path) -> None:
    text = said(opened("study", large, study="large"))
    assert "150 of 1,083 trained trials are drawn" in text
    assert "good ones are more frequent here" not in text  # the distribution is of all


def test_each_objective_has_its_own_history(opened: Opener, large: Path) -> None:
    app = opened("study", large, study="two")
    text = said(app)
    assert "maximize objective 1, minimize objective 2" in text
    values = {item.label: item.value for item in app.metric}
    assert values["Best objective 1 so far (optimistic)"] == "11.0000"
    app.radio(key="objective").set_value("objective 2").run()
    assert not app.exception
    values = {item.label: item.value for item in app.metric}
    assert values["Best objective 2 so far (optimistic)"] == "-22.0000"


def test_optuna_figures_of_several_objectives(large: Path) -> None:
    reader = Reader(f"sqlite:///{large}")
    study = reader.study("two")
    trials = reader.trials(study)
    study = dataclasses.replace(study, objectives=("<b>gain", "cost"))
    for name in ("Pareto front", "Slice", "Importance", "Timeline"):
        figure = optuna_figures.draw(name, study, trials, "cost", 1)
        assert figure.data
        assert "<b>gain" not in figure.to_json()
    reader.close()


def test_what_a_pruner_costs_is_said(opened: Opener, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pruned.db'}"
    study = acs.create_study(
        study_name="pruned",
        storage=url,
        strategy="random",
        direction="maximize",
        pruner=acs.SuccessiveHalving(reduction_factor=2),
    )

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        final = (run.number * 7) % 11  # the order at the first step is that at the last
        for step in range(1, 5):
            run.report(step, final * step)
            if run.should_prune():
                raise acs.TrialPruned
        return 4.0 * final

    study.optimize(objective, n_trials=12, show_progress_bar=False)
    app = opened("study", tmp_path / "pruned.db", study="pruned")
    assert not app.exception
    (said,) = [item.value for item in app.caption if "pruned," in item.value]
    assert "% of the epochs saved" in said
    assert "have a rank correlation of 1.00 over" in said


def test_pace_is_that_of_the_newest_batch_and_the_latest_trials() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    candidate = CandidateRecord({})
    early = [
        TrialRecord(at, TrialState.COMPLETE, candidate, 1.0, created=begin, completed=begin)
        for at in range(3)
    ]
    states = [TrialState.COMPLETE] * 5 + [TrialState.RUNNING, TrialState.WAITING] + [
        TrialState.REJECTED
    ]  # fmt: skip
    late = [
        TrialRecord(
            3 + at, state, candidate, created=begin + timedelta(hours=1),
            completed=begin + timedelta(hours=1, minutes=at) if state.is_trained else None,
        )
        for at, state in enumerate(states)
    ]  # fmt: skip
    pace = measure_pace(make_columns([*early, *late]))
    assert (pace.batch, pace.size, pace.done) == (2, 7, 5)
    assert pace.per_hour == pytest.approx(5 / (64 / 60))
    assert pace.left is not None
    assert seconds(pace.left).startswith("25 min")
    alone = measure_pace(make_columns(late[5:6]))
    assert (alone.done, alone.per_hour, alone.left) == (0, None, None)


def _ended(minutes: list[float]) -> pd.DataFrame:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return make_columns([
        TrialRecord(
            at, TrialState.COMPLETE, CandidateRecord({}), 1.0, created=begin,
            completed=begin + timedelta(minutes=minute),
        )
        for at, minute in enumerate(minutes)
    ])  # fmt: skip


def test_pace_is_that_of_what_was_asked_for_and_of_this_call() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rested = _ended([0, 1, 2, 6000, 6000, 6002, 6002])  # four days passed in between
    since = begin + timedelta(minutes=5998)
    pace = measure_pace(rested, RunGoal("search", target=27, since=since))
    assert (pace.has_target, pace.done, pace.size) == (True, 7, 27)
    assert pace.per_hour == pytest.approx(4 / (4 / 60))
    assert pace.left == pytest.approx(20 * 60)
    until = begin + timedelta(minutes=6010)
    now = begin + timedelta(minutes=6003)
    soon = measure_pace(rested, RunGoal("search", target=27, until=until, since=since), now)
    assert soon.left == pytest.approx(7 * 60)
    timed = measure_pace(rested, RunGoal("search", until=until, since=since), now)
    assert not timed.has_target
    assert timed.left == pytest.approx(7 * 60)


def test_a_whole_stack_that_ends_at_once_has_a_pace() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    stacks = _ended([1.0] * 64 + [2.0] * 64)
    assert measure_pace(stacks).per_hour == pytest.approx(64 * 60)
    first = _ended([1.0] * 64)
    assert measure_pace(first).per_hour is None
    assert measure_pace(first, RunGoal("search", since=begin)).per_hour == pytest.approx(64 * 60)


def test_a_running_search_says_how_far_it_is_with_what_was_asked_for(
    opened: Opener, copied: Path
) -> None:
    storage = Storage(f"sqlite:///{copied}")
    lease = storage.lease(storage.study("plain"))
    lease.acquire()
    lease.publish_goal(RunGoal("search", target=50))
    (bar,) = opened("study", copied, study="plain").get("progress")
    assert bar.proto.text.startswith("2 of 50 trials ended")
    lease.publish_goal(RunGoal("confirm"))
    for page in ("study", "leaderboard"):
        app = opened(page, copied, study="plain")
        assert [bar.proto.text for bar in app.get("progress")] == ["0 trainings done"]
        assert any("Confirmation began" in item.value for item in app.info)
        assert "No verdict yet" not in said(app)


def test_a_running_study_says_how_far_it_is(opened: Opener, copied: Path) -> None:
    storage = Storage(f"sqlite:///{copied}")
    storage.lease(storage.study("plain")).acquire()
    app = opened("study", copied, study="plain")
    assert not app.exception
    (bar,) = app.get("progress")
    assert "Batch 1: 2 of" in bar.proto.text
    app = opened("studies", copied)
    assert app.toggle(key="live").value is True
    assert list(app.dataframe[0].value["state"]) == ["confirmed", "running", "empty"]


def test_a_growing_study_is_followed(opened: Opener, copied: Path) -> None:
    storage = Storage(f"sqlite:///{copied}")
    study = storage.study("plain")
    lease = storage.lease(study)
    lease.acquire()
    app = opened("trials", copied, study="plain")
    before = len(app.dataframe[0].value)
    storage.add_trials(study.id, [_record(0), _record(1)], lease)
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == before + 2


@pytest.mark.parametrize("page", EVERY)
def test_a_storage_that_goes_away_is_a_calm_message(
    opened: Opener, copied: Path, page: str
) -> None:
    app = opened(page, copied, study="confirmed")
    said(app)
    moved = copied.rename(copied.with_name("elsewhere.db"))
    app.run()
    assert "there is no database" in said(app) or "deleted or moved" in said(app)
    moved.rename(copied)
    app.run()
    assert not app.error
    said(app)


@pytest.mark.parametrize("page", EVERY)
def test_a_locked_storage_is_a_calm_message(
    opened: Opener, copied: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "READ_SECONDS", 0.1)
    with closing(sqlite3.connect(copied, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = DELETE")  # where a writer keeps readers out
        base.execute("BEGIN EXCLUSIVE")
        app = opened(page, copied, study="confirmed")
        assert "locked; another program has held it for 0.1 s" in said(app)
        base.execute("ROLLBACK")
    app.run()
    assert not app.error
    said(app)


def test_a_picture_of_a_storage_says_that_refresh_is_off(
    opened: Opener, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reader, "is_live", False)
    assert "refresh is off" in said(opened("studies", whole))
    assert "cannot be written" in said(opened("study", whole, study="confirmed"))


def test_filters_and_orders_know_missing_values() -> None:
    candidate = CandidateRecord.shared(ActivationRecord("x", label="x"))
    trials = make_columns(
        [
            TrialRecord(0, TrialState.FAILED, candidate, None, reason="Boom"),
            TrialRecord(1, TrialState.COMPLETE, candidate, 2.0),
            TrialRecord(2, TrialState.COMPLETE, candidate, 1.0),
        ]
    ).assign(size=[1.0, 1.0, float("nan")])
    nothing = [frozenset[str]()] * 3
    assert Filters().mask(trials, nothing).all()
    assert Filters(words=" boom").mask(trials, nothing).tolist() == [True, False, False]
    assert Filters(values=(1.5, 9)).mask(trials, nothing).tolist() == [False, True, False]
    assert Filters(sizes=(1, 9)).mask(trials, nothing).tolist() == [True, True, False]
    assert Filters(operators=["sin"]).mask(trials, nothing).sum() == 0
    best = {
        way: list(sort_trials(trials, "best value first", way)["number"])
        for way in ("maximize", "minimize")
    }
    assert best == {"maximize": [1, 2, 0], "minimize": [2, 1, 0]}
    assert all(len(sort_trials(trials, order, None)) == 3 for order in ORDERS)


def test_mirrors_of_a_table_are_those_of_records(whole: Path) -> None:
    reader = Reader(f"sqlite:///{whole}")
    study = reader.study("confirmed")
    frame, table = reader.frame(study), trials_frame(reader.trials(study))
    reader.close()
    found = mirrors(frame)
    assert found.tolist() == table["mirror_of"].tolist()


def test_what_is_written_is_seen_through_a_symbolic_link(tmp_path: Path) -> None:
    """The log, which changes with every write, lies beside the file that the link leads to."""
    study = acs.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/a%3Fb.db")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(tmp_path / "a?b.db")
    for url in (f"sqlite:///{link}", f"sqlite:///{tmp_path}/a%3Fb.db"):
        store = open_store(url)
        before = store.stamp
        assert store.stamp == before
        study.enqueue_trial("relu")
        assert store.stamp != before
        store.reader.close()
