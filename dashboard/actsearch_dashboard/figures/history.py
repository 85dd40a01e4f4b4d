"""Values of a study's trials in order, and how many are in which state."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go

from actsearch.records import TrialRecord, TrialState
from actsearch_dashboard.figures.common import MANY, laid_out
from actsearch_dashboard.palette import ORANGE, STATES
from actsearch_dashboard.text import markup, number

__all__ = ["history", "robust_range", "states"]

_REACH = 4.0  # how many times the usual spread on the bad side is still shown
_MARGIN = 0.06  # air above and below, as a share of the range


def robust_range(values: Iterable[float], direction: str | None) -> tuple[float, float] | None:
    """Vertical range in which the good values can be told apart, whatever a few terrible ones are.

    The good end is the best value. On the bad side the range ends at the worst value, or at the median minus
    ``_REACH`` times the larger of the quartiles' distance and the best value's distance from the median.

    Args:
        values: finite or not; those that are not are left out.
        direction: "maximize" or "minimize".

    Returns:
        Low and high end with some air, or None without a value.
    """
    sign = -1.0 if direction == "minimize" else 1.0
    finite = sorted(sign * value for value in values if math.isfinite(value))
    if not finite:
        return None
    worst, best, middle = finite[0], finite[-1], statistics.median(finite)
    if len(finite) >= 4:
        first, _, third = statistics.quantiles(finite, n=4, method="inclusive")
        usual = max(third - first, best - middle)
        if usual > 0:
            worst = max(worst, middle - _REACH * usual)
    air = _MARGIN * (best - worst) or _MARGIN * abs(best) or _MARGIN
    low, high = sorted((sign * (worst - air), sign * (best + air)))
    return low, high


def history(trials: Sequence[TrialRecord], direction: str | None, metric: str) -> go.Figure:
    """Values of the trials in order, with the best so far.

    Trials far below the others stand as triangles at the edge, failed ones as crosses there; a note counts the former.

    Args:
        trials: of one study, in order.
        direction: "maximize" or "minimize".
        metric: name of the value, for the axis.
    """
    figure = go.Figure()
    measured = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    bounds = robust_range((_value(trial) for trial in measured), direction) or (0.0, 1.0)
    edge = bounds[1] if direction == "minimize" else bounds[0]
    inside = [trial for trial in measured if _within(_value(trial), bounds)]
    outside = [trial for trial in measured if not _within(_value(trial), bounds)]
    _best_line(figure, measured, direction)
    _points(figure, "complete", inside, STATES[TrialState.COMPLETE], "circle")
    down = "triangle-up" if direction == "minimize" else "triangle-down"
    _points(figure, "complete, off the scale", outside, STATES[TrialState.COMPLETE], down, edge)
    for state, symbol in ((TrialState.PRUNED, "diamond-open"), (TrialState.FAILED, "x-thin-open")):
        chosen = [trial for trial in trials if trial.state is state]
        _points(figure, state.value.lower(), chosen, STATES[state], symbol, edge, bounds)
    laid_out(figure, "trial", f"{markup(metric, 40)} (validation)", 380)
    figure.update_yaxes(range=list(bounds))
    if outside:
        where = "above" if direction == "minimize" else "below"
        text = f"{len(outside)} trial{'s' * (len(outside) > 1)} {where} this range, at the edge"
        figure.add_annotation(
            text=text, xref="paper", yref="paper", x=1, y=0.02, xanchor="right", yanchor="bottom",
            showarrow=False, font={"size": 12},
        )  # fmt: skip
    return figure


def _value(trial: TrialRecord) -> float:
    return math.nan if trial.value is None else trial.value


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _points(
    figure: go.Figure,
    name: str,
    trials: Sequence[TrialRecord],
    colour: str,
    symbol: str,
    edge: float | None = None,
    bounds: tuple[float, float] | None = None,
) -> None:
    """Add trials at their values; with an edge, those (with bounds: those outside) stand there."""
    if not trials:
        return
    heights = [
        _value(trial)
        if edge is None or (bounds is not None and _within(_value(trial), bounds))
        else edge
        for trial in trials
    ]
    many = len(trials) > MANY
    trace = (go.Scattergl if many else go.Scatter)(
        x=[trial.number for trial in trials],
        y=heights,
        name=name,
        mode="markers",
        marker={
            "color": colour,
            "symbol": symbol,
            "size": 7 if symbol == "circle" else 9,
            "opacity": 0.85,
            "line": {"width": 2 if symbol.endswith("open") else 0, "color": colour},
        },
        text=[_hover(trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )
    if not many:
        trace.cliponaxis = False  # markers at the edge are drawn whole
    figure.add_trace(trace)


def _hover(trial: TrialRecord) -> str:
    lines = [f"<b>trial {trial.number}</b>", markup(trial.candidate.label or "your model")]
    if trial.value is not None:
        lines.append(number(trial.value))
    if trial.reason:
        lines.append(markup(trial.reason, 80))
    return "<br>".join(lines)


def _best_line(figure: go.Figure, trials: Sequence[TrialRecord], direction: str | None) -> None:
    choose = min if direction == "minimize" else max
    xs: list[int] = []
    ys: list[float] = []
    for trial in trials:
        value = _value(trial)
        if math.isfinite(value):
            xs.append(trial.number)
            ys.append(choose(ys[-1], value) if ys else value)
    if xs:
        figure.add_scatter(
            x=xs,
            y=ys,
            name="best so far (optimistic)",
            mode="lines",
            line={"color": ORANGE, "width": 2, "shape": "hv"},
            hoverinfo="skip",
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
            text=[str(count) for _, count in shown],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x}<extra></extra>",
            width=0.55,
        )
    )
    laid_out(figure, "", "", 90 + 46 * len(shown))
    figure.update_layout(showlegend=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(showgrid=False, automargin=True)
    return figure
