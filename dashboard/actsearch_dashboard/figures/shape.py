"""A learned curve, where its inputs lay, and a name for it."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from actsearch.records import Curve
from actsearch.report import LearnedCurve
from actsearch_dashboard.figures.common import add_axes_through_zero, add_line, lay_out
from actsearch_dashboard.palette import BLUE, INPUTS, ORANGE

__all__ = ["fit_to", "learned_shape"]

_TALL = 2.2  # the highest density takes 1 / 2.2 of the height: the curve is what is looked at


def learned_shape(learned: LearnedCurve, name: Curve | None = None) -> go.Figure:
    """A learned curve over the density of its inputs.

    Args:
        learned: the curve.
        name: a function that stands for it, drawn with the factor and offset that come nearest.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=learned.x, y=learned.density, yaxis="y2", name="inputs", mode="lines", fill="tozeroy",
        line={"color": INPUTS, "width": 0}, hovertemplate="%{y:.1%} of the inputs<extra></extra>",
    )  # fmt: skip
    add_line(
        figure,
        learned.x,
        learned.y,
        "learned",
        BLUE,
        width=3,
        dash="solid",
        hover="%{y:.4g}<extra>learned</extra>",
    )
    if name is not None:
        values = fit_to(learned, name)
        add_line(
            figure,
            learned.x,
            values,
            "name",
            ORANGE,
            width=2,
            dash="dash",
            hover="%{y:.4g}<extra>name</extra>",
        )
    lay_out(figure, "x", "", 360)
    add_axes_through_zero(figure)
    figure.update_layout(
        yaxis2={
            "visible": False,
            "range": [0, _TALL * max(learned.density) or 1.0],
            "side": "right",
        },
        yaxis={"overlaying": "y2", "tickmode": "auto"},
    )
    return figure


def fit_to(learned: LearnedCurve, name: Curve) -> np.ndarray:
    """A function at the points of a curve, with the factor and offset that come nearest to it; NaN where not known."""
    x, y = np.array(learned.x), np.array(learned.y)
    values = np.interp(x, name.x, name.y, left=np.nan, right=np.nan)
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.full(len(x), np.nan)
    weights = np.sqrt(np.array(learned.density)[known] + 1e-12)
    columns = np.stack([values[known], np.ones(int(known.sum()))], axis=1)
    factor, offset = np.linalg.lstsq(weights[:, None] * columns, weights * y[known], rcond=None)[0]
    return np.asarray(factor * values + offset)
