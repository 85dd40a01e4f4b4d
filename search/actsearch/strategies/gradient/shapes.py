"""Learned shapes as a history holds them, and as activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.activation_catalog import MOST_POINTS, format_points
from actsearch.activations import describe
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
    """What a pass has learned for each group; None where it has not, or another program wrote something else there.

    Of several keys of a group, the mean under their densities.
    """
    stored = trial.user_attrs.get(CURVES)
    if not isinstance(stored, Mapping):
        return None
    shapes = []
    for keys in groups.keys:
        parts = [part for key in keys if (part := _read(stored.get(key))) is not None]
        if len(parts) < len(keys):
            return None
        shapes.append(parts[0] if len(parts) == 1 else _mean(parts))
    return tuple(shapes)


def _read(stored: Any) -> Shape | None:
    try:
        x, y, density = (
            np.array(stored[name], dtype=np.float64) for name in ("x", "y", "density")
        )
    except (KeyError, TypeError, ValueError):
        return None
    sound = x.ndim == 1 and x.shape == y.shape == density.shape and 2 < len(x) <= 4096
    if not sound or not all(np.isfinite(item).all() for item in (x, y, density)):
        return None
    if not bool((np.diff(x) > 0).all()) or bool((density < 0).any()) or not density.sum() > 0:
        return None
    return Shape(x, y, density / density.sum())


def _mean(parts: Sequence[Shape]) -> Shape:
    x = np.linspace(min(p.x[0] for p in parts), max(p.x[-1] for p in parts), len(parts[0].x))
    each = np.stack([np.interp(x, part.x, part.density, 0, 0) for part in parts]) + 1e-9
    values = np.stack([np.interp(x, part.x, part.y) for part in parts])
    total = each.sum(0)
    return Shape(x, (each * values).sum(0) / total, total / total.sum())


def unexplained(shape: Shape, other: Shape) -> float:
    """Share of a shape's variance under its density that ``a * other + b`` leaves over."""
    weights = np.sqrt(shape.density)
    columns = np.stack([np.interp(shape.x, other.x, other.y), np.ones_like(shape.x)], axis=1)
    fit = np.linalg.lstsq(weights[:, None] * columns, weights * shape.y, rcond=None)[0]
    rest = weights * (shape.y - columns @ fit)
    around = weights * (shape.y - shape.density @ shape.y)
    return float((rest @ rest) / max(float(around @ around), 1e-300))
