"""Values of a study's trials in order, and how many are in which state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from actsearch.records import TrialState
from actsearch.report import sample
from actsearch_dashboard.figures.common import add_line, fit_range, lay_out, robust_range
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.palette import ORANGE, STATES
from actsearch_dashboard.text import candidate_label, markup, number

__all__ = ["DRAWN", "history", "states"]

DRAWN = 150
"""So many trials are drawn at most, the best quarter of them and others evenly spread: more would cover each other."""

_ROW, _AROUND = 46, 90  # pixels: of a bar, and of the margins
_HOVERED = ["number", "label", "value", "reason"]


def history(
    trials: pd.DataFrame, direction: str | None, metric: str, log: bool = False
) -> go.Figure:
    """Values of the trials in order, with the best so far.

    Trials far below the others stand as triangles at the edge, failed ones as crosses there; a note counts the former.
    Of very many trained trials, :data:`DRAWN` stand for all; the line and the note are of all.

    Args:
        trials: of one study, as :data:`actsearch.report.COLUMNS`.
        direction: "maximize" or "minimize".
        metric: name of the value, for the axis.
        log: the axis of the values is logarithmic.
    """
    figure = go.Figure()
    trials = trials[
        ["state", *_HOVERED]
    ]  # rows are chosen several times, and few columns cost less
    complete = trials[trials["state"] == TrialState.COMPLETE.value]
    bounds = robust_range(complete["value"], direction, log) or ((0.1, 1.0) if log else (0.0, 1.0))
    edge = bounds[1] if direction == "minimize" else bounds[0]
    _best_line(figure, complete, direction)
    shown = sample(trials[trials["state"].isin(TRAINED)], direction, DRAWN)
    measured = shown[shown["state"] == TrialState.COMPLETE.value]
    within = measured["value"].between(*bounds)
    _points(figure, "complete", measured[within], STATES[TrialState.COMPLETE], "circle")
    down = "triangle-up" if direction == "minimize" else "triangle-down"
    outside = measured[~within]
    _points(figure, "complete, off the scale", outside, STATES[TrialState.COMPLETE], down, edge)
    for state, symbol in ((TrialState.PRUNED, "diamond-open"), (TrialState.FAILED, "x-thin-open")):
        chosen = shown[shown["state"] == state.value]
        _points(figure, state.value.lower(), chosen, STATES[state], symbol, edge, bounds)
    lay_out(figure, "trial", f"{markup(metric, 40)} (validation)", 380)
    fit_range(figure.update_yaxes, complete["value"], direction, log)
    if count := int((~complete["value"].between(*bounds)).sum()):
        where = "above" if direction == "minimize" else "below"
        text = f"{count:,} trial{'s' * (count > 1)} {where} this range, at the edge"
        figure.add_annotation(
            text=text, xref="paper", yref="paper", x=1, y=0.02, xanchor="right", yanchor="bottom",
            showarrow=False, font={"size": 12},
        )  # fmt: skip
    return figure


def _points(
    figure: go.Figure,
    name: str,
    trials: pd.DataFrame,
    colour: str,
    symbol: str,
    edge: float | None = None,
    bounds: tuple[float, float] | None = None,
) -> None:
    """Add trials at their values; with an edge, those (with bounds: those outside) stand there."""
    if trials.empty:
        return
    heights = trials["value"]
    if edge is not None:
        inside = heights.between(*bounds) if bounds is not None else heights != heights
        heights = heights.where(inside, edge)
    figure.add_trace(
        go.Scatter(
            x=trials["number"].tolist(),
            y=heights.tolist(),
            name=name,
            mode="markers",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 7 if symbol == "circle" else 9,
                "line": {"width": 2 if symbol.endswith("open") else 0, "color": colour},
            },
            text=[_hover(*row) for row in trials[_HOVERED].itertuples(index=False, name=None)],
            customdata=trials["number"].tolist(),
            hovertemplate="%{text}<extra></extra>",
            cliponaxis=False,  # markers at the edge are drawn whole
        )
    )


def _hover(trial: int, label: str, value: float, reason: str) -> str:
    lines = [f"<b>trial {trial}</b>", markup(candidate_label(label))]
    if not math.isnan(value):
        lines.append(number(value))
    if reason:
        lines.append(markup(reason, 80))
    return "<br>".join(lines)


def _best_line(figure: go.Figure, complete: pd.DataFrame, direction: str | None) -> None:
    measured = complete[np.isfinite(complete["value"].to_numpy())]
    if measured.empty:
        return
    values = measured["value"]
    best = (values.cummin() if direction == "minimize" else values.cummax()).to_numpy()
    corners = np.flatnonzero(
        np.diff(best, prepend=math.nan) != 0
    )  # the first is one, nan is not 0
    corners = np.union1d(corners, [len(best) - 1])
    numbers = measured["number"].to_numpy()[corners].tolist()
    add_line(
        figure, numbers, best[corners].tolist(), "best so far (optimistic)", ORANGE, shape="hv"
    )


def states(counts: Mapping[TrialState, int]) -> go.Figure:
    """How many trials are in each state, as bars; states without a trial are left out."""
    shown = [(state, count) for state, count in counts.items() if count][::-1]
    figure = go.Figure(
        go.Bar(
            x=[count for _, count in shown],
            y=[state.value.lower() for state, _ in shown],
            orientation="h",
            marker={"color": [STATES[state] for state, _ in shown]},
            text=[f"{count:,}" for _, count in shown],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,}<extra></extra>",
            width=0.55,
        )
    )
    lay_out(figure, "", "", _AROUND + _ROW * len(shown))
    figure.update_layout(showlegend=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(showgrid=False, automargin=True)
    return figure
