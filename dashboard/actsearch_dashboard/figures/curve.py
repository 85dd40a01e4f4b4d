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

__all__ = ["Bars", "bars", "function", "normal_histogram", "visible_range"]

_END = 1.0  # width drawn for the bins that have no end, twice that of the others
_TALL = 2.2  # the tallest bar takes 1 / 2.2 of the height: the function is what is looked at
_NEAR = 4.0  # inputs farther away than this hardly occur
_SLACK = 1.0  # times the near range, shown above and below it: of x**3 the middle stays legible
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


def function(now: Curve, *, start: Curve | None = None, inputs: Sequence[float] = ()) -> go.Figure:
    """An activation with its derivative.

    Args:
        now: the function.
        start: what it was before it learned, if that is to be drawn as well.
        inputs: shares of the inputs between the edges of the histogram, drawn behind it.
    """
    figure = go.Figure()
    if inputs:
        _draw_bars(figure, bars(inputs))
    if start is not None:
        _add(figure, start.x, start.y, "f at the start", BEFORE, 2, "dot")
    _add(figure, now.x, now.y, "f(x)", BLUE, 3, "solid")
    _add(figure, now.x, now.dy, "f′(x)", ORANGE, 2, "dash")
    lay_out(figure, "x", "", 400)
    add_axes_through_zero(figure)
    figure.update_xaxes(range=[now.x[0], now.x[-1]])
    ranges = [visible_range(now.x, now.y, now.dy)]
    if start is not None:
        ranges.append(visible_range(start.x, start.y))
    figure.update_yaxes(range=[min(low for low, _ in ranges), max(high for _, high in ranges)])
    if inputs:
        _put_bars_behind(figure, max(bars(inputs).heights))
    return figure


def _add(
    figure: go.Figure, x: Any, y: Any, name: str, colour: str, width: float, dash: str
) -> None:
    hover = "%{y:.4g}<extra>" + name + "</extra>"
    finite = np.where(np.isfinite(y), y, np.nan)  # infinity would end the axis
    add_line(figure, x, finite, name, colour, width=width, dash=dash, hover=hover)


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
        yaxis2={"visible": False, "range": [0, _TALL * tallest or 1.0], "side": "right"},
        yaxis={"overlaying": "y2", "tickmode": "auto"},
        bargap=0,
    )
