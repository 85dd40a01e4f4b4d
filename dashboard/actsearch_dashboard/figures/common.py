"""What all figures have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go

from actsearch_dashboard.palette import GREY

__all__ = [
    "MANY", "add_axes_through_zero", "add_line", "finite", "fit_range", "is_steep", "lay_out", "orders_of_magnitude",
    "panel_axes", "robust_range", "small_titles", "whiskers",
]  # fmt: skip

_REACH = 4.0  # how many times the usual distance on the bad side is still shown: beyond it, few trials that work lie
_STEEP = 3.0  # orders of magnitude from which on a linear axis shows the largest numbers alone
_MARGIN = 0.06  # air above and below, as a share of the range: markers are drawn whole
MANY = 2000
"""From so many points on, the browser draws them with WebGL: as SVG, each of them is an element of the page."""

_GRID = "rgba(128, 128, 128, 0.25)"  # to be seen on light and on dark pages
_TITLE_SIZE = 14  # pixels, of a panel: Plotly's 16 are those of a whole figure
_AXIS = re.compile("[xy]axis").match
_LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}
_BELOW = {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0}


def lay_out(
    figure: go.Figure,
    x: str,
    y: str,
    height: int,
    legend_below: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> go.Figure:
    """Axis titles, height in pixels, and what all figures have in common; the colours are the page's theme's.

    Names in the legend that are long would run into the buttons at the top: such a legend stands below the axis.

    Args:
        figure: is changed, and returned.
        x: title of the first axis to the right.
        y: title of the first axis upwards.
        height: in pixels.
        legend_below: the legend stands below the axis.
        settings: more for the layout; those of axes, legend and margin are added to what is set here.
    """
    layout: dict[str, Any] = {
        name: {**figure.layout[name].to_plotly_json(), "gridcolor": _GRID, "zeroline": False}
        for name in {"xaxis", "yaxis", *filter(_AXIS, figure.layout)}
    }
    layout["xaxis"]["title"] = {"text": x}
    layout["yaxis"]["title"] = {"text": y}
    layout |= {
        "height": height,
        "legend": _BELOW if legend_below else _LEGEND,
        "margin": {"l": 60, "r": 20, "t": 30 if legend_below else 40, "b": 50},
        "hovermode": "closest",
    }
    for name, value in settings.items():
        layout[name] = {**layout[name], **value} if name in layout else value
    # all at once and overwriting, which takes a tenth of the time: a live page is drawn often
    return figure.update_layout(layout, overwrite=True)


def panel_axes(index: int) -> tuple[str, str]:
    """Names of the axes of one of several panels, counted from 0, in a layout."""
    number = index + 1 if index else ""
    return f"xaxis{number}", f"yaxis{number}"


def small_titles(figure: go.Figure) -> list[dict[str, Any]]:
    """The titles of panels as annotations of a layout, smaller than Plotly makes them."""
    titles = [title.to_plotly_json() for title in figure.layout.annotations]
    return [{**title, "font": {"size": _TITLE_SIZE}} for title in titles]


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


def add_axes_through_zero(figure: go.Figure, *others: str) -> None:
    """Thin lines where x and where y is 0, behind the curves, also on ``others`` of the vertical axes, as "y3"."""
    line = {"type": "line", "line": {"color": GREY, "width": 1}, "layer": "below"}
    # what add_hline and add_vline add, but these take half of the time of such a figure
    figure.layout.shapes = [
        shape
        for axis in ("y", *others)
        for shape in (
            {**line, "x0": 0, "x1": 1, "xref": "x domain", "y0": 0, "y1": 0, "yref": axis},
            {**line, "x0": 0, "x1": 0, "xref": "x", "y0": 0, "y1": 1, "yref": f"{axis} domain"},
        )
    ]


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


def orders_of_magnitude(values: Iterable[float]) -> float:
    """How many powers of ten lie between the smallest and the largest value; 0 unless all finite ones are above 0."""
    numbers = np.fromiter(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() <= 0:
        return 0.0
    return float(np.log10(numbers.max()) - np.log10(numbers.min()))


def is_steep(values: Iterable[float]) -> bool:
    """Whether values are drawn on a logarithmic axis unless the reader wants another one."""
    return orders_of_magnitude(values) > _STEEP


def robust_range(
    values: Iterable[float], direction: str | None, log: bool = False
) -> tuple[float, float] | None:
    """Vertical range in which the good values can be told apart, whatever a few terrible ones are.

    The good end is the best value. On the bad side the range ends at the worst value, or at the median minus
    ``_REACH`` times the larger of the quartiles' distance and the best value's distance from the median.

    Args:
        values: finite or not; those that are not are left out, and on a logarithmic axis those that are not above 0.
        direction: "maximize" or "minimize".
        log: distances are those of a logarithmic axis.

    Returns:
        Low and high end with some air, in the units of the values, or None without a value.
    """
    numbers = np.fromiter(values, dtype=np.float64)
    if log:
        ends = robust_range(np.log10(numbers[numbers > 0]), direction)
        return None if ends is None else (10.0 ** ends[0], 10.0 ** ends[1])
    sign = -1.0 if direction == "minimize" else 1.0
    finite = sign * numbers[np.isfinite(numbers)]
    if not len(finite):
        return None
    worst, best = float(finite.min()), float(finite.max())
    if len(finite) >= 4:  # fewer have no quartiles
        first, middle, third = (float(item) for item in np.quantile(finite, [0.25, 0.5, 0.75]))
        usual = max(third - first, best - middle)
        if usual > 0:
            worst = max(worst, middle - _REACH * usual)
    air = _MARGIN * (best - worst) or _MARGIN * abs(best) or _MARGIN
    low, high = sorted((sign * (worst - air), sign * (best + air)))
    return low, high


def fit_range(
    update_axis: Callable[..., Any],
    values: Iterable[float],
    direction: str | None,
    log: bool = False,
) -> None:
    """Set :func:`robust_range` of some values, if there are any, by ``figure.update_xaxes`` or ``update_yaxes``."""
    if (bounds := robust_range(values, direction, log)) is not None:
        ends = [math.log10(end) for end in bounds] if log else list(bounds)
        update_axis(type="log" if log else "linear", range=ends)


def finite(value: float | None) -> float | None:
    """The value, or None where it is no finite number: a gap in a line."""
    return value if value is not None and math.isfinite(value) else None
