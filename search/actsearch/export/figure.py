"""A picture of a function with its derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from actsearch.activations import Activation, curve, describe

__all__ = ["plot"]

# Okabe & Ito: safe for colour-blind readers
_BLUE, _ORANGE, _GREY = (
    "#0072B2",
    "#D55E00",
    "#999999",
)

_CHANNELS = 32  # more lines are no easier to read


def plot(what: Any, low: float = -6.0, high: float = 6.0) -> go.Figure:
    """Draw an activation with its derivative.

    Args:
        what: catalog name, formula, Expression, candidate, trial, or a module with what it has learned: with
            parameters per channel some of its channels as thin lines, and the function of the averaged parameters.
        low: left end of the x axis.
        high: right end.

    Returns:
        A plotly figure.

    Raises:
        ActivationError: if it is not a function of one number.

    Example:
        >>> figure = acs.plot("gelu", low=-4, high=4)  # a plotly figure: figure.show()
        >>> [line.name for line in figure.data]
        ['f(x)', 'f′(x)']
    """
    sampled = curve(what, low, high)
    figure = go.Figure()
    figure.add_hline(y=0, line_width=1, line_color=_GREY)
    figure.add_vline(x=0, line_width=1, line_color=_GREY)
    for channel in _some_channels(what):
        one = curve(what, low, high, channel=channel)
        figure.add_scatter(
            x=one.x,
            y=one.y,
            name=f"channel {channel}",
            line={"color": _BLUE, "width": 1},
            opacity=0.25,
            showlegend=False,
        )
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


def _some_channels(what: Any) -> list[int]:
    """At most 32 channels of a module with parameters per channel, evenly chosen."""
    count = what.channels if isinstance(what, Activation) and what.channels else 0
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, _CHANNELS))})
