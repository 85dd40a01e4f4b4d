"""What was recorded inside of trainings, by the depth of the sites."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from actsearch.records import Diagnostics, SiteDiagnostics
from actsearch_dashboard.figures.common import finite, lay_out, panel_axes, small_titles
from actsearch_dashboard.palette import BEFORE
from actsearch_dashboard.text import markup

__all__ = [
    "MEASURES",
    "Measure",
    "LabelledDiagnostics",
    "by_depth",
    "heat_strip",
    "all_sites",
]

Stage = Literal["start", "end"]

_COLUMNS = 3  # panels side by side that can still be read
_PANEL, _AROUND = 200, 110  # pixels: of a row of panels, and of the legend and the margins
_STRIP, _STRIP_AROUND = 52, 90  # pixels: of a candidate, and of the axis and the margins
_TICKS = 7  # names of sites below a small panel
_WRITTEN = 16  # sites up to which a strip has room for its numbers
_STRIP_TICKS, _STRIP_WIDTH = 16, 12  # names of sites below a strip, and their characters
_PANEL_WIDTH = 10  # characters of a name below a small panel


class Measure(NamedTuple):
    """A number of :class:`actsearch.records.SiteDiagnostics`.

    Attributes:
        title: what it is called.
        share: whether it lies between 0 and 1.
        log: whether it spans orders of magnitude.
        help: what it means.
    """

    title: str
    share: bool = False
    log: bool = False
    help: str = ""


MEASURES: Mapping[str, Measure] = {
    "dead": Measure("dead units", share=True, help="units that are 0 for every sample"),
    "zeros": Measure("zeros (sparsity)", share=True, help="share of the outputs that is exactly 0"),
    "saturation": Measure("saturation", share=True, help="share of the inputs at which |f′| < 0.001"),
    "gradient_norm": Measure("gradient norm", log=True, help="of the loss, with respect to the inputs"),
    "gain": Measure("effective gain", help="√(E[y²] / E[x²]): what the site does to the second moment"),
    "sd": Measure("sd of the inputs", help="standard deviation of what arrives"),
    "mean": Measure("mean of the inputs", help="mean of what arrives"),
}  # fmt: skip
"""What is drawn, by attribute."""


class LabelledDiagnostics(NamedTuple):
    """One candidate's training as it is drawn."""

    name: str
    colour: str
    diagnostics: Diagnostics


def all_sites(shown: Iterable[LabelledDiagnostics]) -> list[str]:
    """Paths of every site, in the order in which they first run."""
    stages = [stage for item in shown for stage in (item.diagnostics.start, item.diagnostics.end)]
    return list(dict.fromkeys(site.site for stage in stages for site in stage))


def by_depth(
    shown: Sequence[LabelledDiagnostics], measures: Sequence[str] = tuple(MEASURES)[:6]
) -> go.Figure:
    """A small panel a measure, sites from first to last: dotted before training, solid after it.

    A single candidate is drawn grey before training and in its colour after it.

    Args:
        shown: the candidates; of each, a training under one seed.
        measures: keys of :data:`MEASURES`.
    """
    sites = all_sites(shown)
    rows = -(-len(measures) // _COLUMNS)
    titles = [MEASURES[name].title for name in measures]
    figure = make_subplots(
        rows, _COLUMNS, subplot_titles=titles, vertical_spacing=0.17 / max(1, rows - 1), horizontal_spacing=0.04,
    )  # fmt: skip
    settings: dict[str, Any] = {
        "legend": {"y": 1.08 if rows > 1 else 1.2},
        "annotations": small_titles(figure),
    }
    across = {
        "range": [-0.3 - 0.1 * len(sites), max(len(sites) - 1, 1) + 0.3],
        "showticklabels": False,
        **_ticks(sites, _TICKS, _PANEL_WIDTH),
    }
    lines: list[go.Scatter] = []
    for index, name in enumerate(measures):
        panel = [
            _line(item, stage, name, sites, alone=len(shown) == 1, is_first=index == 0)
            for item in shown
            for stage in ("start", "end")
        ]
        lines += panel
        x, y = panel_axes(index)
        is_lowest = index >= len(measures) - _COLUMNS
        settings[x] = (
            {**across, "showticklabels": True, "title": {"text": "site"}} if is_lowest else across
        )
        settings[y] = _vertical_axis(MEASURES[name], panel)
    places = [
        divmod(index, _COLUMNS) for index in range(len(measures)) for _ in range(2 * len(shown))
    ]
    # one call for all of them: each would go through the whole figure again
    figure.add_traces(lines, [row + 1 for row, _ in places], [column + 1 for _, column in places])
    return lay_out(figure, "", "", _AROUND + _PANEL * rows, settings=settings)


def _vertical_axis(measure: Measure, lines: Sequence[go.Scatter]) -> dict[str, Any]:
    # numbers beside a panel would reach into its neighbour where the window is narrow
    inside = {"ticklabelposition": "inside top"}
    if measure.share:
        return {**inside, "range": [-0.04, 1.16], "tickformat": ".0%", "dtick": 0.5}
    if measure.log:
        step = _decades([y for line in lines for y in line.y if y is not None])
        return {**inside, "type": "log", "exponentformat": "power", "dtick": step}
    return {**inside, "nticks": 4, "rangemode": "tozero"}


def _decades(values: Sequence[float]) -> int | None:
    """Powers of ten between two ticks, so that there are a few; None where a panel shows hardly one of them."""
    span = math.log10(max(values) / min(values)) if values else 0.0
    return max(1, math.ceil(span / 4)) if span > 1.2 else None


def _line(
    item: LabelledDiagnostics,
    stage: str,
    name: str,
    sites: Sequence[str],
    *,
    alone: bool,
    is_first: bool,
) -> go.Scatter:
    """A candidate's line in one panel; ``alone`` tells the stages by colour, the first panel's lines name all."""
    by_path = {site.site: site for site in getattr(item.diagnostics, stage)}
    values = [_number(by_path.get(path), name) for path in sites]
    after = stage == "end"
    what = "after training" if after else "before training"
    label = markup(item.name, 40)
    return go.Scatter(
        x=list(range(len(sites))),
        y=values,
        name=what if alone else label,
        legendgroup=f"{label}{stage if alone else ''}",
        showlegend=is_first and (after or alone),
        mode="lines+markers",
        marker={"size": 6 if after else 4},
        line={
            "color": BEFORE if alone and not after else item.colour,
            "width": 2,
            "dash": "solid" if after else "dot",
        },
        text=[markup(path, 40) for path in sites],
        hovertemplate=f"{label}, {what}<br>%{{text}}: %{{y:.4g}}<extra></extra>",
    )


def _number(site: SiteDiagnostics | None, name: str) -> float | None:
    value = None if site is None else finite(getattr(site, name))
    return None if value is not None and MEASURES[name].log and value <= 0 else value


def _ticks(sites: Sequence[str], most: int, width: int) -> dict[str, object]:
    """Names of sites as ticks, of many sites only every so many."""
    step = -(-len(sites) // most) or 1
    places = list(range(0, len(sites), step))
    return {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": [_tail(sites[place], width) for place in places],
        "tickangle": 0 if len(places) * width <= 24 else -40,
    }


def _tail(path: str, width: int) -> str:
    """The end of a path says more than its beginning."""
    return markup(path if len(path) <= width else "…" + path[1 - width :], width)


def heat_strip(shown: Sequence[LabelledDiagnostics], name: str, stage: Stage = "end") -> go.Figure:
    """One measure as a strip a candidate, sites from left to right, its numbers written into it.

    Args:
        shown: the candidates; one that did not come to its end is empty after training.
        name: key of :data:`MEASURES`.
        stage: before or after training.
    """
    measure, sites = MEASURES[name], all_sites(shown)
    values, names = [], []
    for item in shown[::-1]:  # a heat map begins at the bottom
        by_path = {site.site: site for site in getattr(item.diagnostics, stage)}
        values.append([_number(by_path.get(path), name) for path in sites])
        names.append(markup(item.name, 36))
    texts = [[_text(value, measure) for value in row] for row in values]
    has_room = len(sites) <= _WRITTEN
    strip = go.Heatmap(
        z=[[_scale(value, measure) for value in row] for row in values],
        x=list(range(len(sites))),
        y=list(range(len(names))),
        text=texts if has_room else None,
        texttemplate="%{text}" if has_room else None,
        customdata=texts,
        hovertext=[[f"{candidate}, {markup(path, 40)}" for path in sites] for candidate in names],
        hovertemplate="%{hovertext}: %{customdata}<extra></extra>",
        colorscale="Cividis",
        zmin=0 if measure.share else None,
        zmax=1 if measure.share else None,
        showscale=False,
        xgap=2,
        ygap=4,
    )
    figure = lay_out(go.Figure(strip), "site", "", _STRIP_AROUND + _STRIP * len(shown))
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(names))), ticktext=names, automargin=True
    )
    figure.update_xaxes(**_ticks(sites, _STRIP_TICKS, _STRIP_WIDTH), showgrid=False)
    figure.update_yaxes(showgrid=False)
    return figure


def _scale(value: float | None, measure: Measure) -> float | None:
    return math.log10(value) if value is not None and measure.log else value


def _text(value: float | None, measure: Measure) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if measure.share else f"{value:.2g}"
