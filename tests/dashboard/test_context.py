"""What is looked at stays: in links, in the address, in a refresh, and on the next page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from crossed import WITHOUT_STUDY, only
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch_dashboard
from actsearch.storage import Storage
from actsearch_dashboard.app import PAGES

WITH_STUDY = [page for page in PAGES if page not in ("studies", *WITHOUT_STUDY)]
Opener = Callable[..., AppTest]


@pytest.mark.parametrize("page", only(WITH_STUDY, quick=("study", "activation", "compare")))
def test_a_link_to_a_study_that_is_gone_shows_nothing_of_another(
    opened: Opener, whole: Path, page: str
) -> None:
    app = opened(page, whole, study="gone", trial="0")
    text = said(app)
    assert "There is no study gone in whole.db" in text
    assert "confirmed" not in text
    assert not app.get("plotly_chart")
    assert not app.dataframe
    assert not app.latex
    assert app.query_params["study"] in ("gone", ["gone"])  # the link is left as it is


@pytest.fixture
def site(whole: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["app.py", f"sqlite:///{whole}"])
    script = Path(actsearch_dashboard.__path__[0]) / "app.py"
    return AppTest.from_file(script, default_timeout=30)


def test_every_link_of_the_navigation_carries_the_study(site: AppTest) -> None:
    site.query_params["study"] = "plain"
    site.run()
    said(site)
    links = {link.proto.page: parse_qs(link.proto.query_string) for link in site.get("page_link")}
    assert len(links) == 10
    assert links["study"] == links["trials"] == links["activation"] == {"study": ["plain"]}


def test_without_such_a_study_links_carry_none_and_another_can_be_chosen(site: AppTest) -> None:
    site.query_params["study"] = "gone"
    site.run()
    said(site)
    assert not any(link.proto.query_string for link in site.get("page_link"))
    box = site.sidebar.selectbox(key="study_box")
    assert box.value is None
    box.set_value("plain").run()
    assert site.query_params["study"] in ("plain", ["plain"])


def test_filters_are_read_from_the_address(opened: Opener, whole: Path) -> None:
    app = opened("trials", whole, study="confirmed", states="duplicate", words="tanh")
    said(app)
    assert set(app.dataframe[0].value["state"]) == {"duplicate"}
    assert app.text_input(key="words").value == "tanh"
    app = opened("studies", whole, study_words="genetic")
    assert list(app.dataframe[0].value["study"]) == ["confirmed"]


def test_a_figure_is_read_from_the_address(opened: Opener, whole: Path) -> None:
    app = opened("study", whole, study="confirmed", figure="Timeline")
    assert "Optuna's figure." in said(app)
    assert app.segmented_control(key="figure").value == "Timeline"


def test_stage_and_site_of_the_inputs_are_read_from_the_address(
    opened: Opener, by_site: Path
) -> None:
    app = opened(
        "activation", by_site, study="by site", trial="0", inputs="before training", site="3"
    )
    said(app)
    assert app.segmented_control(key="inputs").value == "before training"
    assert app.selectbox(key="site").value == "3"


def test_a_refresh_keeps_what_was_zoomed_in_on(opened: Opener, whole: Path) -> None:
    """Plotly keeps the reader's view of a figure as long as its ``uirevision`` is the same."""
    first, second = (opened("study", whole, study="confirmed") for _ in range(2))
    kept = [
        [
            json.loads(chart.proto.spec)["layout"].get("uirevision")
            for chart in app.get("plotly_chart")
        ]
        for app in (first, second)
    ]
    assert kept[0] == kept[1]
    assert all(kept[0])


def test_the_switch_of_the_refresh_is_that_of_every_page(opened: Opener, copied: Path) -> None:
    storage = Storage(f"sqlite:///{copied}")
    storage.lease(storage.study("confirmed")).acquire()
    app = opened("study", copied, study="confirmed")
    app.toggle(key="live").set_value(False).run()
    said(app)
    session = {name: app.session_state[name] for name in ("is_live", "study")}
    assert opened("trials", copied, study="confirmed").toggle(key="live").value is True
    other = opened("trials", copied, session, study="confirmed")
    assert other.toggle(key="live").value is False
