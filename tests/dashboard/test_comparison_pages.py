"""Leaderboard, Evolution and Compare on studies of every kind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest

from actsearch.report import Reader, pareto_front

Opener = Callable[..., AppTest]
OURS = ["leaderboard", "evolution", "compare"]


def address(app: AppTest, name: str) -> str:
    found = app.query_params[name]
    return found if isinstance(found, str) else found[0]


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


@pytest.mark.parametrize("page", OURS)
@pytest.mark.parametrize(
    ("kind", "study"), [("several", "several"), ("by_site", "by site"), ("family", "family")]
)
def test_studies_of_every_kind(
    opened: Opener, request: pytest.FixtureRequest, page: str, kind: str, study: str
) -> None:
    app = opened(page, request.getfixturevalue(kind), study=study)
    said(app)
    assert charts(app) >= 1


# Leaderboard


def test_leaderboard_has_pictures_sizes_and_costs(opened: Opener, whole: Path) -> None:
    app = opened("leaderboard", whole, study="confirmed")
    said(app)
    table = app.dataframe[1].value
    row = table[table["formula"] == "x * tanh(x)"].iloc[0]
    assert row["function"].startswith("data:image/svg+xml;base64,")
    assert row["size"] == 4
    assert row["cost"] > 1
    reader = Reader(f"sqlite:///{whole}")
    ((_, verdict),) = reader.verdicts(reader.study("confirmed"))
    reader.close()
    (finalist,) = [row for row in verdict.rows if row.number in set(table["trial"])][:1]
    tuned = table[table["trial"] == finalist.number].iloc[0]
    assert tuned["tuning"] == pytest.approx(finalist.mean - finalist.as_given)


def test_leaderboard_without_verdict_has_no_columns_of_one(opened: Opener, whole: Path) -> None:
    app = opened("leaderboard", whole, study="plain")
    said(app)
    assert not {"verdict", "tuning"} & set(app.dataframe[0].value.columns)


def test_leaderboard_of_several_objectives_shows_their_front(
    opened: Opener, several: Path
) -> None:
    reader = Reader(f"sqlite:///{several}")
    study = reader.study("several")
    front = pareto_front(reader.trials(study), study.directions)
    reader.close()
    app = opened("leaderboard", several, study="several")
    said(app)
    assert not app.tabs  # they would move the page, and are in no address
    spec = app.get("plotly_chart")[0].proto.spec
    for trial in front:
        assert f"trial {trial.number}:" in spec
    app = opened("leaderboard", several, study="several", tradeoff="Score, size and cost")
    assert "size (nodes)" in app.get("plotly_chart")[0].proto.spec


# Evolution


def test_evolution_shows_generations_operations_and_the_ancestry_of_the_best(
    opened: Opener, family: Path
) -> None:
    app = opened("evolution", family, study="family")
    text = said(app)
    assert "generations: a generation is what was proposed together" in text
    for title in ("Values by generation", "How much is new", "Operators in use", "Ancestry"):
        assert title in text


def test_evolution_follows_the_trial_in_the_address(opened: Opener, family: Path) -> None:
    reader = Reader(f"sqlite:///{family}")
    child = next(t for t in reader.trials(reader.study("family")) if t.candidate.parents)
    reader.close()
    app = opened("evolution", family, study="family", trial=str(child.number))
    said(app)
    assert app.selectbox(key="trial_box").value == child.number
    shown = app.dataframe[-1].value
    assert shown["trial"].iloc[0] == child.number
    assert set(child.candidate.parents) <= set(shown["trial"])
    assert "There is no trial 999" in said(opened("evolution", family, trial="999"))


def test_evolution_of_a_search_without_parents_says_what_it_cannot_show(
    opened: Opener, whole: Path
) -> None:
    app = opened("evolution", whole, study="plain")
    text = said(app)
    assert "No trial here has parents" in text
    assert "Ancestry" not in text
    assert charts(app) == 3


# Compare


def test_compare_starts_with_the_best_and_keeps_them_in_the_address(
    opened: Opener, whole: Path
) -> None:
    app = opened("compare", whole, study="confirmed")
    text = said(app)
    chosen = app.multiselect[0].value
    assert address(app, "compare") == ",".join(chosen)
    assert len(chosen) == 3
    assert list(app.dataframe[0].value["trial"]) == [int(number) for number in chosen]
    assert charts(app) == 2
    assert "Search, optimistic" in text
    assert "an interval needs two" in text  # this task has one seed


def test_compare_takes_trials_from_the_address(opened: Opener, whole: Path) -> None:
    app = opened("compare", whole, study="confirmed", compare="2,0,99,x")
    text = said(app)
    assert "There is no trial 99, x here" in text
    assert list(app.dataframe[0].value["trial"]) == [2, 0]
    app.multiselect[0].set_value(["0"]).run()
    assert "Choose two to six" in said(app)
    assert address(app, "compare") == "0"


def test_compare_prefers_a_verdict_to_the_search(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        (text,) = base.execute("SELECT verdict FROM confirmations").fetchone()
        verdict = json.loads(text)
        verdict["rows"] = [{**verdict["rows"][0], "number": number} for number in (0, 1)]
        base.execute("UPDATE confirmations SET verdict = ?", (json.dumps(verdict),))
    app = opened("compare", copied, study="confirmed", compare="0,1")
    text = said(app)
    assert "Confirmed together" in text
    assert "8 seeds" in text
    assert "optimistic" not in text
    assert charts(app) == 3


def test_compare_studies_from_the_address(opened: Opener, whole: Path) -> None:
    app = opened("compare", whole, studies="confirmed,plain,nowhere")
    text = said(app)
    assert "There is no study nowhere here" in text
    assert charts(app) == 3
    assert address(app, "studies") == "confirmed,plain"
    assert len(app.dataframe) == 3  # the verdict, and the best formulas of each
    app.multiselect[0].set_value(["plain", "empty"]).run()
    assert "No trial is complete yet" in said(app)


def test_compare_switches_between_candidates_and_studies(opened: Opener, whole: Path) -> None:
    app = opened("compare", whole, study="confirmed", compare="0,1")
    app.segmented_control(key="what").set_value("Studies").run()
    assert "Best so far, by trials" in said(app)
    assert "compare" not in app.query_params


def test_compare_refuses_values_of_different_kinds(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE studies SET direction = 'minimize' WHERE name = 'plain'")
    app = opened("compare", copied, studies="confirmed,plain")
    assert "measure different things" in said(app)
    assert charts(app) == 0
    assert len(app.dataframe) == 3


@pytest.mark.parametrize("query", [{"compare": "0,1,2,3"}, {"studies": "plain"}])
def test_compare_of_hostile_rows_shows_text(
    opened: Opener, hostile: Path, evil: str, query: dict[str, str]
) -> None:
    app = opened("compare", hostile, study=evil, **query)
    said(app)
    for chart in app.get("plotly_chart"):
        assert "<img" not in chart.proto.spec
        assert "<b>bold" not in chart.proto.spec


@pytest.mark.parametrize("page", OURS)
def test_baseline_trials_are_your_model(opened: Opener, copied: Path, page: str) -> None:
    """Your model unchanged has neither formula nor picture, and no page minds."""
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE trials SET activations = '{}', formula = '', label = ''")
    said(opened(page, copied, study="confirmed"))
