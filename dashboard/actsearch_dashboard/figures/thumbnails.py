"""Miniature plots for tables: an SVG in a data URI, drawn from numbers alone, so that no text can get into it."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from actsearch_dashboard.palette import GREY, series_colour

__all__ = ["thumbnail"]

Line = tuple[npt.ArrayLike, npt.ArrayLike]

_WIDTH, _HEIGHT, _EDGE = 96, 48, 3  # pixels; the edge keeps half the width of a line inside
_USUAL = (-2.0, 4.0)  # what most activations stay within on -4 .. 4: these are drawn to one scale

_EXPLODING = 100.0  # range of values of which the rest would be a flat line


def thumbnail(lines: Sequence[Line]) -> str:
    """Functions as a small picture, with the axes through 0; gaps where values are not finite.

    Functions that stay within -2 .. 4 are drawn to one scale and can be compared; others are fitted in.

    Args:
        lines: x and y of each function.

    Returns:
        ``data:image/svg+xml;base64,...``, or "" where there is nothing to draw.
    """
    drawn = [(np.asarray(x, float), np.asarray(y, float)) for x, y in lines]
    finite = [y[np.isfinite(y)] for _, y in drawn]
    heights = np.concatenate(finite) if finite else np.array([])
    if heights.size == 0:
        return ""
    left = min(float(x.min()) for x, _ in drawn)
    right = max(float(x.max()) for x, _ in drawn)
    low, high = _range(heights)
    across = (_WIDTH - 2 * _EDGE) / ((right - left) or 1.0)
    up = (_HEIGHT - 2 * _EDGE) / (high - low)
    parts = []
    if low <= 0 <= high:
        y0 = _HEIGHT - _EDGE + low * up
        parts.append(_axis(f"M0 {y0:.1f}H{_WIDTH}"))
    if left <= 0 <= right:
        parts.append(_axis(f"M{_EDGE - left * across:.1f} 0V{_HEIGHT}"))
    for index, (x, y) in enumerate(drawn):
        path = _path(_EDGE + (x - left) * across, _HEIGHT - _EDGE - (y - low) * up)
        parts.append(
            f'<path d="{path}" fill="none" stroke="{series_colour(index)}" stroke-width="2.5" stroke-linejoin="round"/>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _range(heights: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The usual range, or where values leave it, that of nearly all of them; a few that explode are cut off."""
    low, high = float(heights.min()), float(heights.max())
    if _USUAL[0] <= low and high <= _USUAL[1]:
        return _USUAL
    if high - low > _EXPLODING:
        low, high = (float(value) for value in np.quantile(heights, (0.1, 0.9)))
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _axis(path: str) -> str:
    return f'<path d="{path}" stroke="{GREY}"/>'


def _path(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    """An SVG path; what is far outside is held near, where a huge number would not be drawn at all."""
    steps, pen_down = [], False
    held = np.clip(y, -_HEIGHT, 2.0 * _HEIGHT)
    for across, down, is_finite in zip(x, held, np.isfinite(y), strict=True):
        if not is_finite:
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{across:.1f} {down:.1f}")
        pen_down = True
    return "".join(steps)
