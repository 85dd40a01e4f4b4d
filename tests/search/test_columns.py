"""Tables of very many trials: read narrowly, and after that only what changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import actsearch as acs
from actsearch.records import (
    SHARED,
    ActivationRecord,
    CandidateRecord,
    Outcome,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.report import COLUMNS, Reader, leaderboard, sample
from actsearch.report.columns import make_columns
from actsearch.report.formulas import count_nodes, operators_in
from actsearch.storage import FIELDS, Lease, Storage
from actsearch.strategies import Context, RandomSearch

RELU = ActivationRecord("max(x, 0)", "relu", {"grad_at_zero": 0.0}, "relu")
SINE = ActivationRecord("sin(x)", None, {}, "sin(x)")


def _trial(
    state: TrialState = TrialState.WAITING, original: int | None = None, sites: bool = False
) -> TrialRecord:
    placed = {"depth:1/2": RELU, "depth:2/2": SINE} if sites else {SHARED: RELU}
    reason = "constant" * (state is TrialState.REJECTED)
    return TrialRecord(
        -1, state, CandidateRecord(placed, "crossover", (0, 1)), reason=reason, duplicate_of=original,
        fingerprint="f", alias="a", mirror="m",
    )  # fmt: skip


def _complete(value: float, *more: float) -> Outcome:
    values = (value, *more) if more else ()
    return Outcome(TrialState.COMPLETE, value, 0.01, (), "", 2.0, values=values)


class Study:
    """A study that is written to and looked at."""

    def __init__(self, path: Path, objectives: int = 1) -> None:
        self.path, self.url = path, f"sqlite:///{path}"
        ways = ["maximize", "minimize"] if objectives > 1 else None
        acs.create_study(study_name="s", storage=self.url, strategy="random", directions=ways)
        self.storage = Storage(self.url)
        self.record: StudyRecord = self.storage.study("s")
        self.lease: Lease = self.storage.lease(self.record)
        self.lease.acquire()
        self.reader = Reader(self.url)

    def add(self, *trials: TrialRecord) -> None:
        self.storage.add_trials(self.record.id, trials, self.lease)

    def start(self, *numbers: int) -> None:
        self.storage.start_trials(self.record.id, numbers, self.lease)

    def finish(self, **outcomes: Outcome) -> None:
        found = {int(name[1:]): outcome for name, outcome in outcomes.items()}
        self.storage.finish_trials(self.record.id, found, self.lease)

    def write(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as base, base:
            base.execute(statement)

    def expected(self) -> pd.DataFrame:
        """The same from whole records."""
        return make_columns(self.reader.trials(self.record), len(self.record.directions) or 1)

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        assert_frame_equal(frame, self.expected())
        return frame


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """One trial in each state, a duplicate of an ended one, and values that are no numbers."""
    made = Study(tmp_path / "s.db")
    made.add(
        *(_trial() for _ in range(5)), _trial(TrialState.DUPLICATE, 0), _trial(TrialState.DUPLICATE, 4),
        _trial(TrialState.REJECTED), _trial(sites=True),
    )  # fmt: skip
    made.start(0, 1, 2, 3, 4)
    made.finish(
        _0=_complete(0.5), _1=_complete(float("nan")), _2=_complete(float("-inf")),
        _3=Outcome(TrialState.FAILED, None, reason="loss is not finite"),
    )  # fmt: skip
    return made


def test_a_frame_says_what_whole_records_say(study: Study) -> None:
    frame = study.check(study.reader.frame(study.record))
    assert tuple(frame.columns) == tuple(COLUMNS) == FIELDS
    assert {str(name): str(kind) for name, kind in frame.dtypes.items()} == COLUMNS
    assert frame["name"].tolist()[-2:] == ["relu", ""]
    assert frame["groups"].tolist()[-2:] == [1, 2]
    assert frame["created"].nunique() == 1  # they were added together
    assert frame["value"][5] == 0.5
    assert frame["reason"][5] == "same as trial 0 (COMPLETE)"


def test_several_objectives_have_columns_of_their_own(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db", objectives=2)
    study.add(_trial(), _trial(TrialState.DUPLICATE, 0), _trial())
    study.finish(_0=_complete(0.5, 7.0))
    frame = study.check(study.reader.frame(study.record))
    assert frame["value_1"].tolist()[:2] == [7.0, 7.0]
    study.finish(_2=_complete(0.25, float("inf")))
    assert study.check(study.reader.frame(study.record, frame))["value_1"][2] == float("inf")


def test_an_empty_study_has_a_frame_without_rows(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db")
    frame = study.check(study.reader.frame(study.record))
    assert frame.empty
    study.add(_trial())
    study.check(study.reader.frame(study.record, frame))


def test_later_looks_follow_every_step_of_a_study(study: Study) -> None:
    frame = study.reader.frame(study.record)
    before = frame.copy(deep=True)
    assert study.reader.frame(study.record, frame) is frame
    steps: list[Callable[[], None]] = [
        lambda: study.finish(_4=_complete(0.75)),  # trial 6 repeats it
        lambda: study.add(_trial(), _trial(TrialState.DUPLICATE, 0)),
        lambda: study.start(9),
        lambda: study.storage.put_back_trials(study.record.id, [9], study.lease),
        lambda: study.finish(_9=_complete(0.1), _8=_complete(0.2)),
        lambda: study.add(replace(_trial(), fingerprint="", alias="", mirror="")),  # enqueued
        lambda: study.storage.screen_trial(
            study.record.id, replace(_trial(), number=11), study.lease
        ),
    ]
    seen = frame
    for step in steps:
        step()
        after = study.reader.frame(study.record, seen)
        assert after is not seen
        seen = study.check(after)
    assert_frame_equal(frame, before)


def test_a_later_look_does_not_read_what_has_ended(study: Study) -> None:
    frame = study.reader.frame(study.record)
    study.write("UPDATE trials SET label = 'read again' WHERE number < 4")
    study.add(_trial())
    after = study.reader.frame(study.record, frame)
    assert len(after) == len(frame) + 1
    assert "read again" not in set(after["label"])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trials SET state = 'FAILED' WHERE number = 0",
        "DELETE FROM trials WHERE number = 7",
        "DELETE FROM trials",
    ],
)
def test_what_others_changed_is_read_anew(study: Study, statement: str) -> None:
    frame = study.reader.frame(study.record)
    study.write(statement)
    study.check(study.reader.frame(study.record, frame))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_sample_holds_the_best_and_reaches_from_end_to_end(direction: str) -> None:
    count, most = 1000, 100
    trials = [
        TrialRecord(at, TrialState.COMPLETE, CandidateRecord.shared(SINE), value=(at * 37) % count)
        for at in range(count)
    ]  # fmt: skip
    frame = make_columns(trials)
    found = sample(frame, direction, most)
    assert len(found) == most
    assert found["number"].is_monotonic_increasing
    ranked = [trial.number for trial in leaderboard(trials, direction)]
    assert set(ranked[: most // 4]) <= set(found["number"])
    gaps = found["number"].diff().dropna()
    assert gaps.max() < 3 * count / most
    assert {0, count - 1} <= set(found["number"])
    assert sample(frame, direction, count) is frame


def test_summaries_say_what_the_trials_say(study: Study) -> None:
    study.finish(_4=_complete(0.75))
    (summary,) = study.reader.summaries()
    trials = study.reader.trials(study.record)
    assert summary.best == leaderboard(trials, None)[0]
    assert sum(summary.counts.values()) == len(trials)
    assert summary.last_change == max(t.completed for t in trials if t.completed)
    assert summary.line == (0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75)
    assert summary.stage == "running"


def test_a_line_of_many_trials_is_short_and_ends_at_the_best(tmp_path: Path) -> None:
    study = Study(tmp_path / "s.db")
    study.add(*(_trial() for _ in range(200)))
    study.storage.update_study(study.record.id, study.lease, direction="minimize")
    values = [abs(at - 120.5) for at in range(200)]
    study.finish(**{f"_{at}": _complete(value) for at, value in enumerate(values)})
    (summary,) = study.reader.summaries()
    assert len(summary.line) == 40
    assert list(summary.line) == [min(values[: (at + 1) * 5]) for at in range(40)]
    assert summary.best is not None
    assert summary.best.number == 120


def test_a_list_of_studies_looks_again_at_those_that_changed_alone(study: Study) -> None:
    acs.create_study(study_name="other", storage=study.url, strategy="random")
    before = study.reader.summaries()
    assert [item.stage for item in before] == ["running", "empty"]
    study.write("UPDATE trial_values SET value = 0.6 WHERE value = 0.5")
    assert study.reader.summaries(before) == before
    study.finish(_4=_complete(0.1))
    after = study.reader.summaries(before)
    assert after[0].best is not None
    assert after[0].best.value == 0.6


def test_stages(study: Study) -> None:
    def stage() -> str:
        return study.reader.summary(study.record).stage

    assert stage() == "running"
    study.lease.release()
    assert stage() == "interrupted"
    study.write("UPDATE trials SET state = 'WAITING' WHERE state = 'RUNNING'")
    assert stage() == "searched"  # a batch is proposed whole: what asked for fewer trials is over
    study.write("UPDATE trials SET state = 'WAITING', duplicate_of = NULL")
    assert stage() == "resumable"
    study.write("UPDATE trials SET state = 'FAILED'")
    assert stage() == "failed"
    study.write(
        "INSERT INTO confirmations (study_id, number, key, verdict, created) "
        "VALUES (1, 0, 'k', '{}', '2026-01-01 00:00:00.000000')"
    )
    assert stage() == "confirmed"


def test_a_damaged_text_keeps_its_neighbours(study: Study) -> None:
    study.write("UPDATE trials SET activations = '{', parents = '[[' WHERE number = 1")
    frame = study.reader.frame(study.record)
    assert frame["name"].tolist()[:3] == ["relu", "", "relu"]
    assert frame["parents"].tolist()[:3] == [(0, 1), (), (0, 1)]


WRITTEN = (
    "-x", "-1.5*x", "-(2**x)", "(-2)**x", "-2**x", "x**-2", "1e-05*x", "x-1", "x - -1", "-(-x)", "max(-x,-1)",
    "param(-1.0)*x", 'param(1.0, per="channel")*x', "x*-param(0.5)", "-(1)", "2e5+x",
)  # fmt: skip


def test_size_and_operators_are_told_from_the_text() -> None:
    space = acs.Space(activations="all", operators=None)
    drawn = RandomSearch(formulas=0.7).propose([], 200, Context(space, 3, "maximize"))
    formulas = [item.formula for record in drawn for item in record.activations.values()]
    formulas += [str(acs.parse(text)) for text in WRITTEN]
    for formula in formulas:
        try:
            tree = acs.parse(formula)
        except acs.FormulaError:  # a form that is no formula, as softmax(x)
            continue
        assert (count_nodes(formula), operators_in(formula)) == (tree.size, tree.operators), (
            formula
        )
    assert count_nodes("<b>=1+1</b> no formula") >= 0


@pytest.mark.parametrize("groups", ["depth:1/3, depth:3/3", "layer-1.act", "a*b"])
def test_names_of_groups_are_no_operators(groups: str) -> None:
    text = f"{groups}: tanh(x); depth:2/3: x - sin(x)"
    assert operators_in(text) == {"tanh", "sub", "sin"}
    assert count_nodes(text) == 2 + 4
