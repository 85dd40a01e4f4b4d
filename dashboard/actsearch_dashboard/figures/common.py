"""What all figures have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from actsearch_dashboard.palette import GREY

__all__ = [
    "MANY", "add_axes_through_zero", "add_line", "finite", "fit_range", "lay_out", "robust_range", "whiskers",
]  # fmt: skip

_REACH = 4.0  # how many times the usual distance on the bad side is still shown: beyond it, few trials that work lie
_MARGIN = 0.06  # air above and below, as a share of the range: markers are drawn whole
MANY = 2000
"""From so many points on, the browser draws them with WebGL: as SVG, each of them is an element of the page."""

_GRID = "rgba(128, 128, 128, 0.25)"  # to be seen on light and on dark pages
_AXIS = re.compile("[xy]axis").match
_LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}
_BELOW = {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0}


def lay_out(
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
                name: {**axis, "gridcolor": _GRID, "zeroline": False}
                for name, axis in axes.items()
            },
            "height": height,
            "legend": _BELOW if legend_below else _LEGEND,
            "margin": {"l": 60, "r": 20, "t": 30 if legend_below else 40, "b": 50},
            "hovermode": "closest",
        },
        overwrite=True,
    )
    return figure


def add_line(
    figure: go.Figure,
    x: Any,
    y: Any,
    name: str,
    colour: str,
    *,
    width: float = 2,
    dash: str = "solid",
    shape: str = "linear",
    hover: str = "",
    most_markers: int = 0,
    **more: Any,
) -> None:
    """A line; numbers that are not finite leave a gap.

    Args:
        figure: where it is added.
        x: across.
        y: upwards.
        name: in the legend, escaped.
        colour: of the line.
        width: in pixels.
        dash: as Plotly's.
        shape: "hv" for steps.
        hover: template of what is said of a point; "" says nothing.
        most_markers: of so many points at most, each has a marker.
        more: for Plotly.
    """
    figure.add_scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers" if len(x) <= most_markers else "lines",
        line={"color": colour, "width": width, "dash": dash, "shape": shape},
        marker={"size": 5},
        **({"hovertemplate": hover} if hover else {"hoverinfo": "skip"}),
        **more,
    )


def add_axes_through_zero(figure: go.Figure) -> None:
    """Thin lines where x and where y is 0, behind the curves."""
    figure.add_hline(y=0, line_width=1, line_color=GREY, layer="below")
    figure.add_vline(x=0, line_width=1, line_color=GREY, layer="below")


def whiskers(low: Any, middle: Any, high: Any, colour: str, width: int) -> dict[str, Any]:
    """Error bars of intervals that need not be symmetric."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - middle,
        "arrayminus": middle - low,
        "color": colour,
        "thickness": 2,
        "width": width,
    }


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
    numbers = np.fromiter(values, dtype=np.float64)
    finite = sign * numbers[np.isfinite(numbers)]
    if not len(finite):
        return None
    worst, best = float(finite.min()), float(finite.max())
    if len(finite) >= 4:
        first, middle, third = (float(item) for item in np.quantile(finite, [0.25, 0.5, 0.75]))
        usual = max(third - first, best - middle)
        if usual > 0:
            worst = max(worst, middle - _REACH * usual)
    air = _MARGIN * (best - worst) or _MARGIN * abs(best) or _MARGIN
    low, high = sorted((sign * (worst - air), sign * (best + air)))
    return low, high


def fit_range(
    update_axis: Callable[..., Any], values: Iterable[float], direction: str | None
) -> None:
    """Set :func:`robust_range` of some values, if there are any, by ``figure.update_xaxes`` or ``update_yaxes``."""
    if (bounds := robust_range(values, direction)) is not None:
        update_axis(range=list(bounds))


def finite(value: float | None) -> float | None:
    """The value, or None where it is no finite number: a gap in a line."""
    return value if value is not None and math.isfinite(value) else None
