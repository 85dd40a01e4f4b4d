"""Moments of an activation's output for standard normal input, and the initialisation gain they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from actsearch.activation.build import describe, pieces_of
from actsearch.activation.function import scalar_module
from actsearch.errors import ActivationError

__all__ = ["Moments", "gain", "moments"]

_Array = npt.NDArray[np.float64]
_Rule = tuple[_Array, _Array]  # nodes on [-1, 1] and weights

_TAIL = 30.0  # standard deviations; the normal density is 1e-196 there
_PANEL = 0.25  # first width; a feature narrower than a tenth of it may be missed
_LEVELS = 50  # halvings at most; a kink takes about 12, a jump about 28
_PANELS = 20_000  # open at one time at most; sin(3000 x) needs 4,600
_TOLERANCE = 1e-11  # for a panel, as a share of the whole
_SETTLED = 1e-3  # share of the whole that may be in doubt; a divergent integral leaves about 1
_FINE, _COARSE = np.polynomial.legendre.leggauss(16), np.polynomial.legendre.leggauss(10)


class Moments(NamedTuple):
    """Moments of f(z), z standard normal; of maxout, of the largest of independent z."""

    mean: float
    second: float


def moments(what: Any) -> Moments:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1), learned parameters as a module has them, else at their start.

    Parameters that a module has per channel are averaged.

    Of ``maxout``, E[m] and E[m^2] of the largest m of as many independent z as it has pieces.

    Adaptive Gauss-Legendre quadrature, accurate to about 1e-9 of the function's scale, jumps and
    kinks included. A moment that is infinite or does not exist comes out as infinite or NaN.

    Raises:
        ActivationError: if it is neither a function of one number nor the largest of several.
    """
    pieces = pieces_of(what)
    integrand = _largest_of(pieces) if pieces > 1 else _function_of_one(what)
    with np.errstate(all="ignore"):
        mean, second = (float(value) for value in _integrals(integrand))
    return Moments(mean, second)


def _function_of_one(what: Any) -> Callable[[_Array], _Array]:
    """f(z) phi(z) and f(z)^2 phi(z)."""
    module = scalar_module(what)

    def integrand(z: _Array) -> _Array:
        with torch.no_grad():
            y = module(torch.from_numpy(z).reshape(-1, 1)).numpy().reshape(z.shape)
        root = np.exp(-0.25 * z * z) / (2 * math.pi) ** 0.25  # of the density: y^2 may overflow
        return np.stack([y * root * root, (y * root) ** 2])

    return integrand


def _largest_of(count: int) -> Callable[[_Array], _Array]:
    """z p(z) and z^2 p(z) with the density of the largest of independent normal numbers, p = k phi Phi^(k - 1)."""

    def integrand(z: _Array) -> _Array:
        density = count * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        density *= special.ndtr(z) ** (count - 1)
        return np.stack([z * density, z * z * density])

    return integrand


def _integrals(integrand: Callable[[_Array], _Array]) -> _Array:
    """Integrals of both rows of the integrand: two rules a panel; where they differ, halve it."""
    left = np.arange(-_TAIL, _TAIL, _PANEL)
    width = _PANEL
    total, scale = np.zeros(2), np.zeros(2)
    for level in range(_LEVELS):
        fine = _by_panel(integrand, left, width, _FINE)  # (2, panels)
        error = np.abs(fine - _by_panel(integrand, left, width, _COARSE))
        if level == 0:
            scale = np.abs(fine).sum(axis=1)
            ends = fine[:, [0, -1]].sum(axis=1)
            infinite = ~(np.abs(fine[:, [0, -1]]) <= _TOLERANCE * scale[:, None]).all(axis=1)
        error[infinite | ~np.isfinite(scale)] = 0  # nothing to refine
        settled = (error <= _TOLERANCE * scale[:, None]).all(axis=0)
        total += fine[:, settled].sum(axis=1)
        left, width = left[~settled], width / 2
        if not 0 < len(left) <= _PANELS / 2:
            break
        left = np.concatenate([left, left + width])
    doubtful = error[:, ~settled].sum(axis=1) > _SETTLED * scale
    total += np.where(doubtful, np.nan, fine[:, ~settled].sum(axis=1))
    return np.where(infinite, ends * np.inf, total)


def _by_panel(
    integrand: Callable[[_Array], _Array], left: _Array, width: float, rule: _Rule
) -> _Array:
    """Integral over each panel, of shape (2, panels)."""
    nodes, weights = rule
    values = integrand(left[:, None] + width * (nodes + 1) / 2)  # (2, panels, nodes)
    return np.asarray(values @ weights * width / 2)


def gain(what: Any) -> float:
    """Weight gain that keeps the second moment at 1: ``1 / sqrt(E[f(z)^2])``, z ~ N(0, 1).

    sqrt(2) for ReLU, as in He et al. 2015 (arXiv:1502.01852, eq. 10).

    Raises:
        ActivationError: if the second moment is zero or not finite.
    """
    second = moments(what).second
    if not math.isfinite(second) or second <= 0:
        raise ActivationError(f"{describe(what).label} has no gain: E[f(z)^2] is {second}")
    return 1 / math.sqrt(second)
