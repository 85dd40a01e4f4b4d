"""The page of one candidate, on real databases and on what can be wrong with one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crossed import pairs
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch.report import Reader
from actsearch_dashboard import export_panel

Opener = Callable[..., AppTest]


def charts(app: AppTest) -> list[str]:
    return [str(chart.key) for chart in app.get("plotly_chart")]


@pytest.mark.usefixtures("function_process")
def test_another_process_computes_moments_neighbours_and_python(
    opened: Opener, whole: Path
) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    text = said(app)
    assert f"{acs.gain('x*tanh(x)'):.4f}" in text
    assert "Nearest candidates" in text
    assert "class FoundActivation" in text


def test_a_candidate_is_shown_with_what_it_met_its_relatives_and_files(
    opened: Opener, whole: Path
) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    text = said(app)
    assert "what arrived there after training" in text
    assert "Nearest candidates" in text
    table = app.dataframe[1].value  # after the numbers of the sites
    assert list(table["distance"]) == sorted(table["distance"])
    assert 0 not in set(table["trial"])
    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == ["Python", "JSON", "CSV of the curves"]
    app.segmented_control(key="inputs").set_value("before training").run()
    assert "what arrived there before training" in said(app)
    app.selectbox(key="site").set_value("1").run()
    said(app)


def test_a_duplicate_links_to_its_original_and_shows_its_training(
    opened: Opener, whole: Path
) -> None:
    app = opened("activation", whole, study="confirmed", trial="1")
    text = said(app)
    assert "the same function as" in text
    assert "This is the training of trial 0" in text
    assert {metric.label: metric.value for metric in app.metric}["State"] == "duplicate"
    app.button(key="original").click().run()
    said(app)
    assert app.query_params["trial"] in ("0", ["0"])


def test_several_objectives_are_each_shown(opened: Opener, several: Path) -> None:
    app = opened("activation", several, study="several", trial="1")
    said(app)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["size"] == "4.0000"  # x * tanh(x)
    assert "accuracy" in shown


def test_learned_parameters_are_shown_by_site(opened: Opener, by_site: Path) -> None:
    app = opened("activation", by_site, study="by site", trial="0")
    assert "Learned parameters" in said(app)
    assert "learned 0 * figure" in charts(app)


def test_each_group_of_sites_has_its_function_on_its_own_sites(
    opened: Opener, by_site: Path
) -> None:
    app = opened("activation", by_site, study="by site", trial="1")
    said(app)
    assert "function 1 depth:1/3" in charts(app)
    assert app.selectbox(key="site").options == ["all sites", "1"]
    app.segmented_control(key="group").set_value("depth:3/3").run()
    said(app)
    assert "function 1 depth:3/3" in charts(app)
    assert app.selectbox(key="site").options == ["all sites", "5"]
    (python,) = (block.value for block in app.code if block.language == "python")
    compile(python, "pasted", "exec")
    assert "'depth:3/3'" in python


def test_without_diagnostics_it_says_how_to_get_them(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("DELETE FROM diagnostics")
    app = opened("activation", copied, study="confirmed", trial="0")
    assert "Nothing was recorded inside" in said(app)
    assert len(charts(app)) == 3


@pytest.mark.parametrize(
    ("page", "value"),
    pairs(("activation", "inside"), ("{", '["<b>"]', '{"theta_0": "<b>"}', "[1e999]", "null")),
)
def test_damaged_diagnostics_leave_the_page_to_be_seen(
    opened: Opener, copied: Path, page: str, value: str
) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        base.execute(
            "UPDATE diagnostics SET histogram = ?, learned = ?, shape = ?, gain = ?", (value,) * 4
        )
    query = {"trial": "0"} if page == "activation" else {}
    text = said(opened(page, copied, study="confirmed", **query))
    assert "Export" in text or page == "inside"


def test_a_typed_number_opens_that_trial(opened: Opener, whole: Path) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    assert app.selectbox(key="trial_box").value == 0
    app.query_params["trial"] = "3"
    app.run()
    said(app)
    assert app.selectbox(key="trial_box").value == 3


def test_files_hold_the_trial_and_its_curves(whole: Path) -> None:
    from actsearch.report.json_view import trial_json

    reader = Reader(f"sqlite:///{whole}")
    study = reader.study("confirmed")
    (trial,) = reader.trials(study, [0], epochs=True, diagnostics=True)
    reader.close()
    data = json.loads(trial_json("confirmed", trial))
    assert data["study"]["name"] == "confirmed"
    (found,) = data["trials"]
    assert found["candidate"]["formula"] == "x * tanh(x)"
    assert found["value"] == trial.value
    assert len(found["evaluations"][0]["diagnostics"]["end"]) == 1
    lines = export_panel.curves_csv(trial).splitlines()
    assert lines[0].startswith("seed,epoch,train_loss")
    assert len(lines) == 1 + 2  # two epochs under one seed


def test_a_child_of_one_trial_twice_is_shown(opened: Opener, copied: Path) -> None:
    with closing(sqlite3.connect(copied)) as base, base:
        base.execute("UPDATE trials SET parents = '[0, 0]' WHERE number = 3")
    app = opened("activation", copied, study="confirmed", trial="3")
    assert "trial 0" in said(app) or any("trial 0" in button.label for button in app.button)


@pytest.mark.usefixtures("function_process")
def test_what_it_costs_in_a_product_is_measured_on_demand(opened: Opener, whole: Path) -> None:
    app = opened("activation", whole, study="confirmed", trial="0")
    assert "In a product" in said(app)
    assert "errors" not in charts(app)
    app.button(key="deploy 0").click().run()
    said(app)
    table = next(frame.value for frame in app.dataframe if "kept / GELU" in frame.value)
    assert list(table["form"])[:2] == ["eager", "lean"]
    assert {"int8 table", "int16 table"} <= set(table["form"])
    kept = dict(zip(table["form"], table["kept / GELU"], strict=True))
    assert kept["lean"] == pytest.approx(1, abs=0.1)  # of nn.GELU's
    assert "errors" in charts(app)
    labels = [button.proto.label for button in app.get("download_button")]
    assert {"activation_int8.h", "activation_int16.h", "activation_hinges.h"} <= set(labels)
