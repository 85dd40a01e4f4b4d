"""When a verdict looks at its seeds, and how sure it has to be at each look."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

__all__ = ["LOOKS", "MIN_SEEDS", "Numbers", "nominal_levels"]

Numbers = npt.NDArray[np.float64]

LOOKS = (2, 4, 6, 8, 10, 12, 14, 16)
"""Numbers of seeds at which a verdict over rounds of seeds is looked at."""

MIN_SEEDS = 8
"""Fewer paired seeds give no verdict: the t distribution's tails are then too wide to say anything useful."""

_POWER = 1.5
_EARLY = 0.01  # share of alpha for looks that give no verdict
_OF_T = 0.9
"""Levels are those of normal scores; with t at few seeds the error comes to 1.11 times as much (simulated)."""

_POINTS = 401
_SMALLEST, _LARGEST = 0.3, 14.0  # critical values that are thought of


@functools.lru_cache(maxsize=256)
def nominal_levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """The two-sided level of a test at each look, so that all looks together err in a share ``alpha``.

    Alpha spending (Lan & DeMets 1983) along ``alpha * (n / last)^1.5`` (Kim & DeMets 1987): few seeds must show much.
    Looks at fewer than 8 seeds, which give no verdict, get next to nothing.
    The joint distribution of the looks is integrated numerically (Armitage, McPherson & Rowe 1969), and the levels are
    used for t statistics (the significance level approach: Jennison & Turnbull 2000, section 4.4).

    Args:
        looks: numbers of seeds, ascending.
        alpha: of all looks together; in (0, 1).

    Returns:
        One level for each look; ``alpha`` itself where there is one.
    """
    if len(looks) == 1:
        return (alpha,)
    seeds = np.array(looks)
    early = _EARLY * (seeds / MIN_SEEDS) ** _POWER * min(MIN_SEEDS / looks[-1], 1.0) ** _POWER
    spent = np.where(seeds < MIN_SEEDS, early, (seeds / looks[-1]) ** _POWER) * _OF_T * alpha
    levels = [float(spent[0])]
    scores, weights = _grid(-float(special.ndtri(spent[0] / 2)))
    mass = weights * _density(scores)  # of what goes on after a look, by its score
    for before, look, share in zip(looks, looks[1:], np.diff(spent), strict=False):
        correlation = (before / look) ** 0.5
        rest = (1 - correlation**2) ** 0.5
        centres = correlation * scores
        bound = optimize.brentq(_excess, _SMALLEST, _LARGEST, args=(share, mass, centres, rest))
        levels.append(2 * float(special.ndtr(-bound)))
        scores, weights = _grid(bound)
        mass = weights * (_density((scores[:, None] - centres) / rest) / rest @ mass)
    return tuple(levels)


def _excess(bound: float, share: float, mass: Numbers, centres: Numbers, rest: float) -> float:
    """By how much the probability that a look is the first one beyond a bound exceeds a share."""
    beyond = special.ndtr((-bound - centres) / rest) + special.ndtr((centres - bound) / rest)
    return float(mass @ beyond) - share


def _grid(bound: float) -> tuple[Numbers, Numbers]:
    """Scores within a bound, and their weights in an integral (trapezoids)."""
    scores = np.linspace(-bound, bound, _POINTS)
    weights = np.full(_POINTS, scores[1] - scores[0])
    weights[[0, -1]] /= 2
    return scores, weights


def _density(scores: Numbers) -> Numbers:
    density: Numbers = np.exp(-0.5 * scores**2) / np.sqrt(2 * np.pi)
    return density
