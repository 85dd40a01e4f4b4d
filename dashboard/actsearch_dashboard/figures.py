"""Figures as pure functions of records. Nothing here knows Streamlit; all text from the database is escaped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import plotly.graph_objects as go

from actsearch.records import ActivationRecord, EvaluationRecord, TrialRecord, TrialState
from actsearch.report import Verdict, VerdictRow
from actsearch_dashboard.palette import BLUE, GREY, ORANGE, STATES, VERDICTS
from actsearch_dashboard.text import markup, number

__all__ = ["epoch_curves", "function", "history", "robust_range", "states", "verdict_intervals"]

_MANY = 2000  # from so many points on, the browser draws them with WebGL
_REACH = 4.0  # how many times the usual spread on the bad side is still shown
_MARGIN = 0.06  # air above and below, as a share of the range
_STEEP = 1000.0  # losses that span more than this factor are drawn on a logarithmic axis
_GRID = "rgba(128, 128, 128, 0.25)"
_LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}


def _laid_out(figure: go.Figure, x: str, y: str, height: int) -> go.Figure:
    figure.update_layout(
        xaxis_title=x,
        yaxis_title=y,
        height=height,
        legend=_LEGEND,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        hovermode="closest",
    )
    figure.update_xaxes(gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False)
    return figure


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
    _laid_out(figure, "trial", f"{markup(metric, 40)} (validation)", 380)
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
    many = len(trials) > _MANY
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
    _laid_out(figure, "", "", 90 + 46 * len(shown))
    figure.update_layout(showlegend=False)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(showgrid=False, automargin=True)
    return figure


def epoch_curves(
    evaluations: Sequence[EvaluationRecord], what: Literal["loss", "metric"], name: str
) -> go.Figure:
    """Training and validation curves over epochs, one line a seed; numbers that are not finite leave a gap.

    Args:
        evaluations: one a seed, with epochs.
        what: the loss, or the metric.
        name: the axis title.
    """
    figure = go.Figure()
    seen: list[float] = []
    for column, role, colour, dash in (
        (f"train_{what}", "training", ORANGE, "dash"),
        (f"valid_{what}", "validation", BLUE, "solid"),
    ):
        named = False
        for evaluation in evaluations:
            values = [_finite(getattr(epoch, column)) for epoch in evaluation.epochs]
            kept = [value for value in values if value is not None]
            if not kept:
                continue
            seen += kept
            figure.add_scatter(
                x=[epoch.epoch for epoch in evaluation.epochs],
                y=values,
                name=role,
                legendgroup=role,
                showlegend=not named,
                mode="lines+markers" if len(values) <= 30 else "lines",
                marker={"size": 5},
                line={"color": colour, "width": 2, "dash": dash},
                opacity=1.0 if len(evaluations) <= 3 else 0.6,
                hovertemplate=(
                    f"{role}, seed {evaluation.seed}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>"
                ),
            )
            named = True
    _laid_out(figure, "epoch", markup(name, 40), 320)
    if what == "loss" and seen and min(seen) > 0 and max(seen) / min(seen) > _STEEP:
        figure.update_yaxes(type="log")
    return figure


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def function(record: ActivationRecord, low: float = -6.0, high: float = 6.0) -> go.Figure:
    """The activation with its derivative; loads torch.

    Raises:
        ActsearchError: it cannot be read, or is not a function of one number.
    """
    from actsearch.export import plot

    drawn = plot(record, low, high)
    figure = go.Figure(drawn.data)  # without its template and title: ours follow the page's theme
    _laid_out(figure, "x", "", 380)
    figure.add_hline(y=0, line_width=1, line_color=GREY)
    figure.add_vline(x=0, line_width=1, line_color=GREY)
    return figure


def verdict_intervals(verdict: Verdict) -> go.Figure:
    """Difference of each finalist to the baseline with its interval, best on top."""
    rows = [row for row in verdict.rows if math.isfinite(row.difference)][::-1]
    figure = go.Figure()
    for row in rows:
        colour = VERDICTS.get(row.verdict, GREY)
        figure.add_scatter(
            x=[row.difference],
            y=[_finalist(row)],
            error_x=_whiskers(row, colour),
            mode="markers",
            marker={"color": colour, "size": 11},
            showlegend=False,
            text=[
                f"{markup(row.label)}<br>{row.difference:+.4f} "
                f"({row.low:+.4f} to {row.high:+.4f})<br>{markup(row.verdict)}"
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    better = "higher" if verdict.direction == "maximize" else "lower"
    title = (
        f"difference in {markup(verdict.metric, 30)} to {markup(verdict.baseline.label, 30)} "
        f"({better} is better), 95 % interval"
    )
    _laid_out(figure, title, "", 110 + 44 * len(rows))
    figure.add_vline(x=0, line_width=2, line_color=GREY)
    figure.update_yaxes(automargin=True, type="category")
    return figure


def _finalist(row: VerdictRow) -> str:
    return (
        f"{markup(row.label, 44)}  "
        if row.number is None
        else (f"{markup(row.label, 44)} <i>#{row.number}</i>  ")
    )


def _whiskers(row: VerdictRow, colour: str) -> dict[str, Any]:
    up, down = row.high - row.difference, row.difference - row.low
    usable = math.isfinite(up) and math.isfinite(down)
    return {
        "type": "data",
        "symmetric": False,
        "array": [up if usable else 0.0],
        "arrayminus": [down if usable else 0.0],
        "color": colour,
        "thickness": 2,
        "width": 6,
    }
