"""An activation as a function of one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from actsearch.records import HISTOGRAM_EDGES, Curve
from actsearch_dashboard.figures.common import add_axes_through_zero, add_line, lay_out
from actsearch_dashboard.palette import BEFORE, BLUE, INPUTS, ORANGE

__all__ = [
    "Bars", "arrived_range", "bars", "break_at_poles", "function", "normal_histogram", "slope_without_poles",
    "visible_range",
]  # fmt: skip

_END = 1.0  # width drawn for the bins that have no end, twice that of the others
_TALL = 2.2  # the tallest bar takes 1 / 2.2 of the height: the function is what is looked at
_NEAR = 4.0  # inputs farther away than this hardly occur
_SLACK = 1.0  # times the near range, shown above and below it: of x**3 the middle stays legible
_RARE = 1e-3  # share of the inputs at each end that may lie outside of what is shown
_LEAST_REACH = 2.0  # shown of a function on each side of 0, whatever arrived
_SPLIT, _GAP = (
    0.3,
    0.04,
)  # shares of the height: of the derivative below the function, and around it
_LEAST_SLACK = 0.25  # of a function that is flat near 0


class Bars(NamedTuple):
    """A histogram to be drawn: width times height is the share."""

    centres: list[float]
    widths: list[float]
    heights: list[float]


def bars(shares: Sequence[float]) -> Bars:
    """Bars for the shares between :data:`actsearch.records.HISTOGRAM_EDGES`, one more at each end, a unit wide."""
    edges = [HISTOGRAM_EDGES[0] - _END, *HISTOGRAM_EDGES, HISTOGRAM_EDGES[-1] + _END]
    pairs = list(zip(edges, edges[1:], strict=False))
    widths = [right - left for left, right in pairs]
    return Bars(
        [(left + right) / 2 for left, right in pairs],
        widths,
        [share / width for share, width in zip(shares, widths, strict=True)],
    )


def normal_histogram() -> tuple[float, ...]:
    """Shares of N(0, 1) between the edges of the histogram."""
    below = [0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in HISTOGRAM_EDGES]
    return tuple(right - left for left, right in zip([0.0, *below], [*below, 1.0], strict=True))


def visible_range(x: Any, *curves: Any) -> tuple[float, float]:
    """A vertical range that shows all of some curves, or where they run away, the part near 0.

    Args:
        x: where the curves were sampled.
        curves: arrays of the same length; numbers that are not finite do not count.
    """
    values = np.stack([np.asarray(curve, dtype=float) for curve in curves])
    near = values[:, np.abs(np.asarray(x)) <= _NEAR]
    finite, near = values[np.isfinite(values)], near[np.isfinite(near)]
    if not near.size:
        return -1.0, 1.0
    low, high = np.percentile(near, [2, 98])  # a pole takes few points
    slack = max(_SLACK * (high - low), _LEAST_SLACK)
    bottom = max(finite.min(), min(low, 0.0) - slack)
    top = min(finite.max(), max(high, 0.0) + slack)
    air = 0.06 * (top - bottom) or 0.5
    return float(bottom - air), float(top + air)


def arrived_range(shares: Sequence[float]) -> tuple[float, float]:
    """From where to where the inputs lay, but for a thousandth at each end; 0 is always inside.

    Args:
        shares: between the edges of the histogram, one more at each end for everything beyond.
    """
    edges = [HISTOGRAM_EDGES[0] - _END, *HISTOGRAM_EDGES, HISTOGRAM_EDGES[-1] + _END]
    upto = np.cumsum(shares)
    if not len(upto) or upto[-1] <= 0:
        return edges[0], edges[-1]
    first = int(np.searchsorted(upto, _RARE * upto[-1], side="right"))
    last = int(np.searchsorted(upto, (1 - _RARE) * upto[-1], side="left"))
    return min(edges[first], -_LEAST_REACH), max(
        edges[min(last, len(shares) - 1) + 1], _LEAST_REACH
    )


def break_at_poles(curve: Curve, height: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y with a gap at each pole, through which a line would be drawn as if the function went there.

    Between two points lies a pole where the function jumps against its slope on both sides, by more than ``height``.
    """
    x, y, dy = (np.asarray(part, dtype=float) for part in curve)
    with np.errstate(all="ignore"):
        jump = np.diff(y)
        is_pole = (np.abs(jump) > height) & (jump * dy[:-1] < 0) & (jump * dy[1:] < 0)
    return _with_gaps(x, y, is_pole)


def slope_without_poles(curve: Curve, height: float) -> tuple[np.ndarray, np.ndarray]:
    """x and f'(x) with a gap at each pole, of which the second derivative is taken from the points on one side."""
    x, slope = np.asarray(curve.x, dtype=float), np.asarray(curve.dy, dtype=float)
    with np.errstate(all="ignore"):
        jump = np.diff(slope)
        before, after = np.r_[0.0, jump[:-1]], np.r_[jump[1:], 0.0]
        is_pole = (np.abs(jump) > height) & (jump * before < 0) & (jump * after < 0)
    return _with_gaps(x, slope, is_pole)


def _with_gaps(x: np.ndarray, y: np.ndarray, is_pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.flatnonzero(is_pole) + 1
    return np.insert(x, at, x[at - 1]), np.insert(np.where(np.isfinite(y), y, np.nan), at, np.nan)


def function(now: Curve, *, start: Curve | None = None, inputs: Sequence[float] = ()) -> go.Figure:
    """An activation, and below it its derivative, where the inputs that arrived lie.

    Each has an axis of its own: a steep derivative would squeeze the function.

    Args:
        now: the function.
        start: what it was before it learned, if that is to be drawn as well.
        inputs: shares of the inputs between the edges of the histogram, drawn behind it.
    """
    figure = go.Figure()
    if inputs:
        _draw_bars(figure, bars(inputs))
    left, right = arrived_range(inputs) if inputs else (float(now.x[0]), float(now.x[-1]))
    left, right = max(left, float(now.x[0])), min(right, float(now.x[-1]))
    shown = (now.x >= left) & (now.x <= right)
    range_f = visible_range(now.x[shown], now.y[shown])
    range_slope = visible_range(now.x[shown], now.dy[shown])
    if start is not None:
        _add(figure, start, "f at the start", BEFORE, 2, "dot", range_f)
        shown = (start.x >= left) & (start.x <= right)
        before = visible_range(start.x[shown], start.y[shown])
        range_f = min(range_f[0], before[0]), max(range_f[1], before[1])
    _add(figure, now, "f(x)", BLUE, 3, "solid", range_f)
    at, slope = slope_without_poles(now, range_slope[1] - range_slope[0])
    hover = "%{y:.4g}<extra>f′(x)</extra>"
    add_line(figure, at, slope, "f′(x)", ORANGE, width=2, dash="dash", hover=hover, yaxis="y3")
    lay_out(figure, "x", "", 460)
    figure.update_layout(
        xaxis={"range": [left, right], "anchor": "y3"},
        yaxis={"range": list(range_f), "domain": [_SPLIT + _GAP, 1], "title": {"text": "f(x)"}},
        yaxis3={
            "range": list(range_slope), "domain": [0, _SPLIT - _GAP], "title": {"text": "f′(x)"},
            "gridcolor": figure.layout.yaxis.gridcolor, "zeroline": False, "anchor": "x",
        },
    )  # fmt: skip
    add_axes_through_zero(figure, "y3")
    if inputs:
        _put_bars_behind(figure, max(bars(inputs).heights))
    return figure


def _add(
    figure: go.Figure,
    curve: Curve,
    name: str,
    colour: str,
    width: float,
    dash: str,
    shown: tuple[float, float],
) -> None:
    hover = "%{y:.4g}<extra>" + name + "</extra>"
    x, y = break_at_poles(curve, shown[1] - shown[0])
    add_line(figure, x, y, name, colour, width=width, dash=dash, hover=hover)


def _draw_bars(figure: go.Figure, drawn: Bars) -> None:
    shares = [width * height for width, height in zip(drawn.widths, drawn.heights, strict=True)]
    figure.add_bar(
        x=drawn.centres,
        y=drawn.heights,
        width=drawn.widths,
        customdata=shares,
        name="inputs it met",
        yaxis="y2",
        marker={"color": INPUTS, "opacity": 0.3, "line": {"width": 0}},
        hovertemplate="%{customdata:.1%} of the inputs<extra></extra>",
    )


def _put_bars_behind(figure: go.Figure, tallest: float) -> None:
    """An axis for the bars, below the one of the function: its numbers are of no use beside those."""
    figure.update_layout(
        yaxis2={
            "visible": False, "range": [0, _TALL * tallest or 1.0], "side": "right", "anchor": "x",
            "domain": list(figure.layout.yaxis.domain),
        },
        yaxis={"overlaying": "y2", "tickmode": "auto"},
        bargap=0,
    )  # fmt: skip
