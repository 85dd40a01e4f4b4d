"""Ranges beside the parallel coordinates narrow the figure, and lead to the same trials as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import IN_A_BROWSER, Browser, served
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs

Opener = Callable[..., AppTest]
ALPHAS = [0.5, 0.75, 1.1, 1.25, 1.5, 2.0]


@pytest.fixture(scope="module")
def elu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study "elu": six trials of elu whose value is 10 times alpha, and relu with -1."""
    path = tmp_path_factory.mktemp("elu") / "elu.db"
    study = acs.create_study(
        study_name="elu", storage=f"sqlite:///{path}", strategy="random", direction="maximize"
    )
    for alpha in ALPHAS:
        study.enqueue_trial("elu", alpha=alpha)
    study.enqueue_trial("relu")

    def objective(candidate: Any, run: Any) -> float:
        label = candidate.label
        return 10 * float(label.partition("alpha=")[2].rstrip(")")) if "alpha=" in label else -1.0

    study.optimize(objective, n_trials=len(ALPHAS) + 1, show_progress_bar=False)
    return path


def _drawn(app: AppTest) -> int:
    """How many trials the parallel coordinates show: the last figure of the page."""
    traces = json.loads(app.get("plotly_chart")[-1].proto.spec)["data"]
    if traces[0]["type"] == "parcoords":  # of Optuna before 5
        return len(traces[0]["dimensions"][0]["values"])
    return sum(trace.get("mode") == "lines" for trace in traces)


def test_ranges_narrow_the_figure_and_count_the_trials(opened: Opener, elu: Path) -> None:
    app = opened("study", elu, study="elu", figure="Parallel coordinates")
    said(app)
    assert _drawn(app) == 7
    assert not [button for button in app.button if button.key == "show narrowed"]
    app.number_input(key="only_set_alpha_low").set_value(0.7)
    app.number_input(key="only_values_high").set_value(13.0).run()
    said(app)
    assert _drawn(app) == 3
    button = app.button(key="show narrowed")
    assert button.label == "Show these 3 trials"
    button.click().run()
    assert app.query_params["set_alpha_low"] in ("0.7", ["0.7"])
    assert app.query_params["values_high"] in ("13.0", ["13.0"])


def test_trials_reads_the_ranges_shows_them_and_lets_them_be_cleared(
    opened: Opener, elu: Path
) -> None:
    app = opened("trials", elu, study="elu", set_alpha_low="0.7", values_high="13.0")
    assert "Only trials with alpha from 0.7." in said(app)
    assert sorted(app.dataframe[0].value["alpha"]) == [0.75, 1.1, 1.25]
    app.button(key="clear").click().run()
    assert "Only trials with" not in said(app)
    assert app.number_input(key="set_alpha_low").value is None
    assert len(app.dataframe[0].value) == 5  # the range of values is another filter
    both = opened("trials", elu, study="elu", set_alpha_low="0.7", set_alpha_high="1.2")
    assert "alpha from 0.7 to 1.2" in said(both)


@pytest.mark.slow
@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
def test_the_button_opens_the_same_trials(browser: Browser, elu: Path) -> None:
    browser.look(1440, 1400)
    with served(elu, browser) as address:
        browser.open(
            f"{address}/study?study=elu&figure=Parallel+coordinates&only_set_alpha_low=0.7&only_values_high=13"
        )
        where = ".st-key-show_narrowed button, [class*='st-key-show'] button"
        browser.wait(lambda: browser.chrome.find_elements("css selector", where))
        button = browser.chrome.find_element("css selector", where)
        assert "Show these 3 trials" in button.text
        button.click()
        browser.wait(lambda: browser.page == "trials")
        browser.wait(lambda: "3 of 7 trials" in browser.text)
        assert browser.query["set_alpha_low"] == ["0.7"]
        assert browser.query["values_high"][0] in ("13", "13.0")
        assert "Only trials with alpha from 0.7." in browser.text
