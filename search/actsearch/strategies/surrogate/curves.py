"""An activation as numbers that cost nothing: its values and slopes where normal inputs lie, at three input scales."""

from __future__ import annotations

import functools

import numpy as np
from scipy import special

from actsearch.errors import ActsearchError
from actsearch.expression import Expression, parse
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers

__all__ = ["COUNT", "SCALES", "compute_curve", "mirror", "points"]

SCALES = (0.5, 1.0, 2.0)
"""Standard deviations of the inputs that are looked at."""

COUNT = 24
"""Quantiles of each."""

_STEP = 1e-5
_LARGEST = 1e9


@functools.cache
def points() -> Numbers:
    """Inputs: 24 quantiles of N(0, s^2) for each scale s, ascending and symmetric about 0; (72,)."""
    quantiles = special.ndtri((np.arange(COUNT) + 0.5) / COUNT)
    placed: Numbers = np.concatenate([scale * quantiles for scale in SCALES])
    return placed


def compute_curve(formula: str | Expression) -> Numbers | None:
    """Values and slopes of a formula at :func:`points`, learned numbers at their start; (2, 72).

    The slopes are central differences, so that a kink between two pieces counts with the mean of theirs.

    Args:
        formula: in the project's language, or its tree.

    Returns:
        None for what is no formula of one number, or, where normal inputs lie, not finite or beyond 1e9.
    """
    try:
        form = Form(parse(formula) if isinstance(formula, str) else formula)
        x = points()
        around = np.concatenate([x, x - _STEP, x + _STEP])
        with np.errstate(all="ignore"):
            values, before, after = np.split(form.compute(form.start[None], around)[0], 3)
            curve = np.stack([values, (after - before) / (2 * _STEP)])
    except (ActsearchError, ArithmeticError, KeyError):
        return None
    # of what is larger squares overflow, and no network trains with it
    return curve if (np.abs(curve) < _LARGEST).all() else None


def mirror(curves: Numbers) -> Numbers:
    """The curves of f(-x); (..., 2, 72)."""
    turned = curves.reshape(*curves.shape[:-1], len(SCALES), COUNT)[..., ::-1]
    sign = np.array([1.0, -1.0])[:, None]
    mirrored: Numbers = turned.reshape(curves.shape) * sign
    return mirrored
