"""The playground: with a study, without one, and with whatever people type."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from saying import said
from streamlit.testing.v1 import AppTest

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch_dashboard.pages.playground import slider_values

Opener = Callable[..., AppTest]


def asked(app: AppTest, name: str) -> str | None:
    found = app.query_params.get(name)
    return found[0] if isinstance(found, list) else found


def test_a_formula_is_shown_with_its_moments_and_the_trials_that_are_it(
    opened: Opener, whole: Path
) -> None:
    app = opened("playground", whole, study="confirmed", formula="tanh(x)*x")
    text = said(app)
    assert f"{acs.gain('tanh(x)*x'):.4f}" in text
    assert "This study has proposed this function" in text
    assert acs.fingerprint("x*tanh(x)") in text
    table = app.dataframe[0].value
    assert table["trial"].iloc[0] == 0
    assert table["distance"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert len(app.get("plotly_chart")) == 1


def test_mirror_images_of_trials_are_found(opened: Opener, whole: Path) -> None:
    text = said(opened("playground", whole, study="confirmed", formula="-x*tanh(x)"))
    assert "No trial of this study is this function" in text
    assert "mirror image" in text


@pytest.mark.parametrize("storage", [None, "nonsense", "sqlite:////nowhere/at/all.db"])
def test_it_needs_no_study(opened: Opener, storage: str | None) -> None:
    app = opened("playground", storage)
    text = said(app)
    assert "Open a storage with a study" in text
    assert asked(app, "formula") == "x * sigmoid(x)"
    assert len(app.get("plotly_chart")) == 1


def test_typing_changes_the_address(opened: Opener) -> None:
    app = opened("playground", None)
    app.text_input(key="formula_text").set_value("sin(x)").run()
    said(app)
    assert asked(app, "formula") == "sin(x)"
    assert "sin" in app.latex[0].value


def test_a_row_of_the_catalog_has_sliders_over_its_ranges(opened: Opener) -> None:
    app = opened("playground", None)
    app.selectbox(key="catalog_row").set_value("leaky_relu").run()
    said(app)
    app.select_slider(key="set leaky_relu negative_slope").set_value(0.25).run()
    assert asked(app, "negative_slope") == "0.25"
    assert "0.25 * min(x, 0)" in said(app)
    app.selectbox(key="catalog_row").set_value("elu").run()
    said(app)
    assert asked(app, "negative_slope") is None
    assert asked(app, "formula") == "elu"


def test_a_row_can_be_written_as_a_formula(opened: Opener) -> None:
    app = opened("playground", None, formula="elu", alpha="0.5")
    said(app)
    app.button[0].click().run()
    said(app)
    assert asked(app, "formula") == acs.activation("elu", alpha=0.5).formula


@pytest.mark.parametrize(
    "name", [name for name in CATALOG.names(role="hidden") if CATALOG[name].elementwise][::20]
)
def test_rows_can_be_opened(opened: Opener, name: str) -> None:
    assert len((app := opened("playground", None, formula=name)).get("plotly_chart")) == 1
    said(app)


@pytest.mark.parametrize("setting", ["9", "nan", "<b>x</b>", "1e999", ""])
def test_a_setting_that_is_none_gives_the_default(opened: Opener, setting: str) -> None:
    app = opened("playground", None, formula="leaky_relu", negative_slope=setting)
    assert "its default is shown" in said(app)
    assert app.select_slider(key="set leaky_relu negative_slope").value == 0.01


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("x *", "position"),
        ("x ^ 2", "a power is written"),
        ("__import__('os')", "at position 0"),
        ("x" * 100_000, r"xxx\.\.\.xxx"),
        ("reluu", "did you mean"),
        ("", "formula is empty"),
        ("(" * 300 + "x" + ")" * 300, "position|nested"),
        ("softmax", ""),
    ],
)
def test_what_cannot_be_read_is_said_calmly(opened: Opener, formula: str, message: str) -> None:
    app = opened("playground", None, formula=formula)
    text = said(app)
    assert re.search(message, text)
    assert len(text) < 10_000
    assert not app.error


def test_hostile_text_stays_text(opened: Opener, hostile: Path, evil: str) -> None:
    app = opened("playground", hostile, study=evil, formula=evil)
    said(app)
    app.text_input(key="formula_text").set_value("x*tanh(x)").run()
    said(app)
    kinds = (app.header, app.subheader, app.caption, app.markdown, app.info, app.warning)
    raw = "\n".join(str(element.value) for kind in kinds for element in kind)
    for live in (r"<img", r"<b\>", r"\*strong", r"\[click", r":red"):
        assert not re.search(r"(?<!\\)" + live, raw)


def test_places_of_a_slider_are_even_in_its_own_scale() -> None:
    (alpha,) = CATALOG["elu"].hyperparameters
    places = [float(place) for place in slider_values(alpha, 0.777)]
    assert places == sorted(places)
    assert {0.1, 1.0, 0.777, 3.0} <= set(places)
    ratios = [later / earlier for earlier, later in zip(places[:5], places[1:6], strict=True)]
    assert max(ratios) / min(ratios) < 1.05
