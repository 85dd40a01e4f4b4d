"""What became of a study's proposals, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from actsearch.records import TrialState
from actsearch_dashboard.figures.common import add_line, fit_range, lay_out
from actsearch_dashboard.filters import OPEN
from actsearch_dashboard.palette import BLUE, GREEN, ORANGE, STATES
from actsearch_dashboard.text import markup

__all__ = [
    "batches",
    "novelty",
    "finished_generations",
    "generation_values",
    "generations",
    "operator_heat",
    "operator_use",
]

_MOST = 150  # columns that a screen can show apart
_BAND = "rgba(0, 114, 178, 0.18)"  # BLUE, so pale that lines can be seen on it
_SHOWN = 12  # operators, the most used ones
_READ = 3000  # formulas: each has to be parsed when it is first met
_ROW, _AROUND = 24, 130  # pixels: of an operator, and of the axis and the margins
_NUMBERED = 12  # from so few generations on, each has its number at the axis
_HEAT = [[0.0, "rgba(0, 114, 178, 0.04)"], [1.0, BLUE]]


def batches(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Which batch of proposals each trial belongs to, from 0.

    A batch is written whole before any of it trains, and the next is proposed when all of it has ended: what was
    written after the same number of trainings had begun is one batch.

    Args:
        frame: trials in order, with ``created`` and ``started``.
    """
    if frame.empty:
        return np.array([], dtype=np.int64)
    created = _microseconds(frame["created"].ffill().bfill())
    begun = np.sort(_microseconds(frame["started"].dropna()))
    before = np.searchsorted(begun, created, side="left")
    steps = np.diff(np.maximum.accumulate(before), prepend=before[:1]) > 0
    return np.cumsum(steps).astype(np.int64)


def finished_generations(frame: pd.DataFrame, most: int = _MOST) -> pd.DataFrame:
    """The trials of a running study whose generations have ended, and fill their row of :func:`generations`.

    Half a generation would be shown as a strange one, and change with each refresh.

    Args:
        frame: trials in order, see :data:`actsearch.report.COLUMNS`.
        most: rows.
    """
    number = batches(frame)
    is_open = frame["state"].isin(OPEN).to_numpy()
    count = int(number[is_open].min() if is_open.any() else number[-1] + 1) if len(number) else 0
    together = max(1, -(-count // most))
    return frame[number < count // together * together]


def _microseconds(column: pd.Series) -> npt.NDArray[np.int64]:
    return column.to_numpy(dtype="datetime64[us]").astype(np.int64)


def generations(frame: pd.DataFrame, direction: str | None, most: int = _MOST) -> pd.DataFrame:
    """One row a batch; with more than ``most`` batches, several neighbouring ones make a row.

    Args:
        frame: trials in order, see :data:`actsearch.report.COLUMNS`.
        direction: "maximize" or "minimize".
        most: rows.

    Returns:
        ``generation`` (the first batch of the row), ``batches``, ``first`` and ``last`` trial, ``proposed``,
        ``complete``, ``best``, ``upper``, ``median``, ``lower`` (quartiles of values of complete trials), ``so_far``
        (best up to here), and shares of what was proposed: ``new`` (functions not seen before), ``new_shapes`` (not
        even mirrored), ``duplicates``, ``refused``, ``failed``.
    """
    rows = _by_trial(frame, most)
    groups = rows.groupby("row", sort=True)
    value = groups["value"]
    down = direction == "minimize"
    best = value.min() if down else value.max()
    table = pd.DataFrame(
        {
            "generation": groups["batch"].first(),
            "batches": groups["batch"].nunique(),
            "first": groups["number"].min(),
            "last": groups["number"].max(),
            "proposed": groups.size(),
            "complete": groups["complete"].sum(),
            "best": best,
            "upper": value.quantile(0.75),
            "median": value.median(),
            "lower": value.quantile(0.25),
            "so_far": (best.cummin() if down else best.cummax()).ffill(),
        }
    )
    for name in ("new", "new_shapes", "duplicates", "refused", "failed"):
        table[name] = groups[name].mean()
    return table.reset_index(drop=True)


def _by_trial(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """What of each trial counts, and in which row."""
    number = batches(frame)
    count = int(number[-1]) + 1 if len(number) else 0
    together = max(1, -(-count // most))
    state = frame["state"]
    complete = (state == "COMPLETE") & np.isfinite(frame["value"])
    return pd.DataFrame(
        {
            "row": number // together,
            "batch": number,
            "number": frame["number"],
            "complete": complete,
            "value": frame["value"].where(complete),
            "new": _first(frame["fingerprint"]),
            "new_shapes": _first(frame["mirror"]),
            "duplicates": state == "DUPLICATE",
            "refused": state == "REJECTED",
            "failed": state == "FAILED",
        }
    )


def _first(column: pd.Series) -> pd.Series:
    """Where an identity that is known occurs for the first time."""
    return (column != "") & ~column.duplicated()


def generation_values(
    table: pd.DataFrame, direction: str | None, metric: str, log: bool = False
) -> go.Figure:
    """Best, median and quartiles of each generation, with the best so far; on a logarithmic axis if asked for."""
    figure = go.Figure()
    complete = table[table["complete"] > 0]
    x = complete["generation"]
    figure.add_scatter(
        x=[*x, *x[::-1]],
        y=[*complete["upper"], *complete["lower"][::-1]],
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        mode="lines",
        name="middle half",
        hoverinfo="skip",
    )
    hover = "generation %{x}: median %{y:.5~g}<extra></extra>"
    add_line(figure, x, complete["median"], "median", BLUE, hover=hover, most_markers=40)
    figure.add_scatter(
        x=x,
        y=complete["best"],
        mode="markers",
        name="best of the generation",
        marker={"color": GREEN, "size": 6},
        hovertemplate="generation %{x}: best %{y:.5~g}<extra></extra>",
    )
    hover = "best so far %{y:.5~g}<extra></extra>"
    x, so_far = table["generation"], table["so_far"]
    add_line(figure, x, so_far, "best so far (optimistic)", ORANGE, shape="hv", hover=hover)
    lay_out(figure, "generation", f"{markup(metric, 40)} (validation)", 400, legend_below=True)
    _number_generations(figure, len(table))
    values = complete[["best", "median", "lower", "upper"]].to_numpy().ravel()
    fit_range(figure.update_yaxes, values, direction, log)
    return figure


def novelty(table: pd.DataFrame) -> go.Figure:
    """How much of each generation was new, and how much repeated, refused or failed."""
    figure = go.Figure()
    for column, name, colour in (
        ("new", "new functions", BLUE),
        ("new_shapes", "new, not even mirrored", GREEN),
        ("duplicates", "duplicates", STATES[TrialState.DUPLICATE]),
        ("refused", "refused", STATES[TrialState.REJECTED]),
        ("failed", "failed", STATES[TrialState.FAILED]),
    ):
        hover = f"generation %{{x}}: {name} %{{y:.0%}}<extra></extra>"
        x, y = table["generation"], table[column]
        add_line(figure, x, y, name, colour, hover=hover, most_markers=40)
    lay_out(figure, "generation", "share of what was proposed", 400, legend_below=True)
    _number_generations(figure, len(table))
    figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02])
    return figure


def operator_use(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    read_operators: Callable[[str], frozenset[str] | None],
    top: int = _SHOWN,
    sample: int = _READ,
) -> pd.DataFrame:
    """Share of each generation's formulas that use an operator; the most used operators first.

    Refused formulas and duplicates count: it is what the strategy proposes. What cannot be read counts for nothing.

    Args:
        frame: trials in order.
        table: what :func:`generations` made of them.
        read_operators: gives the operators of a formula; None where it cannot be read.
        top: how many operators.
        sample: of more trials than this, so many are read, evenly chosen.

    Returns:
        A row an operator, a column a generation; NaN in a generation of which nothing could be read.
    """
    step = max(1, -(-len(frame) // sample))
    chosen = frame.iloc[::step]
    column = np.searchsorted(table["first"].to_numpy(), chosen["number"].to_numpy(), "right") - 1
    operators = [read_operators(text) for text in chosen["formula"]]
    is_read = np.array([item is not None for item in operators], dtype=bool)
    totals = np.bincount(column[is_read], minlength=len(table)).astype(float)
    names = sorted(frozenset().union(*filter(None, operators)))
    if not names:
        return pd.DataFrame(columns=table["generation"])
    rows = {name: row for row, name in enumerate(names)}
    counts = np.zeros((len(names), len(table)))
    for item, generation in zip(operators, column, strict=True):
        for name in item or ():
            counts[rows[name], generation] += 1
    order = np.argsort(-counts.sum(axis=1), kind="stable")[:top]
    shares = counts[order] / np.where(totals > 0, totals, np.nan)
    return pd.DataFrame(shares, [names[row] for row in order], table["generation"])


def operator_heat(use: pd.DataFrame) -> go.Figure:
    """What :func:`operator_use` found, the most used operator on top."""
    rows = use.iloc[::-1]
    figure = go.Figure(
        go.Heatmap(
            x=list(rows.columns),
            y=[markup(name) for name in rows.index],
            z=[[None if np.isnan(value) else value for value in row] for row in rows.to_numpy()],
            zmin=0,
            zmax=1,
            colorscale=_HEAT,
            colorbar={"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
            hovertemplate="generation %{x}: %{z:.0%} use %{y}<extra></extra>",
            xgap=1 if len(rows.columns) <= 60 else 0,
            ygap=1,
        )
    )
    lay_out(figure, "generation", "", _AROUND + _ROW * len(rows))
    figure.update_yaxes(automargin=True, showgrid=False)
    figure.update_xaxes(showgrid=False)
    return _number_generations(figure, len(rows.columns))


def _number_generations(figure: go.Figure, generations: int) -> go.Figure:
    """There is no generation one and a half."""
    return figure.update_xaxes(dtick=1) if generations <= _NUMBERED else figure
