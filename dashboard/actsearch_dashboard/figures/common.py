"""What all figures have in common."""

from __future__ import annotations

import math
import re

import plotly.graph_objects as go

__all__ = ["GRID", "LEGEND", "MANY", "finite", "laid_out", "legend_below"]

MANY = 2000
"""From so many points on, the browser draws them with WebGL."""

GRID = "rgba(128, 128, 128, 0.25)"
_AXIS = re.compile("[xy]axis").match
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}


def laid_out(figure: go.Figure, x: str, y: str, height: int) -> go.Figure:
    """Axis titles, height in pixels, and what all figures have in common; the colours are the page's theme's."""
    axes = {name: figure.layout[name].to_plotly_json() for name in figure.layout if _AXIS(name)}
    axes["xaxis"] = {**axes.get("xaxis", {}), "title": {"text": x}}
    axes["yaxis"] = {**axes.get("yaxis", {}), "title": {"text": y}}
    figure.update_layout(  # all at once and overwriting, which takes a tenth of the time: a live page is drawn often
        {
            **{
                name: {**axis, "gridcolor": GRID, "zeroline": False} for name, axis in axes.items()
            },
            "height": height,
            "legend": LEGEND,
            "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
            "hovermode": "closest",
        },
        overwrite=True,
    )
    return figure


def legend_below(figure: go.Figure) -> go.Figure:
    """Put the legend under the axis: names that are long would run into the buttons at the top."""
    figure.update_layout(
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0},
        margin={"t": 30},
    )
    return figure


def finite(value: float | None) -> float | None:
    """The value, or None where it is no finite number: a gap in a line."""
    return value if value is not None and math.isfinite(value) else None
