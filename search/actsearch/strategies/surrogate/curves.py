"""An activation as numbers that cost nothing: its values and slopes where normal inputs lie, at three input scales."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence

import numpy as np
from scipy import special

from actsearch.errors import ActsearchError
from actsearch.expression import Call, Expression, Number, Parameter, parse
from actsearch.naming.functions import FUNCTIONS, Numbers

__all__ = [
    "COUNT",
    "LARGEST",
    "SCALES",
    "STEP",
    "compute_curve",
    "compute_curves",
    "mirror",
    "points",
]

SCALES = (0.5, 1.0, 2.0)
"""Standard deviations of the inputs that are looked at."""

COUNT = 24
"""Quantiles of each."""

STEP = 1e-5
LARGEST = 1e9


@functools.cache
def points() -> Numbers:
    """Inputs: 24 quantiles of N(0, s^2) for each scale s, ascending and symmetric about 0; (72,)."""
    quantiles = special.ndtri((np.arange(COUNT) + 0.5) / COUNT)
    placed: Numbers = np.concatenate([scale * quantiles for scale in SCALES])
    return placed


def compute_curve(formula: str) -> Numbers | None:
    """The curve of one formula, as :func:`compute_curves` has it; None as well for what cannot be read."""
    try:
        tree = parse(formula)
    except ActsearchError:
        return None
    return compute_curves([tree])[0]


def compute_curves(trees: Sequence[Expression]) -> list[Numbers | None]:
    """Values and slopes of formulas at :func:`points`, learned numbers at their start; (2, 72) each.

    The slopes are central differences, so that a kink between two pieces counts with the mean of theirs. Parts that
    are the same object in several trees are computed once.

    Returns:
        None in place of what is no formula of one number, or, where normal inputs lie, not finite or beyond 1e9.
    """
    known: dict[int, Numbers] = {}
    around = np.full((len(trees), 3 * len(points())), np.nan)
    with np.errstate(all="ignore"):
        for row, tree in zip(around, trees, strict=True):
            with contextlib.suppress(ArithmeticError, KeyError):
                row[:] = _evaluate(tree, known)
        values, before, after = np.split(around, 3, axis=1)
        curves = np.stack([values, (after - before) / (2 * STEP)], axis=1)
    # of what is larger squares overflow, and no network trains with it
    usable = (np.abs(curves) < LARGEST).all(axis=(1, 2))
    return [curve if use else None for curve, use in zip(curves, usable, strict=True)]


def _evaluate(tree: Expression, known: dict[int, Numbers]) -> Numbers | float:
    """Values of a formula around the points; ``known`` has those of calls by their id."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Parameter):
        return np.float64(tree.init)
    if not isinstance(tree, Call):
        return _around()
    values = known.get(id(tree))
    if values is None:
        arguments = [_evaluate(argument, known) for argument in tree.arguments]
        if tree.row.uses_x:
            arguments = [_around(), *arguments]
        values = known[id(tree)] = FUNCTIONS[tree.operator](*arguments)
    return values


@functools.cache
def _around() -> Numbers:
    """The points, and what lies a step before and behind them; (216,)."""
    x = points()
    placed: Numbers = np.concatenate([x, x - STEP, x + STEP])
    return placed


def mirror(curves: Numbers) -> Numbers:
    """The curves of f(-x); (..., 2, 72)."""
    turned = curves.reshape(*curves.shape[:-1], len(SCALES), COUNT)[..., ::-1]
    sign = np.array([1.0, -1.0])[:, None]
    mirrored: Numbers = turned.reshape(curves.shape) * sign
    return mirrored
