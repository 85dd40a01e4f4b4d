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
from actsearch_dashboard.text import markup

__all__ = ["verdict_intervals"]

_ROW, _AROUND = 44, 110  # pixels: of a finalist, and of the axis and the margins


def verdict_intervals(verdict: Verdict) -> go.Figure:
    """Difference of each finalist to the baseline with its interval, best on top."""
    rows = [row for row in verdict.rows if math.isfinite(row.difference)][::-1]
    figure = go.Figure()
    for row in rows:
        colour = VERDICTS.get(row.verdict, GREY)
        figure.add_scatter(
            x=[row.difference],
            y=[_finalist(row)],
            error_x=_error_bars(row, colour),
            mode="markers",
            marker={"color": colour, "size": 11},
            showlegend=False,
            text=[f"{markup(row.label)}<br>{_measured(row)}<br>{markup(row.verdict)}"],
            hovertemplate="%{text}<extra></extra>",
        )
    better = "higher" if verdict.direction == "maximize" else "lower"
    title = (
        f"difference in {markup(verdict.metric, 30)} to {markup(verdict.baseline.label, 30)} "
        f"({better} is better), 95 % interval"
    )
    lay_out(figure, title, "", _AROUND + _ROW * len(rows))
    figure.add_vline(x=0, line_width=2, line_color=GREY)
    figure.update_yaxes(automargin=True, type="category")
    return figure


def _finalist(row: VerdictRow) -> str:
    return (
        f"{markup(row.label, 44)}  "
        if row.number is None
        else (f"{markup(row.label, 44)} <i>#{row.number}</i>  ")
    )


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
