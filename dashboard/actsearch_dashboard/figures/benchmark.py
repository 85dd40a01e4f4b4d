"""The benchmark of activations: how each ranks on each task, and which tasks agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from actsearch_dashboard.figures.common import lay_out, panel_axes, small_titles
from actsearch_dashboard.palette import BLUE, GREY, SKY, YELLOW
from actsearch_dashboard.text import markup

__all__ = ["RankPanel", "RankRow", "Ranks", "rank_heat", "rank_panels", "task_correlations"]

_COLOURS = "Cividis"  # from dark to light for all eyes
_AGREEMENT = [
    [0.0, YELLOW],
    [0.5, "#F2F2F2"],
    [1.0, SKY],
]  # black numbers can be read on each of them
_ROW, _AROUND = 18, 190  # pixels: of an activation, and of the names of the tasks and the scale
_NAME = 24  # characters of an activation's name at its row
_SQUARE, _SQUARE_AROUND = (
    30,
    130,
)  # pixels: of a task among the correlations, and of names and margins
_TASK, _TASK_AROUND = 26, 120  # pixels: of a task in panels, and of legend, titles and axis
_MEAN = "<b>mean</b>"
_CROSS = "×"
_SMALL = {"size": 11}  # names of 17 tasks stand side by side on a phone
_UPRIGHT = {"side": "top", "tickangle": -90, "tickfont": _SMALL}
_SHARES = {"tickvals": [0, 0.5, 1], "ticktext": ["0", "50", "100"]}  # in percent


class Ranks(NamedTuple):
    """How an activation did, a task each.

    Attributes:
        shares: of the others that it beats.
        diverged: whether a seed did.
    """

    shares: Sequence[float]
    diverged: Sequence[bool]


class RankRow(NamedTuple):
    """A row of :func:`rank_heat`.

    Attributes:
        name: of the activation.
        place: among all of them, 1 for the best.
        ranks: how it did.
        hover: what is said of it, a task each; escaped.
        chosen: whether its name is emphasized.
    """

    name: str
    place: int
    ranks: Ranks
    hover: Sequence[str]
    chosen: bool = False


class RankPanel(NamedTuple):
    """A panel of :func:`rank_panels`.

    Attributes:
        title: of the panel.
        own: how the activation did.
        reference: how that did with which it is compared; None for nothing.
    """

    title: str
    own: Ranks
    reference: Ranks | None = None


def rank_heat(tasks: Sequence[str], rows: Sequence[RankRow]) -> go.Figure:
    """A row an activation, a column a task, and one before them for their mean: light is good.

    Args:
        tasks: names.
        rows: from top to bottom; a cross marks where a seed diverged.
    """
    names = [_row_name(row) for row in rows]
    means = [float(np.mean(row.ranks.shares)) for row in rows]
    heat = go.Heatmap(
        z=[[mean, *row.ranks.shares] for mean, row in zip(means, rows, strict=True)],
        x=list(range(len(tasks) + 1)),
        y=list(range(len(rows))),
        text=[["", *(_CROSS if item else "" for item in row.ranks.diverged)] for row in rows],
        texttemplate="%{text}",
        hovertext=[
            [f"{markup(row.name)}<br>place {row.place}: beats {mean:.0%} on average", *row.hover]
            for mean, row in zip(means, rows, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=_COLOURS,
        zmin=0,
        zmax=1,
        colorbar={
            "tickvals": [0, 0.5, 1], "ticktext": ["0 %", "50 %", "100 %"], "orientation": "h",
            "xref": "container", "x": 0, "xanchor": "left", "yref": "container", "y": 1, "yanchor": "top",
            "len": 160, "lenmode": "pixels", "thickness": 10, "outlinewidth": 0,
        },
        xgap=1,
        ygap=1,
    )  # fmt: skip
    across = {**_names([_MEAN, *map(markup, tasks)]), **_UPRIGHT}
    settings: dict[str, Any] = {
        "xaxis": across,
        "yaxis": {**_names(names), "autorange": "reversed", "tickfont": _SMALL},
        "margin": {"t": 10, "b": 10, "l": 10, "r": 10},
    }
    return lay_out(go.Figure(heat), "", "", _AROUND + _ROW * len(rows), settings=settings)


def _row_name(row: RankRow) -> str:
    name = f"{markup(row.name, _NAME)}  {row.place}"
    return f"<b>{name}</b>" if row.chosen else name


def _names(names: Sequence[str]) -> dict[str, Any]:
    """An axis with a name at each place: names that are shortened may be equal, and as categories would be one."""
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "automargin": True,
        "title": {"standoff": 0},
        "ticks": "",
        "showgrid": False,
    }


def task_correlations(tasks: Sequence[str], correlations: npt.NDArray[np.float64]) -> go.Figure:
    """Each task with each other one; those that agree most with the others come first.

    Args:
        tasks: names.
        correlations: rank correlations; (tasks, tasks).
    """
    order = np.argsort(-correlations.mean(1), kind="stable")
    names = [markup(tasks[place]) for place in order]
    sorted_ = correlations[np.ix_(order, order)]
    heat = go.Heatmap(
        z=sorted_.tolist(),
        x=list(range(len(tasks))),
        y=list(range(len(tasks))),
        texttemplate="%{z:.2f}",
        hovertext=[[f"{one} and {other}" for other in names] for one in names],
        hovertemplate="%{hovertext}: %{z:.2f}<extra></extra>",
        textfont={"color": "black"},
        colorscale=_AGREEMENT,
        zmin=-1,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
    )
    settings: dict[str, Any] = {
        "xaxis": {**_names(names), **_UPRIGHT, "side": "bottom"},
        "yaxis": {**_names(names), "autorange": "reversed"},
        "margin": {"t": 40, "b": 10, "l": 10, "r": 10},
    }
    height = _SQUARE_AROUND + _SQUARE * len(tasks)
    return lay_out(go.Figure(heat), "", "", height, settings=settings)


def rank_panels(
    name: str, reference: str, tasks: Sequence[str], panels: Sequence[RankPanel]
) -> go.Figure:
    """An activation beside another one, task by task; a panel a learning rate.

    Args:
        name: of the activation.
        reference: of the other one, grey.
        tasks: names, from top to bottom.
        panels: from left to right.
    """
    figure = make_subplots(
        1, len(panels), subplot_titles=[panel.title for panel in panels],
        shared_yaxes=True, horizontal_spacing=0.08,
    )  # fmt: skip
    places = list(range(len(tasks)))
    across = {**_SHARES, "range": [-0.06, 1.06], "tickangle": 0, "showgrid": True}
    upwards = {
        **_names([markup(task) for task in tasks]),
        "range": [len(tasks) - 0.5, -0.5],
        "showgrid": True,
    }
    settings: dict[str, Any] = {
        "annotations": small_titles(figure),
        "legend": {"y": 1 + 30 / (_TASK * len(tasks))},
        "margin": {"t": 80, "l": 10},
    }
    traces: list[go.Scatter] = []
    columns: list[int] = []
    for index, panel in enumerate(panels):
        drawn = [(name, panel.own, BLUE)]
        if panel.reference is not None:
            drawn.insert(0, (reference, panel.reference, GREY))
        traces += [
            go.Scatter(
                x=list(ranks.shares),
                y=places,
                mode="markers",
                cliponaxis=False,
                name=markup(label, 40),
                legendgroup=label,
                showlegend=index == 0,
                marker={
                    "color": colour,
                    "size": 11 if colour == BLUE else 9,
                    "symbol": ["x" if item else "circle" for item in ranks.diverged],
                },
                text=[markup(task) for task in tasks],
                hovertemplate=f"{markup(label)} on %{{text}}: beats %{{x:.0%}}<extra></extra>",
            )
            for label, ranks, colour in drawn
        ]
        columns += [index + 1] * len(drawn)
        x, y = panel_axes(index)
        settings |= {x: across, y: upwards}
    figure.add_traces(traces, [1] * len(traces), columns)
    return lay_out(figure, "", "", _TASK_AROUND + _TASK * len(tasks), settings=settings)
