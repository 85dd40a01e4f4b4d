"""What a verdict says, as intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from actsearch.report import Verdict, VerdictRow
from actsearch.report.verdict.table import format_signed
from actsearch_dashboard.figures.common import lay_out, whiskers
from actsearch_dashboard.palette import GREY, VERDICTS
from actsearch_dashboard.text import markup, short_labels

__all__ = ["verdict_intervals"]

_ROW, _AROUND = 76, 110  # pixels: of a finalist, and of the axis and the margins
_ABOVE = 0.16  # rows: how far above its interval a finalist's text stands
_BELOW = (
    0.14  # rows: how far the mark of 0 reaches above and below its interval; less than to any text
)
_NAME = 34  # characters of a name that fit beside the numbers on a screen of 420 pixels


def verdict_intervals(verdict: Verdict) -> go.Figure:
    """Difference of each finalist to the baseline with its interval, best on top.

    Its name and the numbers stand above it, not beside it: on a narrow screen and on paper both are whole.
    """
    rows = [row for row in verdict.rows if math.isfinite(row.difference)][::-1]
    names = short_labels([row.label for row in rows])
    figure = go.Figure()
    for at, row in enumerate(rows):
        colour = VERDICTS.get(row.verdict, GREY)
        figure.add_scatter(
            x=[row.difference],
            y=[at],
            error_x=_error_bars(row, colour),
            mode="markers",
            marker={"color": colour, "size": 11},
            showlegend=False,
            text=[f"{markup(row.label, 200)}<br>{_measured(row)}<br>{markup(row.verdict)}"],
            hovertemplate="%{text}<extra></extra>",
        )
    better = "higher" if verdict.direction == "maximize" else "lower"
    title = (
        f"difference in {markup(verdict.metric, 30)} to {markup(verdict.baseline.label, 30)}"
        f"<br>({better} is better), 95 % interval"
    )
    lay_out(figure, title, "", _AROUND + _ROW * len(rows), settings={"margin": {"l": 20, "b": 60}})
    figure.layout.annotations = [
        {
            "text": _text(row, name), "xref": "paper", "x": 0, "xanchor": "left",
            "y": at + _ABOVE, "yanchor": "bottom", "showarrow": False, "align": "left",
        }
        for at, (row, name) in enumerate(zip(rows, names, strict=True))
    ]  # fmt: skip
    figure.layout.shapes = [_zero_mark(at) for at in range(len(rows))]
    figure.update_xaxes(showgrid=False, ticks="outside")
    figure.update_yaxes(visible=False, range=[-0.4, len(rows) - 0.2])
    return figure


def _zero_mark(at: int) -> dict[str, Any]:
    """Where the difference is 0, beside one interval: a line through all rows, as the grid's, would cross the words."""
    return {
        "type": "line", "layer": "below", "line": {"color": GREY, "width": 1},
        "xref": "x", "x0": 0, "x1": 0, "yref": "y", "y0": at - _BELOW, "y1": at + _BELOW,
    }  # fmt: skip


def _text(row: VerdictRow, name: str) -> str:
    number = "" if row.number is None else f" <i>#{row.number}</i>"
    return f"<b>{markup(name, _NAME)}</b>{number}<br>{_measured(row)}, {markup(row.verdict)}"


def _measured(row: VerdictRow) -> str:
    if row.verdict == "left early":
        return f"{format_signed(row.difference)} over {len(row.values)} seeds"
    return (
        f"{format_signed(row.difference)} ({format_signed(row.low)} to {format_signed(row.high)})"
    )


def _error_bars(row: VerdictRow, colour: str) -> dict[str, Any]:
    ends = np.array([[row.low], [row.difference], [row.high]])
    low, middle, high = ends if np.isfinite(ends).all() else np.zeros((3, 1))
    return whiskers(low, middle, high, colour, 6)
