"""The figures of a report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from actsearch.activations import curve
from actsearch.errors import ActsearchError
from actsearch.records import TrialRecord, TrialState
from actsearch.report import Verdict, curve_frame
from actsearch.report.verdict.table import shorten

__all__ = ["UNCHANGED", "draw_curves", "draw_functions", "draw_intervals", "draw_search"]

UNCHANGED = "model unchanged"
"""Label of the trial of the model unchanged."""

# Okabe & Ito: safe for colour-blind readers
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_WORDS = {"better": "#009E73", "worse": "#D55E00", "equivalent": "#56B4E9"}
_GREY = "#767676"
_LABEL = 40
_ROW, _AROUND = 40, 110  # pixels: of a line of intervals, and of axis and margins
_HEIGHT = 360


def draw_intervals(verdict: Verdict) -> go.Figure:
    """Difference of each finalist to the baseline, with its interval; best on top."""
    figure = go.Figure()
    for row in reversed(verdict.rows):
        bars = None
        if math.isfinite(row.low) and math.isfinite(row.high):
            bars = {
                "type": "data",
                "symmetric": False,
                "array": [row.high - row.difference],
                "arrayminus": [row.difference - row.low],
            }
        figure.add_scatter(
            x=[row.difference],
            y=[f"{shorten(row.label, _LABEL)} "],
            error_x=bars,
            mode="markers",
            marker={"size": 10, "color": _WORDS.get(row.verdict, _GREY)},
            hovertext=[verdict.remark(row)],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line_width=1, line_color=_GREY)
    _lay_out(figure, f"difference in {verdict.metric} to {verdict.baseline.label}", "")
    figure.update_layout(height=_AROUND + _ROW * len(verdict.rows), showlegend=False)
    return figure


def draw_functions(formulas: Mapping[str, object]) -> go.Figure | None:
    """Functions of one number over the same inputs, by their label; None where there is none."""
    figure = go.Figure()
    for index, (label, what) in enumerate(formulas.items()):
        try:
            sampled = curve(what, -4.0, 4.0, 401)
        except ActsearchError:  # of several numbers, or not to be read
            continue
        figure.add_scatter(
            x=sampled.x, y=sampled.y, name=shorten(label, _LABEL),
            line={"color": _COLOURS[index % len(_COLOURS)], "width": 2},
        )  # fmt: skip
    if not figure.data:
        return None
    _lay_out(figure, "x", "f(x)")
    return figure


def draw_search(trials: Sequence[TrialRecord], metric: str, direction: str | None) -> go.Figure:
    """Every complete trial's value, and the best so far."""
    complete = [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE
        and trial.value is not None
        and math.isfinite(trial.value)
    ]
    best: list[float] = []
    choose = min if direction == "minimize" else max
    for trial in complete:
        value = trial.value or 0.0
        best.append(value if not best else choose(best[-1], value))
    numbers = [trial.number for trial in complete]
    figure = go.Figure()
    figure.add_scatter(
        x=numbers, y=[trial.value for trial in complete], mode="markers", name="trial",
        marker={"color": _GREY, "size": 6},
        hovertext=[f"trial {trial.number}: {trial.candidate.label}" for trial in complete],
    )  # fmt: skip
    figure.add_scatter(
        x=numbers, y=best, name="best so far", line={"color": _COLOURS[0], "shape": "hv"}
    )
    _lay_out(figure, "trial", f"{metric} (validation)")
    return figure


def draw_curves(trials: Mapping[str, TrialRecord], metric: str) -> go.Figure | None:
    """The metric on validation data by epoch, the mean over seeds; None where nothing was measured."""
    figure = go.Figure()
    colours = iter(itertools.cycle(_COLOURS))
    for label, trial in trials.items():
        colour = _GREY if label == UNCHANGED else next(colours)  # as among the functions
        frame = curve_frame(trial)
        means = frame.groupby("epoch")["valid_metric"].mean().dropna()
        if means.empty:
            continue
        figure.add_scatter(
            x=list(means.index), y=list(means), name=shorten(label, _LABEL), line={"color": colour, "width": 2},
        )  # fmt: skip
    if not figure.data:
        return None
    _lay_out(figure, "epoch", f"{metric} (validation)")
    return figure


def _lay_out(figure: go.Figure, x: str, y: str) -> None:
    figure.update_layout(
        template="plotly_white",
        height=_HEIGHT,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": -0.25},
    )
    figure.update_xaxes(title=x, automargin=True)
    figure.update_yaxes(title=y, automargin=True)
