"""Is it better than what I have? Arithmetic on paired results; nothing here trains anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import special

from actsearch.errors import StudyError
from actsearch.report.verdict.looks import Numbers, nominal_levels
from actsearch.report.verdict.rows import MIN_SEEDS, Direction, Verdict, VerdictRow, Word

__all__ = ["Measured", "PairedTest", "count_comparisons", "compute_verdict"]

_CONFIDENCE = 0.95
_OF_RACE = 1.15  # times as large a difference is found as often in a race, in which some leave early (simulated)
_ROUNDING = 1e-13
_POWER = 0.8  # the usual level of power analysis: 4 of 5 such differences would be found


@dataclass(frozen=True)
class Measured:
    """Numbers of one candidate on the confirmation seeds.

    Attributes:
        formula: its formula; for the model unchanged, its label.
        label: short text for tables.
        values: one score a seed, None where training diverged; seeds in one order for all, of which those that left
            early have the first ones.
        as_given: scores at the learning rate of the search, of the first seeds or all; None where they are the same.
        learning_rate: the learning rate chosen on validation data, median over seeds; None if none was chosen.
        number: trial number; None for the baseline.
        is_catalog: whether it is a catalog row.
        activation: the activation as JSON data, of several by group; None for the model unchanged.
        others: values in other objectives, to be shown beside.
        at_grid_end: seeds whose best learning rate is the last one that was tried.
        learning_rates: those chosen, one for each seed.
    """

    formula: str
    label: str
    values: Sequence[float | None]
    as_given: Sequence[float | None] | None = None
    learning_rate: float | None = None
    number: int | None = None
    is_catalog: bool = False
    activation: Mapping[str, Any] | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    at_grid_end: int = 0
    learning_rates: tuple[float, ...] = ()


def compute_verdict(
    baseline: Measured,
    finalists: Sequence[Measured],
    *,
    study_name: str,
    metric: str,
    direction: Direction,
    looks: tuple[int, ...] | None = None,
    cut: str = "",
    earlier_comparisons: int = 0,
    min_effect: float | None = None,
    validation_only: bool = False,
) -> Verdict:
    """Compare finalists with a baseline on paired scores.

    A paired t interval for each mean difference, simultaneous by Bonferroni over every comparison ever made on this
    test data, and over the looks; the word is read from the interval. A diverged seed counts as the worst value that
    anything here scored. A composed winner is also compared with the best catalog row among the finalists.

    Args:
        baseline: scores of what the user has.
        finalists: scores of the candidates, on the same seeds in the same order.
        study_name: for the heading.
        metric: name of the metric.
        direction: which way is better.
        looks: numbers of seeds at which results were, or would have been, looked at: each candidate has as many as one
            of them; None where all have as many as the baseline, which were looked at once.
        cut: what ended it before the answer was known; "" for nothing.
        earlier_comparisons: comparisons made on this test data before.
        min_effect: smallest difference that matters; intervals within it read "equivalent".
        validation_only: see :class:`Verdict`.

    Raises:
        StudyError: without finalists, or with numbers of seeds that were not looked at.
    """
    looks = looks or (len(baseline.values),)
    count = _count_seeds(baseline, finalists, looks)
    total = earlier_comparisons + count_comparisons([item.is_catalog for item in finalists])
    # a seed left out would flatter what diverges on it
    worst = _worst([baseline, *finalists], direction)
    test = PairedTest(total, direction, looks, min_effect)
    base = _scores(baseline, worst)
    rows = [_compare(item, _scores(item, worst), base, worst, test) for item in finalists]
    if len(looks) > 1:
        rows = [_without_interval(row, count) for row in rows]
    sign = 1 if direction == "maximize" else -1
    # differences, as means are of as many seeds as each had; of few seeds they say little
    rows.sort(key=lambda row: (row.verdict == "left early", -sign * row.difference))
    baseline_row = _compare(baseline, base, base, worst, test, word="baseline")
    better = [row for row in rows if row.verdict == "better"]
    # nothing is better than a baseline that was not compared at its best
    winner = better[0] if better and not baseline_row.is_at_grid_end else baseline_row
    return Verdict(
        study_name,
        metric,
        direction,
        count,
        total,
        baseline_row,
        tuple(rows),
        winner,
        _versus_catalog(winner, rows, finalists, worst, test) if winner in better else None,
        test.visible(_deviation(rows, base), count if cut else looks[-1]),
        min_effect,
        validation_only,
        most_seeds=looks[-1],
        cut=cut,
    )


def _count_seeds(baseline: Measured, finalists: Sequence[Measured], looks: tuple[int, ...]) -> int:
    count = len(baseline.values)
    if not finalists:
        raise StudyError("there is nothing to compare with the baseline: no finalist")
    if any(
        len(item.values) not in looks or not 2 <= len(item.values) <= count
        for item in (baseline, *finalists)
    ):
        raise StudyError("a verdict needs at least 2 seeds, the same for all but those that left")
    return count


def count_comparisons(is_catalog: Sequence[bool]) -> int:
    """How many comparisons a verdict over such finalists makes: each with the baseline, and, where there are both
    composed ones and catalog rows, a composed winner with the best catalog row.
    """
    return len(is_catalog) + (any(is_catalog) and not all(is_catalog))


def _versus_catalog(
    winner: VerdictRow,
    rows: Sequence[VerdictRow],
    finalists: Sequence[Measured],
    worst: float,
    test: PairedTest,
) -> VerdictRow | None:
    """A composed winner compared with the best catalog row of those with most seeds; rows are sorted, best first.

    None where a race was cut before that had trained under enough seeds: few of them say nothing.
    """
    catalog = [row for row in rows if row.is_catalog]
    if winner.is_catalog or not catalog:
        return None
    best = max(catalog, key=lambda row: len(row.values))
    item = next(item for item in finalists if item.is_catalog and item.number == best.number)
    common = min(len(winner.values), len(best.values))
    if common < min(MIN_SEEDS, len(winner.values)):
        return None
    return _compare(
        item, np.array(winner.values[:common]), np.array(best.values[:common]), worst, test
    )


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
        levels = nominal_levels(self.looks, (1 - _CONFIDENCE) / self.comparisons)
        return levels[self.looks.index(seeds)]

    def critical(self, seeds: int) -> float:
        """Of t, after so many seeds."""
        return -float(special.stdtrit(seeds - 1, self.level(seeds) / 2))

    def interval(self, differences: Numbers) -> tuple[float, float, float]:
        """Ends of the simultaneous interval of the mean, and the adjusted p value; of (seeds,) differences."""
        count = len(differences)
        mean = float(differences.mean())
        error = float(differences.std(ddof=1)) / math.sqrt(count)
        if error == 0:
            return self._interval_of_equals(mean, count)
        p_value = 2 * float(special.stdtr(count - 1, -abs(mean) / error))
        half = self.critical(count) * error
        return mean - half, mean + half, self._adjust(p_value, count)

    def _adjust(self, p_value: float, count: int) -> float:
        """So that it is below .05 where the interval leaves out 0."""
        return min(1.0, p_value * (1 - _CONFIDENCE) / self.level(count))

    def _interval_of_equals(self, mean: float, count: int) -> tuple[float, float, float]:
        """Every difference the same, as on a small test set: t is undefined, the exact sign test is not."""
        p_value = self._adjust(2 * 0.5**count, count) if mean else 1.0
        if p_value < 1 - _CONFIDENCE or mean == 0:
            return mean, mean, p_value
        return min(mean, 0.0), max(mean, 0.0), p_value

    def visible(self, deviation: float, seeds: int) -> float:
        """Smallest true difference that is found with a power of 80 % by so many seeds, one of the looks."""
        power = float(special.stdtrit(seeds - 1, _POWER))
        found = (self.critical(seeds) + power) * deviation / math.sqrt(seeds)
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


def _compare(
    item: Measured,
    scores: Numbers,
    base: Numbers,
    worst: float,
    test: PairedTest,
    word: Word | None = None,
) -> VerdictRow:
    differences = scores - base[: len(scores)]
    low, high, p_value = test.interval(differences)
    as_given = item.values if item.as_given is None else item.as_given
    return VerdictRow(
        item.formula,
        item.label,
        float(scores.mean()),
        _without_rounding(differences, scores),
        low,
        high,
        p_value,
        word or test.word(low, high, len(scores)),
        tuple(float(value) for value in scores),
        float(np.mean([worst if value is None else value for value in as_given])),
        item.learning_rate,
        sum(value is None for value in item.values),
        item.number,
        item.is_catalog,
        item.activation,
        item.others,
        item.at_grid_end,
        item.learning_rates,
        len(as_given) if len(as_given) < len(item.values) else 0,
    )


def _without_rounding(differences: Numbers, scores: Numbers) -> float:
    """Mean difference; 0 where it is the rounding of scores that are equal on average."""
    mean = float(differences.mean())
    return 0.0 if abs(mean) < _ROUNDING * float(np.abs(scores).mean()) else mean


def _without_interval(row: VerdictRow, count: int) -> VerdictRow:
    """A line of a race with too few seeds for a word: what few of them say is no interval to be read."""
    if len(row.values) >= MIN_SEEDS:
        return row
    word: Word = "left early" if count >= MIN_SEEDS else row.verdict
    return replace(row, low=-math.inf, high=math.inf, p_value=1.0, verdict=word)


def _deviation(rows: Sequence[VerdictRow], base: Numbers) -> float:
    """Standard deviation of a paired difference, the median over rows with enough seeds: two tell next to nothing, and
    one finalist that varies widely nothing of the others.
    """
    enough = min(MIN_SEEDS, max(len(row.values) for row in rows))
    differences = [
        np.array(row.values) - base[: len(row.values)] for row in rows if len(row.values) >= enough
    ]
    return float(np.median([own.std(ddof=1) for own in differences]))


def _worst(measured: Sequence[Measured], direction: str) -> float:
    scores = [
        value
        for item in measured
        for value in (*item.values, *(item.as_given or ()))
        if value is not None
    ]
    if not scores:
        raise StudyError(
            "every run of the confirmation diverged: lower the learning rate of the task"
        )
    return min(scores) if direction == "maximize" else max(scores)


def _scores(item: Measured, worst: float) -> Numbers:
    return np.array([worst if value is None else value for value in item.values], dtype=np.float64)
