"""Learned shapes as a history holds them, and as activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.activation_catalog import MOST_POINTS, format_points
from actsearch.activations import describe
from actsearch.errors import ActsearchError
from actsearch.records import CURVES, ActivationRecord, TrialRecord
from actsearch.strategies.groups import SiteGroups

__all__ = ["Shape", "read_shapes", "unexplained"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What was learned for one group of sites.

    Attributes:
        x: points, ascending, ``(n,)``.
        y: values there.
        density: share of the inputs around each point.
    """

    x: Array
    y: Array
    density: Array

    def record(self) -> ActivationRecord:
        """As an activation: the points that matter most where inputs are."""
        x, y, weights = self.x, self.y, np.sqrt(self.density + 1e-3 / len(self.x))
        while len(x) > MOST_POINTS:
            share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
            off = np.abs(y[1:-1] - (1 - share) * y[:-2] - share * y[2:]) * weights[1:-1]
            kept = np.arange(len(x)) != 1 + int(np.argmin(off))
            x, y, weights = x[kept], y[kept], weights[kept]
        return describe("linear_spline", points=format_points(x.tolist(), y.tolist()))


def read_shapes(trial: TrialRecord, groups: SiteGroups) -> tuple[Shape, ...] | None:
    """What a pass has learned for each group; None where it has not, or another program wrote something else there."""
    stored = trial.user_attrs.get(CURVES)
    if not isinstance(stored, Mapping):
        return None
    shapes = []
    for first, *_ in groups.keys:
        shape = _read(stored.get(first))
        if shape is None:
            return None
        shapes.append(shape)
    return tuple(shapes)


def _read(stored: Any) -> Shape | None:
    try:
        x, y, density = (
            np.array(stored[name], dtype=np.float64) for name in ("x", "y", "density")
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = x.ndim == 1 and x.shape == y.shape == density.shape and 2 < len(x) <= 4096
    if not sound or not all(np.isfinite(item).all() for item in (x, y, density)):
        return None
    if not bool((np.diff(x) > 0).all()) or bool((density < 0).any()) or not density.sum() > 0:
        return None
    shape = Shape(x, y, density / density.sum())
    try:
        shape.record()
    except (
        ActsearchError
    ):  # points too near to each other, or numbers too large, to be written down
        return None
    return shape


def unexplained(shape: Shape, other: Shape) -> float:
    """Share of a shape's variance under its density that ``a * other + b`` leaves over."""
    weights = np.sqrt(shape.density)
    columns = np.stack([np.interp(shape.x, other.x, other.y), np.ones_like(shape.x)], axis=1)
    fit = np.linalg.lstsq(weights[:, None] * columns, weights * shape.y, rcond=None)[0]
    rest = weights * (shape.y - columns @ fit)
    around = weights * (shape.y - shape.density @ shape.y)
    return float((rest @ rest) / max(float(around @ around), 1e-300))
