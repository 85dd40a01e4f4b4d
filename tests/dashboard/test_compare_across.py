"""Compare: trials of several studies side by side, and verdicts on the same test data."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

from actsearch.records import EpochRecord, EvaluationRecord, Outcome, TrialState
from actsearch_dashboard import figures
from actsearch_dashboard.compare_address import refer, split_reference
from actsearch_dashboard.compared import name_studies, read_compared
from actsearch_dashboard.data import open_store
from actsearch_dashboard.differences_panel import pair_across

Opener = Callable[..., AppTest]

TASK = {"metric": "accuracy", "train": "a", "valid": "b", "epochs": 2}
SEEDS = (1, 2, 3)


def outcome(value: float, seeds: Sequence[int] = SEEDS) -> Outcome:
    evaluations = tuple(
        EvaluationRecord(
            seed,
            value + seed / 1000,
            epochs=(EpochRecord(1, valid_metric=value / 2), EpochRecord(2, valid_metric=value)),
        )
        for seed in seeds
    )
    return Outcome(TrialState.COMPLETE, value, 0.01, evaluations)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Studies that trained alike ("one", "two: alike"), and others that did not."""
    path = write_study(tmp_path / "s.db", "one", [outcome(0.8), outcome(0.7)], task=TASK)
    for name, task, seeds in (
        ("two: alike", TASK | {"lr": 0.1}, (2, 3, 4)),
        ("other seeds", TASK, (7, 8)),
        ("one seed", TASK, (3, 8)),
        ("other data", TASK | {"train": "c"}, SEEDS),
        ("own function", {"metric": "accuracy"}, SEEDS),
    ):
        write_study(path, name, [outcome(0.9, seeds)], task=task, formulas=["sin(x)"])
    write_study(path, "loss, 1", [outcome(9.0)], task={"metric": "loss"}, directions=("minimize",))
    return path


def address(app: AppTest) -> str:
    found = app.query_params["compare"]
    return found if isinstance(found, str) else found[0]


def specs(app: AppTest) -> list[Any]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def test_references_name_a_study_where_it_is_another() -> None:
    assert refer("one", 3, "one") == "3"
    assert split_reference(refer("a:b", 3, "one"), "one") == ("a:b", 3)
    assert split_reference("3", "one") == ("one", 3)
    assert split_reference("one:x", "one") == ("one", None)


def test_short_names_tell_studies_apart() -> None:
    long = ["digits with genetic search 1", "digits with genetic search 2"]
    assert name_studies(["a", "a", "b"]) == {"a": "a", "b": "b"}
    short = name_studies(long)
    assert len(set(short.values())) == 2
    assert max(map(len, short.values())) <= 18
    both = [f"{'x' * 20}{end}{'y' * 20}" for end in "12"]
    assert name_studies(both) == dict(zip(both, both, strict=True))


def test_trials_of_other_studies_are_compared(opened: Opener, rooms: Path) -> None:
    app = opened(
        "compare", rooms, study="one", compare="0,1,two: alike:0,one:1,two: alike:9,gone:1"
    )
    text = said(app)
    assert "There is no trial two: alike:9, gone:1 here" in text
    assert address(app) == "0,1,two: alike:0"
    table = app.dataframe[0].value
    assert table["study"].tolist() == ["one", "one", "two: alike"]
    assert table["trial"].tolist() == [0, 1, 0]
    assert "metric" not in table
    assert all(table["function"].str.startswith("data:image"))
    functions, curves, within, across = specs(app)
    for figure in (functions, curves):
        names = [line["name"] for line in figure["data"] if "name" in line]
        assert sum(name.startswith("two: alike #0 sin(x)") for name in names) == 1
    assert "#1" in json.dumps(within)
    assert "two: alike #0 sin(x)" in json.dumps(across)
    assert "<i>#" not in json.dumps(across)  # the number stands in the name, after its study
    assert "2 common seeds" in text
    assert "differ in more than the activation: lr." in text


def test_one_study_needs_no_column_and_no_name(opened: Opener, rooms: Path) -> None:
    app = opened("compare", rooms, study="one", compare="0,1")
    assert "study" not in app.dataframe[0].value
    assert "one #0" not in json.dumps(specs(app)[0])


def test_names_with_commas_and_colons_go_through_the_address(opened: Opener, rooms: Path) -> None:
    app = opened("compare", rooms, study="two: alike", compare="0,loss%2C 1:0")
    said(app)
    assert app.dataframe[0].value["study"].tolist() == ["two: alike", "loss, 1"]
    assert address(app) == "0,loss%2C 1:0"


def test_values_of_different_kinds_share_no_figure(opened: Opener, rooms: Path) -> None:
    app = opened("compare", rooms, study="one", compare="0,1,loss%2C 1:0")
    text = said(app)
    assert "measure different things" in text
    assert "No shared curves" in text
    assert app.dataframe[0].value["metric"].tolist() == ["accuracy", "accuracy", "loss"]
    functions, within = specs(app)
    assert "loss, 1" in json.dumps(functions)
    assert "loss, 1" not in json.dumps(within)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two: alike", ""),
        ("other seeds", "no seed in common"),
        ("one seed", "a single seed in common"),
        ("other data", "trained on different data"),
        ("own function", "is not stored"),
    ],
)
def test_only_trials_that_trained_alike_are_paired(
    opened: Opener, rooms: Path, name: str, reason: str
) -> None:
    store = open_store(f"sqlite:///{rooms}")
    first, other = read_compared(store.view("one"), ["0", f"{name}:0"])
    paired, reasons = pair_across(first, [other])
    assert bool(paired) == (not reason)
    assert [item for item, _ in reasons] == ([other] if reason else [])
    app = opened("compare", rooms, study="one", compare=f"0,{name}:0")
    text = said(app)
    assert (f"{name} #0 sin(x) is not paired" in text) == bool(reason)
    assert reason in text
    assert len(specs(app)) == (2 if reason else 3)


def test_seeds_are_those_that_all_have_in_common(rooms: Path) -> None:
    write_study(rooms, "further", [outcome(0.6, (1, 2))], task=TASK)
    store = open_store(f"sqlite:///{rooms}")
    first, *others = read_compared(store.view("one"), ["0", "two: alike:0", "further:0"])
    paired, reasons = pair_across(first, others)
    assert [item.study for item in paired] == ["two: alike"]
    assert [item.study for item, _ in reasons] == ["further"]
    scores = figures.common_scores({0: first.trial.evaluations, 1: paired[0].trial.evaluations})
    assert scores[1] == pytest.approx((0.902, 0.903))


def test_a_trial_of_another_study_is_added_by_a_click(opened: Opener, rooms: Path) -> None:
    app = opened("compare", rooms, study="one", compare="0,1")
    app.selectbox(key="another study than 1").set_value("two: alike").run()
    app.button(key="add from another study").click().run()
    said(app)
    assert app.multiselect[0].value == ["0", "1", "two: alike:0"]
    assert address(app) == "0,1,two: alike:0"
    assert app.button(key="add from another study").disabled
    app.multiselect[0].set_value(["two: alike:0", "1"]).run()
    said(app)
    assert app.dataframe[0].value["study"].tolist() == ["two: alike", "one"]


# verdicts


def test_verdicts_tell_which_were_tested_on_the_same_data(opened: Opener, copied: Path) -> None:
    def letters() -> list[str]:
        app = opened("compare", copied, studies="confirmed,plain")
        assert "have the same letter under test data" in said(app)
        return list(app.dataframe[0].value["test data"])

    assert letters() == ["A"]
    with closing(sqlite3.connect(copied)) as base, base:
        names = [row[1] for row in base.execute("PRAGMA table_info(confirmations)")]
        row = dict(zip(names, base.execute("SELECT * FROM confirmations").fetchone(), strict=True))
        (plain,) = base.execute("SELECT id FROM studies WHERE name = 'plain'").fetchone()
        row |= {"id": 77, "study_id": plain}
        marks = ", ".join("?" * len(row))
        base.execute(f"INSERT INTO confirmations VALUES ({marks})", tuple(row.values()))
    assert letters() == ["A", "A"]
    for digest, letter in (("f" * 32, "B"), (None, "unknown")):
        verdict = json.dumps({**json.loads(row["verdict"]), "test_data": digest})
        with closing(sqlite3.connect(copied)) as base, base:
            base.execute("UPDATE confirmations SET verdict = ? WHERE id = 77", (verdict,))
        assert letters() == ["A", letter]
