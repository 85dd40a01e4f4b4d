"""What all figures have in common."""

from __future__ import annotations

import math
import re

import plotly.graph_objects as go

__all__ = ["GRID", "LEGEND", "MANY", "finite", "laid_out"]

MANY = 2000
"""From so many points on, the browser draws them with WebGL."""

GRID = "rgba(128, 128, 128, 0.25)"
_AXIS = re.compile("[xy]axis").match
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}
_BELOW = {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0}


def laid_out(
    figure: go.Figure, x: str, y: str, height: int, legend_below: bool = False
) -> go.Figure:
    """Axis titles, height in pixels, and what all figures have in common; the colours are the page's theme's.

    Names in the legend that are long would run into the buttons at the top: such a legend stands below the axis.
    """
    axes = {name: figure.layout[name].to_plotly_json() for name in figure.layout if _AXIS(name)}
    axes["xaxis"] = {**axes.get("xaxis", {}), "title": {"text": x}}
    axes["yaxis"] = {**axes.get("yaxis", {}), "title": {"text": y}}
    figure.update_layout(  # all at once and overwriting, which takes a tenth of the time: a live page is drawn often
        {
            **{
                name: {**axis, "gridcolor": GRID, "zeroline": False} for name, axis in axes.items()
            },
            "height": height,
            "legend": _BELOW if legend_below else LEGEND,
            "margin": {"l": 60, "r": 20, "t": 30 if legend_below else 40, "b": 50},
            "hovermode": "closest",
        },
        overwrite=True,
    )
    return figure


def finite(value: float | None) -> float | None:
    """The value, or None where it is no finite number: a gap in a line."""
    return value if value is not None and math.isfinite(value) else None
