"""What cannot all be had at once: which candidates no other one beats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from actsearch.pareto import front
from actsearch_dashboard.figures.common import MANY, lay_out, panel_axes, robust_range
from actsearch_dashboard.palette import BLUE, ORANGE
from actsearch_dashboard.text import markup, number

__all__ = ["pareto_mask", "tradeoff"]


def pareto_mask(points: pd.DataFrame, directions: Mapping[str, str]) -> pd.Series:
    """Which rows no other row is as good as in all columns and better in one; those with a gap never are.

    Args:
        points: one row a candidate.
        directions: "maximize" or "minimize" by column.
    """
    known = points[list(directions)]
    known = known.loc[np.isfinite(known.to_numpy(dtype=float)).all(axis=1)]
    chosen = front(known.to_numpy().tolist(), list(directions.values()))
    is_on_front = pd.Series(False, index=points.index)
    is_on_front.loc[known.index[chosen]] = True
    return is_on_front


def tradeoff(
    points: pd.DataFrame, directions: Mapping[str, str], names: Mapping[str, str]
) -> go.Figure:
    """The first column against each other one; the front of all of them together is highlighted.

    Args:
        points: one row a candidate with ``number``, ``label`` and the columns.
        directions: "maximize" or "minimize" by column, two columns or more.
        names: title of each column's axis.
    """
    first, *others = directions
    chosen = pareto_mask(points, directions)
    figure = make_subplots(rows=1, cols=len(others), shared_yaxes=True, horizontal_spacing=0.05)
    bounds = robust_range(points[first], directions[first])
    upwards: dict[str, Any] = {"title": {"text": ""}}
    if bounds is not None:
        upwards["range"] = list(bounds)
    settings: dict[str, Any] = {}
    traces = []
    for index, other in enumerate(others):
        for rows, name, colour, size in (
            (points[~chosen], "other candidates", BLUE, 6),
            (points[chosen].sort_values(other), "Pareto front", ORANGE, 9),
        ):
            traces.append(_points(rows, other, first, name, colour, size, names, index == 0))
        x, y = panel_axes(index)
        settings |= {x: {"title": {"text": markup(names[other], 44)}}, y: upwards}
    columns = [1 + index // 2 for index in range(len(traces))]
    figure.add_traces(traces, [1] * len(traces), columns)
    settings["yaxis"] = {**upwards, "title": {"text": markup(names[first], 44)}}
    return lay_out(figure, "", "", 400, settings=settings)


def _points(
    rows: pd.DataFrame,
    x: str,
    y: str,
    name: str,
    colour: str,
    size: int,
    names: Mapping[str, str],
    legend: bool,
) -> go.Scatter | go.Scattergl:
    return (go.Scattergl if len(rows) > MANY else go.Scatter)(
        x=rows[x],
        y=rows[y],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        marker={"color": colour, "size": size},
        text=[
            f"trial {trial}: {markup(label, 80)}<br>{markup(names[y], 40)} {number(high)}"
            f"<br>{markup(names[x], 40)} {across:.4g}"
            for trial, label, high, across in zip(
                rows["number"], rows["label"], rows[y], rows[x], strict=True
            )
        ],
        hovertemplate="%{text}<extra></extra>",
    )
