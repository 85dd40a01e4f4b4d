"""Numbers as they are: whatever their scale, of all trials, under the numbers and names that the study gave."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

import actsearch as acs
from actsearch.report import Measured, compute_verdict
from actsearch_dashboard import figures
from actsearch_dashboard.data import open_store
from actsearch_dashboard.pages.leaderboard import ranking
from actsearch_dashboard.text import column_format, say_count

Opener = Callable[..., AppTest]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.9725, 0.97, None], ["0.9725", "0.9700"]),
        ([1.25e-11, 1.5e-11], ["1.25e-11", "1.5e-11"]),
        ([9000.0, 8123.4], ["9000.0", "8123.4"]),
        ([9000.0, 9000.5], ["9000.0000", "9000.5000"]),
        ([2.5e9, 1e3], ["2.5000e+09", "1.0000e+03"]),
        ([1.25e-11, 9000.25], ["1.25e-11", "9000.25"]),
        ([0.0, 0.0], ["0.0000", "0.0000"]),
        ([float("nan"), float("inf")], ["nan", "inf"]),
    ],
)
def test_a_column_shows_what_tells_its_numbers_apart(
    values: list[float | None], shown: list[str]
) -> None:
    form = column_format(values)
    assert [form % value for value in values if value is not None] == shown


def test_differences_have_their_sign() -> None:
    assert column_format([0.01, -0.02], signed=True) % 0.0125 == "+0.0125"
    assert column_format([2e-12], signed=True) % 2.5e-12 == "+2.5e-12"


def _formats(app: AppTest) -> dict[str, str]:
    """The printf format of each column of a page's first table."""
    columns: dict[str, Any] = json.loads(app.dataframe[0].proto.columns)
    kinds = {name: column.get("type_config") or {} for name, column in columns.items()}
    return {name: kind["format"] for name, kind in kinds.items() if "format" in kind}


@pytest.mark.parametrize(
    ("values", "shown"), [([1.25e-11, 3.5e-11], "1.25e-11"), ([9000.0, 8500.5], "9000.0")]
)
def test_tables_of_trials_are_no_row_of_zeros(
    opened: Opener, tmp_path: Path, values: list[float], shown: str
) -> None:
    path = write_study(tmp_path / "s.db", "s", values, directions=("minimize",))
    assert _formats(opened("trials", path, study="s"))["value"] % values[0] == shown
    assert _formats(opened("leaderboard", path, study="s"))["value"] % values[0] == shown
    assert _formats(opened("studies", path))["best so far"] % min(values) != "0.0000"


def _charts(app: AppTest) -> list[Any]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def test_the_distribution_is_that_of_all_trials(opened: Opener, tmp_path: Path) -> None:
    """2,000 normal values: the best quarter of a sample among even ones would lift the share of good ones."""
    draw = random.Random(0)
    values = [draw.gauss(0.9, 0.03) for _ in range(2000)]
    path = write_study(tmp_path / "s.db", "s", values, task={"metric": "accuracy"})
    app = opened("study", path, study="s")
    said(app)
    (chart,) = [item for item in _charts(app) if "up to" in str(item["layout"]["yaxis"])]
    (trace,) = chart["data"]
    x, y = (np.array(decode(trace[name])) for name in "xy")
    for limit in (0.85, 0.9, 0.95, 0.985):
        share = np.mean(np.array(values) <= limit)
        assert y[np.searchsorted(x, limit, side="right") - 1] == pytest.approx(share, abs=0.002)


def decode(numbers: Any) -> Any:
    """Plotly writes arrays as base64."""
    import base64

    if isinstance(numbers, dict):
        return np.frombuffer(base64.b64decode(numbers["bdata"]), numbers["dtype"])
    return numbers


def test_a_distribution_of_very_many_values_is_exact_where_it_is_drawn() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    (trace,) = figures.distribution({"all": values}, "maximize", "score").data
    assert len(trace.x) <= 1000
    ordered = np.sort(values)
    assert list(trace.y) == [np.searchsorted(ordered, x, side="right") / 100_000 for x in trace.x]
    assert (trace.x[-1], trace.y[-1]) == (values.max(), 1.0)


def test_optunas_figures_have_the_numbers_of_the_trials(opened: Opener, tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [float(number) for number in range(900)])
    view = open_store(f"sqlite:///{path}").view("s")
    slices = view.optuna_figure("Slice")
    numbers = np.array(slices.data[0].marker.color)
    assert (numbers.max(), len(numbers)) == (899, 300)  # Optuna would count them from 0 to 299
    assert slices.data[0].y[int(numbers.argmax())] == 899.0


def test_what_is_computed_of_a_sample_is_computed_of_an_even_one(tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [float(number) for number in range(1000)])
    view = open_store(f"sqlite:///{path}").view("s")
    assert np.mean(view.sample_numbers(100, best_share=0.0)) == pytest.approx(499.5, abs=1)
    assert np.mean(view.sample_numbers(100)) > 560  # for figures in which each trial is a point


# several objectives

FRONT = {"accuracy": "maximize", "size": "minimize"}
DOMINATED = [(0.9, 9.0), (0.8, 1.0), (0.9, 3.0), (0.7, 7.0), (0.85, 2.0)]
"""Trial 0 is the first with the best accuracy, and trial 2 is as accurate and smaller."""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return write_study(tmp_path / "two.db", "two", DOMINATED, directions=FRONT)


def test_the_leaderboard_begins_with_the_front(opened: Opener, two: Path) -> None:
    app = opened("leaderboard", two, study="two")
    said(app)
    table = app.dataframe[0].value
    assert table["trial"].tolist() == [2, 4, 1, 0, 3]
    assert table["front"].tolist() == ["front"] * 3 + [""] * 2
    assert {"accuracy", "size"} <= set(table.columns)


def test_the_best_of_several_objectives_is_not_dominated(opened: Opener, two: Path) -> None:
    app = opened("study", two, study="two")
    said(app)
    assert "trial 2" in app.button(key="best so far").label
    assert app.metric[0].label == "Best accuracy so far (optimistic)"
    app.radio(key="objective").set_value("size").run()
    assert "Best size so far is trial 1" in app.button(key="best so far").label
    assert "trial 2" in said(opened("activation", two, study="two"))
    table = opened("studies", two).dataframe[0].value
    assert table["metric"].tolist() == ["accuracy, size"]
    store = open_store(f"sqlite:///{two}")
    (summary,) = store.reader.summaries()
    assert summary.best is not None
    assert summary.best.number == 2


def test_tables_name_objectives_as_the_study_does(opened: Opener, two: Path) -> None:
    table = opened("trials", two, study="two").dataframe[0].value
    assert table["size (objective)"].tolist() == [size for _, size in DOMINATED]
    assert not [name for name in table.columns if name.startswith("value_")]


# metrics that are minimised


def test_tuning_that_lowers_a_loss_has_gained() -> None:
    base = [0.50, 0.52, 0.51, 0.49, 0.50, 0.52, 0.51, 0.49]
    tuned = [value - 0.1 for value in base]
    verdict = compute_verdict(
        Measured("relu", "relu", base, as_given=[0.505] * 8),
        [Measured("x", "x", tuned, number=0, as_given=[0.505] * 8)],
        study_name="s", metric="loss", direction="minimize",
    )  # fmt: skip
    from actsearch.records import CandidateRecord, TrialRecord, TrialState
    from actsearch.report.columns import make_columns

    frame = make_columns([TrialRecord(0, TrialState.COMPLETE, CandidateRecord({}), 0.5)])
    (gained,) = ranking(frame, "loss", verdict, {})["tuning"]
    assert gained == pytest.approx(0.1)  # of .505 to .405


@pytest.mark.parametrize(("direction", "place"), [("minimize", "bottom"), ("maximize", "top")])
def test_where_good_trials_are_depends_on_the_direction(
    opened: Opener, tmp_path: Path, direction: str, place: str
) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.3, 0.2], directions=(direction,))
    assert f"Good ones are at the {place} left" in said(opened("leaderboard", path, study="s"))


# logarithmic axes


def test_values_of_many_magnitudes_are_drawn_on_a_logarithmic_axis_that_can_be_switched_off(
    opened: Opener, tmp_path: Path
) -> None:
    values = [10.0**-power for power in range(8)]
    path = write_study(tmp_path / "s.db", "s", values, directions=("minimize",))
    app = opened("study", path, study="s")
    history = _charts(app)[0]["layout"]["yaxis"]
    assert history["type"] == "log"
    assert history["range"][0] < -7 < 0 < history["range"][1]  # all of them, in powers of ten
    app.toggle(key="log history").set_value(False).run()
    assert _charts(app)[0]["layout"]["yaxis"]["type"] == "linear"


def test_accuracies_have_no_switch(opened: Opener, tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [0.9, 0.95])
    assert not opened("study", path, study="s").toggle


def test_counts_have_their_noun() -> None:
    assert [say_count(n, "batch", "batches") for n in (1, 2, 1200)] == [
        "1 batch", "2 batches", "1,200 batches",
    ]  # fmt: skip
    assert say_count(1, "trial") == "1 trial"


def test_a_callable_is_named_by_what_it_measures(tmp_path: Path) -> None:
    path = write_study(tmp_path / "s.db", "s", [1.0], task={"objective": "perplexity"})
    write_study(path, "t", [1.0], task={"objective": "<lambda>"})
    store = open_store(f"sqlite:///{path}")
    assert (store.view("s").metric, store.view("t").metric) == ("value of perplexity", "value")
    assert acs.load_study(study_name="s", storage=f"sqlite:///{path}").best_value == 1.0
