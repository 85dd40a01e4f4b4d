"""Is it worth going on? What the next trials are expected to gain, beside the noise of one value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from actsearch.report import Verdict
from actsearch_dashboard.text import number

__all__ = ["AHEAD", "FEWEST", "describe_worth", "expected_gain", "noise"]

AHEAD = 20
"""The gain is told of so many trials to come: about what a reader asks for next."""

FEWEST = 20
"""Complete trials from which it can be told."""

_LEARNT = 0.6  # chance that a later trial beats an earlier one; of 100 that are alike, it rarely seems to be so large
_PART = 4  # the gains of the last quarter and of the one before it are compared
_FALLS = (
    0.75,
    2.0,
)  # exponents: of a tail heavier than exponential, and of an even spread up to an end


def expected_gain(
    values: Sequence[float] | np.ndarray, direction: str | None, ahead: int = AHEAD
) -> float | None:
    """How much better than the best value so far the best of the next trials is expected to be.

    The next trials are taken to be like all of them, or like the later half where that is better as a rule and holds
    the best: a strategy learns. Of any m of those, drawn at random, the best is b(m) on average, which their order
    tells without any model. What b gains with m falls as a power of it: as 1/m for exponential tails, as 1/m^2 for
    values spread evenly up to an end, in general as m^(shape - 1) for tails of generalised Pareto shape, as those of
    nearly all distributions are (Pickands 1975, Annals of Statistics 3, 119). That power, fitted to the last two
    quarters of the trials, is continued to the trials to come.

    Args:
        values: of complete trials in order; those that are not finite are left out.
        direction: "minimize" or "maximize".
        ahead: how many trials are to come.

    Returns:
        The gain in the metric's units, or None with fewer than 20 values.
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)] * (-1.0 if direction == "minimize" else 1.0)
    if len(known) < FEWEST:
        return None
    like = _alike(known)
    count = len(like)
    part = count // _PART
    earlier, later = count - 2 * part, count - part
    first = _expected_best(like, later) - _expected_best(like, earlier)
    last = float(like[-1]) - _expected_best(like, later)
    if last <= 0:
        return 0.0  # the best values are all the same
    fall = _fall(last / first, earlier, later, count)
    return last * _area(fall, count, count + ahead) / _area(fall, later, count)


def _alike(values: np.ndarray) -> np.ndarray:
    """The trials that the next ones are taken to be like, in order of their values."""
    half = len(values) // 2
    earlier, later = np.sort(values[:half]), np.sort(values[half:])
    beaten = np.searchsorted(earlier, later, "left") + np.searchsorted(earlier, later, "right")
    has_learnt = beaten.mean() / (2 * half) > _LEARNT and later[-1] >= earlier[-1]
    return later if has_learnt and len(later) >= FEWEST else np.sort(values)


def _expected_best(ordered: np.ndarray, size: int) -> float:
    """Mean of the largest of ``size`` values, over all choices of so many."""
    count = len(ordered)
    # of all choices, the share whose largest is the i-th of those: C(i - 1, size - 1) / C(count, size)
    share, mean = size / count, 0.0
    for place in range(count - 1, size - 2, -1):
        mean += share * float(ordered[place])
        share *= (place - size + 1) / place if place else 0.0
    return mean


def _fall(ratio: float, earlier: int, later: int, count: int) -> float:
    """The exponent by which gains fall, from the ratio of two that follow each other."""
    low, high = _FALLS
    for _ in range(30):
        middle = (low + high) / 2
        if _area(middle, later, count) / _area(middle, earlier, later) > ratio:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _area(fall: float, start: float, end: float) -> float:
    """The integral of m^-fall."""
    power = 1 - fall
    return float(np.log(end / start)) if abs(power) < 1e-9 else (end**power - start**power) / power


def noise(
    spreads: Iterable[float], seeds: int | Sequence[int] | None, verdict: Verdict | None
) -> float | None:
    """How much two values of one candidate differ, each over as many seeds as a trial has; None where nothing tells it.

    The root mean square of that difference: sqrt(2) times the standard error of one.

    Args:
        spreads: standard deviation over its seeds of each complete trial.
        seeds: of each trial, or how many; None where that is not stored.
        verdict: of the study: where a trial has but one seed, its spread is over epochs, and a verdict has several.
    """
    count = len(seeds) if isinstance(seeds, Sequence) else seeds or 1
    known = [spread for spread in spreads if math.isfinite(spread)]
    if count > 1 and known:
        return math.sqrt(2 / count) * float(np.median(known))
    if verdict is None:
        return None
    rows = [row.values for row in (verdict.baseline, *verdict.rows)]
    rows = [values for values in rows if len(values) > 1 and np.isfinite(values).all()]
    return (
        math.sqrt(2 / count) * float(np.median([np.std(v, ddof=1) for v in rows]))
        if rows
        else None
    )


def describe_worth(gain: float | None, differ: float | None, complete: int) -> str:
    """What the next trials are expected to gain, beside the noise, and what to do; or what is missing to tell it.

    Args:
        gain: as :func:`expected_gain`.
        differ: as :func:`noise`.
        complete: how many trials are complete.
    """
    if gain is None:
        return (
            f"Is it worth going on? That can be told from {FEWEST} complete trials on; there "
            f"{'is' if complete == 1 else 'are'} {complete}."
        )
    words = f"The next {AHEAD} trials are expected to gain about {number(gain)}"
    if differ is None:
        return (
            f"{words}. How much two trainings of one candidate differ is not known, as each trial has one seed: "
            "a verdict (`study.confirm`), or a study whose task has `seeds=3`, tells it."
        )
    words += f"; two trainings of one candidate differ by {number(differ)}"
    if gain < differ:
        return f"{words}: a verdict (`study.confirm`) tells more than further trials."
    return f"{words}: further trials are worth more than that noise."
