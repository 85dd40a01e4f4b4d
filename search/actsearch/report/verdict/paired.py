"""Paired differences, and the interval of their mean over new training runs and new test rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from actsearch.report.verdict.looks import MIN_SEEDS, Numbers, nominal_levels
from actsearch.report.verdict.rows import Direction, Word

__all__ = ["CONFIDENCE", "Paired", "PairedTest", "Scores", "count_groups", "pair"]

CONFIDENCE = 0.95
_OF_RACE = 1.15  # times as large a difference is found as often in a race, in which some leave early (simulated)
_ROUNDING = 1e-13
_POWER = 0.8  # the usual level of power analysis: 4 of 5 such differences would be found


@dataclass(frozen=True, eq=False)
class Paired:
    """Differences of two candidates that were trained under the same seeds and scored on the same test rows.

    Attributes:
        values: (seeds,).
        without: likewise, on all rows but those of one group, for each group; (seeds, groups), no group where that is
            not known or not asked for.
        lacks_rows: whether it is asked for, and known of the other candidate alone: then nothing can be said.
    """

    values: Numbers
    without: Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    lacks_rows: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def has_rows(self) -> bool:
        """Whether it is known how the differences vary over rows."""
        return bool(self.without.shape[0] == len(self.values) and self.without.shape[1] > 1)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.values.mean())

    @functools.cached_property
    def of_seeds(self) -> float:
        """Variance of the mean over further seeds on the same rows."""
        return float(self.values.var(ddof=1)) / len(self.values)

    @functools.cached_property
    def of_rows(self) -> float:
        """Variance of the mean over other rows under the same seeds: a jackknife of groups (Kott 2001, eq. 2)."""
        return _jackknife(self.without.mean(0)) if self.has_rows else 0.0

    @functools.cached_property
    def _of_both(self) -> float:
        """What the two of them have in common: seeds differ by other rows."""
        if not self.has_rows:
            return 0.0
        single = float(np.mean([_jackknife(own) for own in self.without]))
        return max(0.0, (single - self.of_rows) / (len(self.values) - 1))

    @property
    def of_rows_alone(self) -> float:
        """What of the variance over rows further seeds do not make smaller."""
        return max(0.0, self.of_rows - self._of_both)

    @property
    def variance(self) -> float:
        """Of the mean, over both: as in a crossed analysis of variance, what they have in common counts once."""
        return max(self.of_seeds + self.of_rows - self._of_both, self.of_seeds, self.of_rows)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite 1946)."""
        seeds = len(self.values) - 1
        if not self.has_rows or self.variance == 0:
            return seeds
        groups = self.without.shape[1] - 1
        parts = ((self.of_seeds, seeds), (self.of_rows, groups), (self._of_both, seeds * groups))
        return _satterthwaite(parts, self.variance, seeds + groups)


def _satterthwaite(parts: Sequence[tuple[float, float]], variance: float, most: float) -> float:
    """Degrees of freedom of a variance that is made of parts, each with its own (Satterthwaite 1946)."""
    spread = sum(
        (part / variance) ** 2 / freedom for part, freedom in parts
    )  # of shares: squares may overflow
    return min(1 / spread, most) if spread else most


@dataclass(frozen=True)
class Scores:
    """Of one candidate.

    Attributes:
        values: a seed each; None where training diverged.
        without: of each value, what it is without each group of test rows; nothing where that is not known.
    """

    values: Sequence[float | None]
    without: Sequence[Sequence[float]] = ()


def count_groups(scores: Sequence[Scores]) -> int:
    """Of test rows; 0 unless every score is known without each of the same number of groups."""
    counts = {
        len(without)
        for own in scores
        for value, without in zip(own.values, own.without or [()] * len(own.values), strict=True)
        if value is not None
    }
    return counts.pop() if len(counts) == 1 else 0


def pair(
    own: Scores, other: Scores, worst: float, groups: int, seeds: int | None = None
) -> Paired:
    """Differences of a candidate to another one.

    Args:
        own: of the first.
        other: of the second, under as many seeds or more.
        worst: what a diverged seed counts as.
        groups: of test rows; 0 where differences without each are not known.
        seeds: under so many; all that the first one has by default.
    """
    count = len(own.values) if seeds is None else seeds
    values = [
        np.array([worst if value is None else value for value in one.values[:count]], np.float64)
        for one in (own, other)
    ]
    differences = values[0] - values[1]
    if not groups:
        return Paired(differences)
    without = [_fill(one, count, worst, groups) for one in (own, other)]
    if without[0] is None or without[1] is None:
        return Paired(differences, lacks_rows=True)
    return Paired(differences, without[0] - without[1])


def _fill(scores: Scores, count: int, worst: float, groups: int) -> Numbers | None:
    """Scores without each group of rows; (seeds, groups). None where one that did not diverge has none."""
    known = [*scores.without[:count], *[()] * (count - len(scores.without))]
    for value, part in zip(scores.values, known, strict=False):
        if value is not None and len(part) != groups:
            return None
    return np.array([part or (worst,) * groups for part in known], np.float64)


def _jackknife(values: Numbers) -> float:
    """Variance of what was computed without each group in turn."""
    count = len(values)
    return (count - 1) / count * float(((values - values.mean()) ** 2).sum())


@dataclass(frozen=True)
class PairedTest:
    """Paired t, Bonferroni over a number of comparisons, at one or several looks.

    Attributes:
        comparisons: over which all intervals together hold.
        direction: which way is better.
        looks: numbers of seeds at which results may be looked at, ascending.
        min_effect: see :class:`Verdict`.
    """

    comparisons: int
    direction: Direction
    looks: tuple[int, ...]
    min_effect: float | None = None

    def level(self, seeds: int) -> float:
        """The two-sided level of a comparison after so many seeds, one of the looks."""
        levels = nominal_levels(self.looks, (1 - CONFIDENCE) / self.comparisons)
        return levels[self.looks.index(seeds)]

    def critical(self, seeds: int, freedom: float | None = None) -> float:
        """Of t, after so many seeds.

        Args:
            seeds: one of the looks.
            freedom: degrees of freedom; those of the seeds by default.
        """
        freedom = seeds - 1 if freedom is None else freedom
        return -float(special.stdtrit(freedom, self.level(seeds) / 2))

    def interval(self, differences: Paired) -> tuple[float, float, float]:
        """Ends of the simultaneous interval of the mean, and the adjusted p value."""
        count, mean = len(differences), differences.mean
        if differences.lacks_rows:
            return -math.inf, math.inf, 1.0
        error = math.sqrt(differences.variance)
        if error <= _ROUNDING * abs(mean):
            return self._interval_of_equals(mean, count)
        freedom = differences.freedom
        p_value = 2 * float(special.stdtr(freedom, -abs(mean) / error))
        half = self.critical(count, freedom) * error
        return mean - half, mean + half, self._adjust(p_value, count)

    def _adjust(self, p_value: float, count: int) -> float:
        """So that it is below .05 where the interval leaves out 0."""
        return min(1.0, p_value * (1 - CONFIDENCE) / self.level(count))

    def _interval_of_equals(self, mean: float, count: int) -> tuple[float, float, float]:
        """Every difference the same, as on a small test set: t is undefined, the exact sign test is not."""
        p_value = self._adjust(2 * 0.5**count, count) if mean else 1.0
        if p_value < 1 - CONFIDENCE or mean == 0:
            return mean, mean, p_value
        return min(mean, 0.0), max(mean, 0.0), p_value

    def visible(
        self, deviation: float, seeds: int, of_rows: float = 0.0, groups: int = 0
    ) -> float:
        """Smallest true difference that is found with a power of 80 % by so many seeds, one of the looks.

        Args:
            deviation: standard deviation of a paired difference from seed to seed.
            seeds: how many.
            of_rows: variance of the mean over rows, which further seeds do not make smaller.
            groups: of rows, by which that is known.
        """
        of_seeds, freedom = deviation**2 / seeds, float(seeds - 1)
        if of_rows > 0 and groups > 1:
            parts = ((of_seeds, freedom), (of_rows, groups - 1))
            freedom = _satterthwaite(parts, of_seeds + of_rows, freedom + groups - 1)
        power = float(special.stdtrit(freedom, _POWER))
        found = (self.critical(seeds, freedom) + power) * math.sqrt(of_seeds + of_rows)
        return found * _OF_RACE if len(self.looks) > 1 else found

    def word(self, low: float, high: float, seeds: int) -> Word:
        """Read the interval."""
        if seeds < MIN_SEEDS:
            return "too few seeds"
        if self.min_effect is not None and max(abs(low), abs(high)) < self.min_effect:
            return "equivalent"
        if low > 0 or high < 0:
            return "better" if (low > 0) == (self.direction == "maximize") else "worse"
        return "not distinguishable"
