"""What arrived at the sites, and what was learned there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from actsearch.records import SiteDiagnostics
from actsearch.report import has_histogram
from actsearch_dashboard.figures.common import lay_out, panel_axes, small_titles
from actsearch_dashboard.figures.curve import bars
from actsearch_dashboard.figures.inside import LabelledDiagnostics, all_sites
from actsearch_dashboard.palette import BEFORE, BLUE
from actsearch_dashboard.text import markup

__all__ = ["learned_parameters", "parameter_names", "ridges"]

_ROW, _AROUND = 46, 120  # pixels: of a site, and of the titles, the axis and the margins
_LETTERS = 45  # of all titles in a row together, in a narrow window
_OVERLAP = 1.5  # of a ridge, in rows: neighbours may touch
_PANELS = 4  # parameters side by side that can still be read
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def ridges(shown: Sequence[LabelledDiagnostics]) -> go.Figure:
    """Histogram of what arrived at each site, a column a candidate, the first site on top.

    Grey is before training, the candidate's colour after it. Areas are equal, whatever the site.
    """
    sites = all_sites(shown)
    titles = [markup(item.name, _LETTERS // max(1, len(shown))) for item in shown]
    figure = make_subplots(
        1, max(1, len(shown)), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.02
    )
    drawn = [
        (column, stage, site, item.colour if stage == "end" else BEFORE)
        for column, item in enumerate(shown, 1)
        for stage in ("start", "end")
        for site in getattr(item.diagnostics, stage)
        if has_histogram(site)
    ]
    tallest = max((max(bars(site.histogram).heights) for *_, site, _ in drawn), default=1)
    order = {path: len(sites) - 1 - index for index, path in enumerate(sites)}
    # from the top down: a ridge that reaches into the row above it lies over that one
    drawn.sort(key=lambda item: -order[item[2].site])
    traces = [
        trace
        for _, stage, site, colour in drawn
        for trace in _ridge(site, order[site.site], _OVERLAP / tallest, colour, stage)
    ]
    columns = [column for column, *_ in drawn for _ in range(2)]
    figure.add_traces(traces, [1] * len(columns), columns)
    across = {
        "range": [-6, 6],
        "dtick": 4,
    }  # numbers at the ends would touch those of the neighbour
    upwards = {
        "tickmode": "array",
        "tickvals": list(order.values()),
        "ticktext": [markup(path, 24) for path in order],
        "range": [-0.15, len(sites) - 1 + _OVERLAP + 0.1],
        "automargin": True,
    }
    settings: dict[str, Any] = {
        "showlegend": False,
        "margin": {"t": 64},  # the buttons stand above the titles
        "annotations": small_titles(figure),
    }
    for index in range(max(1, len(shown))):
        x, y = panel_axes(index)
        settings |= {x: across, y: upwards}
    return lay_out(figure, "", "", _AROUND + _ROW * max(2, len(sites)), settings=settings)


def _ridge(
    site: SiteDiagnostics, base: int, scale: float, colour: str, stage: str
) -> list[go.Scatter]:
    """The floor, invisible, and the outline above it."""
    drawn = bars(site.histogram)
    xs: list[float] = []
    ys: list[float] = []
    for centre, width, height in zip(*drawn, strict=True):
        xs += [centre - width / 2, centre + width / 2]
        ys += [base + scale * height] * 2
    after = stage == "end"
    floor = go.Scatter(
        x=[xs[0], xs[-1]], y=[base, base], mode="lines", line={"width": 0}, hoverinfo="skip"
    )
    what = "after training" if after else "before training"
    moments = (
        ""
        if site.mean is None or site.sd is None
        else f"<br>mean {site.mean:.3g}, sd {site.sd:.3g}"
    )
    outline = go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        name=what,
        line={"color": colour, "width": 2 if after else 1.2, "dash": "solid" if after else "dot"},
        fill="tonexty" if after else None,
        fillcolor=_pale(colour),
        hovertemplate=f"{markup(site.site, 40)}, {what}{moments}<extra></extra>",
    )
    return [floor, outline]


def _pale(colour: str) -> str:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgba({red}, {green}, {blue}, 0.22)"


def parameter_names(sites: Sequence[SiteDiagnostics]) -> list[str]:
    """Names of what is learned at some sites."""
    return list(dict.fromkeys(name for site in sites for name in site.learned))


def learned_parameters(
    start: Sequence[SiteDiagnostics], end: Sequence[SiteDiagnostics], names: Sequence[str]
) -> go.Figure:
    """Learned numbers by site, a panel a parameter: grey before training, blue after it; a dot a channel.

    Args:
        start: the sites before training.
        end: after it; empty where training did not come to its end.
        names: which parameters, four at most.
    """
    names = list(names)[:_PANELS]
    figure = make_subplots(
        1, max(1, len(names)), subplot_titles=[_symbol(name) for name in names], horizontal_spacing=0.06
    )  # fmt: skip
    for column, name in enumerate(names, 1):
        for sites, what, colour in (
            (start, "before training", BEFORE),
            (end, "after training", BLUE),
        ):
            box = _strip(sites, name, what, colour)
            box.showlegend = column == 1
            figure.add_trace(box, row=1, col=column)
    settings = {"boxmode": "group", "legend": {"y": 1.12}, "annotations": small_titles(figure)}
    axes = {panel_axes(index)[0]: {"type": "category"} for index in range(max(1, len(names)))}
    return lay_out(figure, "", "", 320, settings=settings | axes)


def _symbol(name: str) -> str:
    """theta_3 as formulas write it."""
    head, _, digits = name.partition("_")
    plain = head == "theta" and digits.isascii() and digits.isdigit()
    return "θ" + digits.translate(_LOWERED) if plain else markup(name, 30)


def _strip(sites: Sequence[SiteDiagnostics], name: str, what: str, colour: str) -> go.Box:
    pairs = [
        (markup(site.site, 18), value)
        for site in sites
        for value in site.learned.get(name, ())
        if math.isfinite(value)
    ]
    return go.Box(
        x=[path for path, _ in pairs],
        y=[value for _, value in pairs],
        name=what,
        legendgroup=what,
        boxpoints="all",
        jitter=0.6,
        pointpos=0,
        marker={"color": colour, "size": 5},
        line={"color": colour, "width": 1},
        fillcolor="rgba(0, 0, 0, 0)",
        hovertemplate="%{x}: %{y:.4g}<extra>" + what + "</extra>",
    )
