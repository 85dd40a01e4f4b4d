"""Comparing what was made with the formula in double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actsearch.deployment.made import Check
from actsearch.deployment.subject import Subject

__all__ = ["DEFAULT_INTERVAL", "check", "run_module"]

Array = npt.NDArray[np.float64]

DEFAULT_INTERVAL = (-6.0, 6.0)
_GRID = 4001


def check(
    subject: Subject,
    made: Callable[[Array], Array],
    interval: tuple[float, float],
    measure: Callable[[Array], Array] = lambda values: values,
) -> tuple[Check, ...]:
    """On a grid over an interval, and on what was recorded.

    Args:
        subject: with the formula, and its inputs.
        made: values of what was made, of points ``(n,)``.
        interval: of the grid.
        measure: of values, in what the error counts: for tables, where they lie among the codes.
    """
    low, high = interval
    places = [(f"{_GRID} points from {low:.3g} to {high:.3g}", np.linspace(low, high, _GRID))]
    if subject.inputs is not None:
        places.append((subject.inputs.source, subject.inputs.points))
    return tuple(_compare(subject, made, measure, *place) for place in places)


def _compare(
    subject: Subject,
    made: Callable[[Array], Array],
    measure: Callable[[Array], Array],
    where: str,
    points: Array,
) -> Check:
    expected, found = measure(subject.values(points)), measure(made(points))
    with np.errstate(invalid="ignore"):
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        error = np.where(same, 0.0, np.abs(expected - found))
    error = np.where(np.isnan(error), np.inf, error)
    return Check(where, float(error.max()), float(error.mean()))


def run_module(module: nn.Module) -> Callable[[Array], Array]:
    """A module's values in single precision, as it runs in a product."""

    def run(points: Array) -> Array:
        x = torch.from_numpy(points).float().reshape(-1, 1)
        with torch.no_grad():
            values: Array = module(x).double().reshape(-1).numpy()
        return values

    return run
