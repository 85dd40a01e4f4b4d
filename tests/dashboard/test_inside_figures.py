"""Figures of what was seen inside, on data."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from actsearch.records import HISTOGRAM_EDGES, Diagnostics, SiteDiagnostics
from actsearch_dashboard import figures, palette

BINS = len(HISTOGRAM_EDGES) + 1
EVEN = (1 / BINS,) * BINS


def site(path: str, **changes: object) -> SiteDiagnostics:
    made = SiteDiagnostics(path, (4, 2), 0.0, 1.0, EVEN, 0.25, 0.5, 0.0, 0.7, 1e-3)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def seen(
    name: str = "relu", colour: str = palette.BLUE, **changes: object
) -> figures.LabelledDiagnostics:
    start = (site("a", gradient_norm=1e-5), site("b", dead=0.75))
    end = (site("a", dead=0.0), site("b", **changes))
    return figures.LabelledDiagnostics(name, colour, Diagnostics(start, end))


def test_by_depth_has_a_panel_a_measure_and_two_lines_a_candidate() -> None:
    figure = figures.by_depth([seen("one"), seen("two", palette.GREEN)], ["dead", "gradient_norm"])
    assert [a.text for a in figure.layout.annotations] == ["dead units", "gradient norm"]
    lines = figure.data
    assert len(lines) == 8
    assert list(lines[0].y) == [0.25, 0.75]  # dead, before
    assert lines[0].line.dash == "dot"
    assert list(lines[1].y) == [0.0, 0.25]
    assert lines[1].line.dash == "solid"
    assert {line.line.color for line in lines} == {palette.BLUE, palette.GREEN}
    assert [line.name for line in lines if line.showlegend] == ["one", "two"]
    assert figure.layout.yaxis2.type == "log"


def test_one_candidate_is_grey_before_training() -> None:
    before, after = figures.by_depth([seen()], ["gain"]).data
    assert (before.line.color, before.name) == (palette.BEFORE, "before training")
    assert (after.line.color, after.name) == (palette.BLUE, "after training")


def test_what_cannot_be_drawn_is_a_gap() -> None:
    bad = seen(gradient_norm=0.0, gain=math.inf)
    norm, gain = figures.by_depth([bad], ["gradient_norm"]), figures.by_depth([bad], ["gain"])
    assert list(norm.data[1].y) == [1e-3, None]  # a logarithm has no 0
    assert list(gain.data[1].y) == [0.7, None]
    other = figures.LabelledDiagnostics("other", palette.GREEN, Diagnostics((site("c"),)))
    lines = figures.by_depth([seen(), other], ["zeros"]).data
    assert list(lines[2].y) == [None, None, 0.5]
    assert list(lines[3].y) == [None, None, None]


def test_heat_strip_has_the_first_candidate_on_top_and_logarithms_where_they_are_needed() -> None:
    (strip,) = figures.heat_strip(
        [seen("one"), seen("two", gradient_norm=0.1)], "gradient_norm"
    ).data
    assert [list(row) for row in strip.z] == [[-3, -1], [-3, -3]]
    assert strip.text[0][1] == "0.1"
    (strip,) = figures.heat_strip([seen("one")], "dead", "start").data
    assert list(strip.z[0]) == [0.25, 0.75]
    assert (strip.zmin, strip.zmax) == (0, 1)
    assert list(strip.text[0]) == ["25%", "75%"]


def test_ridges_have_one_area_whatever_the_site() -> None:
    narrow = tuple(float(index == 11) for index in range(BINS))
    figure = figures.ridges([seen("one", histogram=narrow), seen("two", histogram=(1.0,))])
    pairs = list(zip(figure.data[::2], figure.data[1::2], strict=True))
    assert len(pairs) == 7  # one histogram is damaged
    areas = []
    for floor, outline in pairs:
        steps = zip(outline.x[::2], outline.x[1::2], outline.y[::2], strict=True)
        areas.append(sum((right - left) * (y - floor.y[0]) for left, right, y in steps))
    assert areas == pytest.approx([areas[0]] * 7)
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert list(figure.layout.yaxis.tickvals) == [1, 0]  # the first site on top


def test_learned_numbers_before_and_after() -> None:
    start = [site("a", learned={"theta_0": (1.0, 1.0), "theta_1": (0.0,)}), site("b")]
    end = [site("a", learned={"theta_0": (1.5, math.nan), "theta_1": (2.0,)})]
    assert figures.parameter_names(start) == ["theta_0", "theta_1"]
    figure = figures.learned_parameters(start, end, ["theta_0", "theta_1"])
    assert [list(trace.y) for trace in figure.data] == [[1.0, 1.0], [1.5], [0.0], [2.0]]
    assert [a.text for a in figure.layout.annotations] == ["θ₀", "θ₁"]
    figures.learned_parameters(start, [], []).to_json()


@pytest.mark.parametrize(
    "nothing", [[], [figures.LabelledDiagnostics("x", palette.BLUE, Diagnostics(()))]]
)
def test_nothing_can_be_drawn(nothing: list[figures.LabelledDiagnostics]) -> None:
    figures.by_depth(nothing).to_json()
    figures.heat_strip(nothing, "dead").to_json()
    figures.ridges(nothing).to_json()


def test_hostile_names_are_text(evil: str) -> None:
    bad = site(evil, learned={evil: (1.0,)})
    item = figures.LabelledDiagnostics(evil, palette.BLUE, Diagnostics((bad,), (bad,)))
    for figure in (
        figures.by_depth([item]), figures.heat_strip([item], "dead"), figures.ridges([item, item]),
        figures.learned_parameters([bad], [bad], [evil]),
    ):  # fmt: skip
        text = json.dumps(figure.to_plotly_json(), default=list, ensure_ascii=False)
        assert "<img" not in text
        assert "<b>bold" not in text
