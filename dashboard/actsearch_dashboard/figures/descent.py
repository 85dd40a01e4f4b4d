"""Who descends from whom, and which operations make children that improve."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from actsearch_dashboard.figures.common import lay_out, whiskers
from actsearch_dashboard.palette import BLUE, ORANGE
from actsearch_dashboard.text import markup, number

__all__ = ["Ancestry", "ancestry", "ancestry_figure", "operation_shares", "operations"]

_EDGE = "rgba(140, 140, 140, 0.5)"  # paler than the points that they join
_Z = 1.959963984540054  # 97.5 % of the normal distribution
# Pixels for each step back, and for all of them at most: a long line of descent is drawn tighter.
_ROW, _HEIGHT = 84, 1200
_OPERATION, _AROUND = 30, 110  # pixels: of an operation, and of the axis and the margins


def operations(frame: pd.DataFrame, direction: str | None) -> pd.DataFrame:
    """How often each operation's children are better than their best parent.

    Args:
        frame: trials in order, see :data:`actsearch.report.COLUMNS`.
        direction: "maximize" or "minimize".

    Returns:
        One row an operation, most children first: ``operation``, ``children`` (complete), ``compared`` (those with a
        parent that has a value), ``improved`` (share of these), its 95 % interval by Wilson ``low`` and ``high``,
        ``median_gain`` (over the best parent, positive is better), ``records`` (children that were the best so far).
    """
    sign = -1.0 if direction == "minimize" else 1.0
    complete = frame[(frame["state"] == "COMPLETE") & np.isfinite(frame["value"])]
    good = (sign * complete["value"]).set_axis(complete["number"])
    parents = complete.set_index("number")["parents"].explode().dropna()
    known = good.reindex(parents.to_numpy(dtype="int64"))
    best_parent = known.groupby(parents.index.to_numpy()).max()
    gain = good - best_parent.reindex(good.index)
    before = good.cummax().shift(fill_value=-np.inf)
    rows = pd.DataFrame(
        {
            "operation": complete["operation"].to_numpy(),
            "gain": gain.to_numpy(),
            "improved": np.where(gain.isna(), np.nan, gain > 0),
            "record": (good > before).to_numpy(),
        }
    )
    groups = rows.groupby("operation", sort=False)
    table = pd.DataFrame(
        {
            "children": groups.size(),
            "compared": groups["gain"].count(),
            "improved": groups["improved"].mean(),
            "median_gain": groups["gain"].median(),
            "records": groups["record"].sum(),
        }
    ).reset_index()
    table["low"], table["high"] = _wilson(table["improved"], table["compared"])
    return table.sort_values("children", ascending=False, kind="stable", ignore_index=True)


def _wilson(share: pd.Series, count: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Wilson's interval of a share (Wilson 1927)."""
    n = count.where(count > 0)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return (middle - half).clip(lower=0.0), (middle + half).clip(upper=1.0)


def operation_shares(table: pd.DataFrame) -> go.Figure:
    """Share of each operation's children that improve, with its interval; the best on top."""
    rows = table[table["compared"] > 0].sort_values("improved", kind="stable")
    figure = go.Figure(
        go.Scatter(
            x=rows["improved"],
            y=[
                f"{markup(name or 'by hand', 30)} ({count})  "
                for name, count in zip(rows["operation"], rows["compared"], strict=True)
            ],
            error_x=whiskers(rows["low"], rows["improved"], rows["high"], BLUE, 5),
            mode="markers",
            marker={"color": BLUE, "size": 10},
            hovertemplate="%{y}: %{x:.0%} better than their best parent<extra></extra>",
        )
    )
    lay_out(
        figure,
        "children better than their best parent, 95 % interval",
        "",
        _AROUND + _OPERATION * len(rows),
    )
    figure.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(automargin=True, type="category")
    return figure


@dataclass(frozen=True)
class Ancestor:
    """One trial of an ancestry: how many steps back by the longest way, and its line of the table of trials."""

    number: int
    steps: int
    parents: tuple[int, ...]
    operation: str
    value: float
    label: str


@dataclass(frozen=True)
class Ancestry:
    """A candidate, first, and what it descends from, nearest first; ``left_out`` says how many more there are."""

    nodes: tuple[Ancestor, ...]
    left_out: int


def ancestry(frame: pd.DataFrame, number: int, most: int = 40) -> Ancestry:
    """What a trial descends from, by way of its parents.

    Args:
        frame: trials in order of their numbers.
        number: of the trial.
        most: how many trials are kept, the nearest.
    """
    rows = {int(trial): row for row, trial in enumerate(frame["number"])}
    parents = frame["parents"].tolist()
    if number not in rows:
        return Ancestry((), 0)
    near = {number: 0}
    waiting = deque([number])
    while waiting:
        child = waiting.popleft()
        for parent in parents[rows[child]]:
            # a damaged row may name itself
            if parent in rows and parent < child and parent not in near:
                near[parent] = near[child] + 1
                waiting.append(parent)
    kept = sorted(near, key=lambda trial: (near[trial], -trial))[:most]
    steps = dict.fromkeys(kept, 0)
    # the longest way, so that each parent stands above its children
    for child in sorted(kept, reverse=True):
        for parent in parents[rows[child]]:
            if parent in steps and parent < child:
                steps[parent] = max(steps[parent], steps[child] + 1)
    nodes = []
    for trial in sorted(kept, key=lambda trial: (steps[trial], -trial)):
        row = frame.iloc[rows[trial]]
        own = tuple(parent for parent in parents[rows[trial]] if parent in near)
        nodes.append(
            Ancestor(trial, steps[trial], own, row["operation"], float(row["value"]), row["label"])
        )
    return Ancestry(tuple(nodes), len(near) - len(kept))


def ancestry_figure(shown: Ancestry) -> go.Figure:
    """The tree, the candidate at the bottom; each point's ``customdata`` is its number."""
    positions = _position_nodes(shown)
    figure = go.Figure()
    lines: tuple[list[float | None], list[float | None]] = ([], [])
    for node in shown.nodes:
        for parent in node.parents:
            if parent in positions:
                for axis, (one, other) in enumerate(
                    zip(positions[node.number], positions[parent], strict=True)
                ):
                    lines[axis].extend((one, other, None))
    figure.add_scatter(
        x=lines[0], y=lines[1], mode="lines", line={"color": _EDGE, "width": 1.5}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=[positions[node.number][0] for node in shown.nodes],
        y=[positions[node.number][1] for node in shown.nodes],
        mode="markers+text",
        marker={
            "color": [ORANGE if node.steps == 0 else BLUE for node in shown.nodes],
            "size": 13,
        },
        text=[_caption(node) for node in shown.nodes],
        textposition=[_text_position(node) for node in shown.nodes],
        textfont={"size": 11},
        customdata=[node.number for node in shown.nodes],
        hovertext=[
            f"trial {node.number}, {markup(node.operation or 'by hand', 30)}: {number(node.value)}"
            f"<br>{markup(node.label, 100)}"
            for node in shown.nodes
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    levels = max((node.steps for node in shown.nodes), default=0) + 1
    lay_out(figure, "", "", min(80 + _ROW * levels, _HEIGHT))
    figure.update_layout(showlegend=False, margin={"l": 20, "r": 20, "t": 20, "b": 20})
    figure.update_xaxes(visible=False, range=[-0.02, 1.14])  # words stand right of the points
    figure.update_yaxes(visible=False, range=[-0.6, levels - 0.4])  # and below the lowest
    return figure


def _position_nodes(shown: Ancestry) -> dict[int, tuple[float, float]]:
    """Where each trial stands: as high as it is many steps back, in its level near its children."""
    levels: dict[int, list[Ancestor]] = {}
    for node in shown.nodes:
        levels.setdefault(node.steps, []).append(node)
    positions: dict[int, tuple[float, float]] = {}
    for step, nodes in sorted(levels.items()):
        wished = {node.number: _preferred_position(node, shown, positions) for node in nodes}
        ordered = sorted(nodes, key=lambda node: (wished[node.number], node.number))
        for index, node in enumerate(ordered):
            positions[node.number] = ((index + 0.5) / len(ordered), float(step))
    return positions


def _preferred_position(
    node: Ancestor, shown: Ancestry, positions: dict[int, tuple[float, float]]
) -> float:
    above = [
        positions[child.number][0]
        for child in shown.nodes
        if node.number in child.parents and child.number in positions
    ]
    return sum(above) / len(above) if above else 0.5


def _text_position(node: Ancestor) -> str:
    """Where no line of the tree crosses its words: below the candidate, above what has no parents."""
    if node.steps == 0:
        return "bottom center"
    return "middle right" if node.parents else "top center"


def _caption(node: Ancestor) -> str:
    operation = markup(node.operation or "by hand", 14)
    return f" #{node.number} {operation} {number(node.value)}<br> {markup(node.label, 24)}"
