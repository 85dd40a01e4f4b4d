"""A picture of a function with its derivative."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from actsearch.activation import curve, describe

__all__ = ["plot"]

_BLUE, _ORANGE, _GREY = (
    "#0072B2",
    "#D55E00",
    "#999999",
)  # Okabe & Ito: safe for colour-blind readers


def plot(what: Any, low: float = -6.0, high: float = 6.0) -> go.Figure:
    """Draw an activation with its derivative.

    Args:
        what: catalog name, formula, Expression, candidate or trial.
        low: left end of the x axis.
        high: right end.

    Raises:
        ActivationError: if it is not a function of one number.
    """
    what = getattr(what, "candidate", what)
    sampled = curve(what, low, high)
    figure = go.Figure()
    figure.add_hline(y=0, line_width=1, line_color=_GREY)
    figure.add_vline(x=0, line_width=1, line_color=_GREY)
    figure.add_scatter(x=sampled.x, y=sampled.y, name="f(x)", line={"color": _BLUE, "width": 3})
    figure.add_scatter(
        x=sampled.x,
        y=sampled.dy,
        name="f′(x)",
        line={"color": _ORANGE, "width": 2, "dash": "dash"},
    )
    label = describe(what).label
    figure.update_layout(
        title={"text": label if len(label) < 80 else label[:79] + "…"},
        xaxis_title="x",
        template="plotly_white",
        margin={"l": 40, "r": 20, "t": 50, "b": 40},
    )
    return figure
