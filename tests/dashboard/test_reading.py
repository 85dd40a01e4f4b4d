"""Pages that can be read: functions where their inputs lie, names that differ, colours that are seen on both themes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saying import said
from streamlit.testing.v1 import AppTest
from written import write_study

from actsearch.activations import curve
from actsearch.records import HISTOGRAM_EDGES, Curve
from actsearch.report import Measured, compute_verdict
from actsearch_dashboard import figures, palette
from actsearch_dashboard.components import verdict_frame
from actsearch_dashboard.figures.curve import arrived_range, break_at_poles
from actsearch_dashboard.text import short_label, short_labels

Opener = Callable[..., AppTest]

# functions


def _shares(low: float, high: float) -> list[float]:
    """Inputs spread evenly between two edges of the histogram."""
    edges = [-np.inf, *HISTOGRAM_EDGES, np.inf]
    inside = [low <= a and b <= high for a, b in zip(edges, edges[1:], strict=False)]
    return [is_inside / sum(inside) for is_inside in inside]


def test_a_function_is_shown_where_its_inputs_lie_and_is_not_squeezed_by_its_derivative() -> None:
    """sin(x^2) stays within -1 .. 1; its derivative 2x cos(x^2) reaches 12 at the ends of -6 .. 6."""
    figure = figures.function(curve("sin(x**2)"), inputs=_shares(-2, 2))
    low, high = figure.layout.xaxis.range
    assert -2.6 <= low <= -2
    assert 2 <= high <= 2.6
    bottom, top = figure.layout.yaxis.range
    assert -1.5 < bottom < -0.7  # sin(x^2) is -.76 at x = 2, 1 at 1.25, and -.9 within 2.5
    assert 1 < top < 1.5
    slope = next(trace for trace in figure.data if trace.name == "f′(x)")
    assert slope.yaxis == "y3"
    assert figure.layout.yaxis3.domain[1] < figure.layout.yaxis.domain[0]


def test_inputs_at_one_side_leave_zero_to_be_seen() -> None:
    low, high = arrived_range(_shares(3, 5))
    assert low == -2
    assert high == 5
    assert arrived_range([0.0] * (len(HISTOGRAM_EDGES) + 1)) == (-6, 6)
    few = _shares(-1, 1)
    few[-1] = 0.0005  # one in two thousand beyond 5
    assert arrived_range(few)[1] < 5


@pytest.mark.parametrize(
    ("f", "slope", "poles"),
    [
        (lambda x: 1 / x, lambda x: -1 / x**2, [0.0]),
        (np.tan, lambda x: 1 / np.cos(x) ** 2, [-4.712389, -1.570796, 1.570796, 4.712389]),
        (np.exp, np.exp, []),
        (lambda x: np.sign(x) * 3, lambda x: 0 * x, []),  # a step is no pole
        (lambda x: x**3, lambda x: 3 * x**2, []),
    ],
)
def test_no_line_goes_through_a_pole(f: Any, slope: Any, poles: list[float]) -> None:
    x = np.linspace(-6, 6, 482)  # no point is 0
    drawn_x, drawn_y = break_at_poles(Curve(x, f(x), slope(x)), 4.0)
    gaps = drawn_x[np.isnan(drawn_y)]
    assert gaps == pytest.approx(np.array(poles), abs=0.03)
    assert len(drawn_x) == len(x) + len(poles)


# names


def test_numbers_of_a_name_have_three_digits() -> None:
    assert short_label("elu(alpha=2.3841857910)") == "elu(alpha=2.38)"
    assert short_label("x * tanh(0.000012345 * x) + 12") == "x * tanh(1.23e-05 * x) + 12"
    assert short_label("max_affine(pieces=3, per=channel)") == "max_affine(pieces=3, per=channel)"


def test_groups_that_differ_come_first_and_names_stay_apart() -> None:
    labels = ["depth:1/3: relu; depth:2/3: sin", "depth:1/3: relu; depth:2/3: elu(alpha=1.23456)"]
    assert short_labels(labels) == [
        "depth:2/3: sin; depth:1/3: relu",
        "depth:2/3: elu(alpha=1.23); depth:1/3: relu",
    ]
    close = ["elu(alpha=1.23456)", "elu(alpha=1.23457)"]
    assert short_labels(close) == close
    assert short_labels(["sin(x)", "sin(x)"]) == ["sin(x)", "sin(x)"]
    assert short_labels([]) == []


def test_tables_have_short_names_beside_the_whole_formula(opened: Opener, tmp_path: Path) -> None:
    formula = "x * tanh(1.2345678 * x)"
    path = write_study(tmp_path / "s.db", "s", [0.9], formulas=(formula,))
    table = opened("leaderboard", path, study="s").dataframe[0].value
    assert table["activation"].tolist() == ["x * tanh(1.23 * x)"]
    assert table["formula"].tolist() == [formula]


def test_a_formula_wider_than_its_column_is_not_cut_off_in_silence(
    opened: Opener, tmp_path: Path
) -> None:
    long = " + ".join(f"sin({n} * x)" for n in range(1, 13))
    path = write_study(tmp_path / "s.db", "s", [0.9, 0.8], formulas=(long, "x * tanh(x)"))
    app = opened("activation", path, study="s", trial="0")
    assert "LaTeX would be wider than this column" in said(app)
    assert not app.latex
    assert long in [block.value for block in app.code]
    assert "tanh" in opened("activation", path, study="s", trial="1").latex[0].value


# verdicts on narrow screens and on paper


def test_difference_and_interval_stand_first_and_in_the_figure() -> None:
    base = [0.90, 0.91, 0.92, 0.90, 0.91, 0.92, 0.90, 0.91]
    own = [value + 0.02 + n / 1000 for n, value in enumerate(base)]
    label = "x * tanh(x) + 0.123456 * sin(x) * sin(x) * sin(x) * sin(x)"
    verdict = compute_verdict(
        Measured("relu", "relu", base), [Measured(label, label, own, number=3)],
        study_name="s", metric="accuracy", direction="maximize",
    )  # fmt: skip
    row = verdict.rows[0]
    assert list(verdict_frame(verdict))[:3] == ["activation", "difference", "interval"]
    figure = figures.verdict_intervals(verdict)
    assert (
        not figure.layout.yaxis.visible
    )  # long names beside it would leave no room for intervals
    (text,) = [note.text for note in figure.layout.annotations]
    for number in (row.difference, row.low, row.high):
        assert f"{number:+.4f}" in text
    assert "#3" in text
    assert "better" in text


# contrast: WCAG 2.1, success criteria 1.4.3 and 1.4.11

PAGES = {"light": ("#ffffff", "#f0f2f6"), "dark": ("#0e1117", "#262730")}
"""Streamlit's backgrounds: of the page, and of the sidebar and of boxes."""
MARKS = {
    **{f"series {index}": colour for index, colour in enumerate(palette.SERIES)},
    **{state.value: colour for state, colour in palette.STATES.items()},
    **palette.VERDICTS,
    "grey": palette.GREY,
    "inputs": palette.INPUTS,
}


def luminance(colour: str) -> float:
    parts = np.array(list(bytes.fromhex(colour.removeprefix("#")))) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", PAGES)
def test_marks_are_seen_on_both_pages(theme: str) -> None:
    page = PAGES[theme][0]
    pale = {
        name: round(contrast(colour, page), 2)
        for name, colour in MARKS.items()
        if contrast(colour, page) < 3
    }
    assert not pale


@pytest.mark.parametrize("theme", PAGES)
def test_text_on_chips_and_chips_on_pages_are_seen(theme: str) -> None:
    accent = palette.ACCENT[theme]
    assert contrast(accent, "#ffffff") >= 4.5
    assert all(contrast(accent, page) >= 3 for page in PAGES[theme])
