"""What all figures have in common."""

from __future__ import annotations

import math

import plotly.graph_objects as go

__all__ = ["GRID", "LEGEND", "MANY", "finite", "laid_out"]

MANY = 2000
"""From so many points on, the browser draws them with WebGL."""

GRID = "rgba(128, 128, 128, 0.25)"
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}


def laid_out(figure: go.Figure, x: str, y: str, height: int) -> go.Figure:
    """Axis titles, height in pixels, and what all figures have in common; the colours are the page's theme's."""
    figure.update_layout(
        xaxis_title=x,
        yaxis_title=y,
        height=height,
        legend=LEGEND,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        hovermode="closest",
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def finite(value: float | None) -> float | None:
    """The value, or None where it is no finite number: a gap in a line."""
    return value if value is not None and math.isfinite(value) else None
