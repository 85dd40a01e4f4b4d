"""The page that looks inside the network."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest

from actsearch.report import Reader

Opener = Callable[..., AppTest]


def test_the_best_and_the_worst_are_suggested(opened: Opener, whole: Path) -> None:
    reader = Reader(f"sqlite:///{whole}")
    study = reader.study("confirmed")
    best = reader.summary(study).best
    values = {t.number: t.value for t in reader.trials(study) if t.state.name == "COMPLETE"}
    reader.close()
    app = opened("inside", whole, study="confirmed")
    said(app)
    chosen = app.multiselect(key="inside_box").value
    assert best is not None
    assert chosen[0] == best.number
    assert values[chosen[-1]] == min(value for value in values.values() if value is not None)
    assert len(app.get("plotly_chart")) == 3


def test_the_address_says_which_and_choosing_changes_it(opened: Opener, whole: Path) -> None:
    app = opened("inside", whole, study="confirmed", candidates="0,2,999,<b>")
    text = said(app)
    assert "There is no trial 999, <b>" in text.replace("&lt;", "<")
    assert app.multiselect(key="inside_box").value == [0, 2]
    app.multiselect(key="inside_box").set_value([2]).run()
    said(app)
    assert app.query_params["candidates"] in ("2", ["2"])
    app.multiselect(key="inside_box").set_value([]).run()
    assert "Choose one to four candidates" in said(app)


def test_another_measure_and_the_stage_before_training(opened: Opener, by_site: Path) -> None:
    app = opened("inside", by_site, study="by site", candidates="0,1")
    assert "share of the outputs that is exactly 0" not in said(app)
    app.segmented_control(key="measure").set_value("zeros").run()
    app.toggle(key="after").set_value(False).run()
    assert "share of the outputs that is exactly 0" in said(app)


@pytest.mark.parametrize("name", ["several", "by_site"])
def test_other_kinds_of_study(opened: Opener, request: pytest.FixtureRequest, name: str) -> None:
    app = opened("inside", request.getfixturevalue(name))
    said(app)
    assert len(app.get("plotly_chart")) == 3


def test_without_diagnostics_it_says_how_to_get_them(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("DELETE FROM diagnostics")
    text = said(opened("inside", copied, study="confirmed"))
    assert "Nothing was recorded inside" in text
    assert "diagnostics=True is the default" in text


def test_a_trial_that_did_not_come_to_its_end_has_one_stage(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("DELETE FROM diagnostics WHERE stage = 'end'")
    app = opened("inside", copied, study="confirmed")
    assert "Training did not finish" in said(app)
    assert len(app.get("plotly_chart")) == 3
