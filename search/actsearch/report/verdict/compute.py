"""Is it better than what I have? Arithmetic on paired results; nothing here trains anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actsearch.errors import StudyError
from actsearch.report.verdict.looks import Numbers
from actsearch.report.verdict.paired import Paired, PairedTest, Scores, count_groups, pair
from actsearch.report.verdict.rows import MIN_SEEDS, Direction, Verdict, VerdictRow, Word

__all__ = ["Measured", "count_comparisons", "compute_verdict"]

_ROUNDING = 1e-13


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
        without: of each value, what it is without each group of test rows; empty where that is not known.
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
    without: Sequence[Sequence[float]] = ()

    @property
    def scores(self) -> Scores:
        """What differences are computed from."""
        return Scores(self.values, self.without)


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
    splits: int = 0,
) -> Verdict:
    """Compare finalists with a baseline on paired scores.

    A paired t interval for each mean difference, simultaneous by Bonferroni over every comparison ever made on this
    test data, and over the looks; the word is read from the interval. Where all scores are known without each group of
    test rows as well, it holds for new training runs and new rows, else for new training runs on these rows. A
    diverged seed counts as the worst value that anything here scored. A composed winner is also compared with the best
    catalog row among the finalists.

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
        splits: likewise; means of fewer seeds than the baseline's are then of other rows, and are shown by difference.

    Raises:
        StudyError: without finalists, or with numbers of seeds that were not looked at.
    """
    looks = looks or (len(baseline.values),)
    count = _count_seeds(baseline, finalists, looks)
    total = earlier_comparisons + count_comparisons([item.is_catalog for item in finalists])
    # a seed left out would flatter what diverges on it
    worst = _worst([baseline, *finalists], direction)
    test = PairedTest(total, direction, looks, min_effect)
    groups = _count_groups(baseline, finalists)
    pairs = [pair(item.scores, baseline.scores, worst, groups) for item in finalists]
    rows = [_compare(item, own, worst, test) for item, own in zip(finalists, pairs, strict=True)]
    itself = pair(baseline.scores, baseline.scores, worst, groups)
    baseline_row = _compare(baseline, itself, worst, test, word="baseline")
    if splits > 1:
        rows = [_on_all_rows(row, baseline_row) for row in rows]
    if len(looks) > 1:
        rows = [_without_interval(row, count) for row in rows]
    sign = 1 if direction == "maximize" else -1
    # differences, as means are of as many seeds as each had; of few seeds they say little
    rows.sort(key=lambda row: (row.verdict == "left early", -sign * row.difference))
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
        _versus_catalog(winner, rows, finalists, worst, test, groups)
        if winner in better
        else None,
        _visible(pairs, test, count if cut else looks[-1]),
        min_effect,
        validation_only,
        most_seeds=looks[-1],
        cut=cut,
        covers="seeds+rows" if groups else "seeds",
        splits=splits,
        rows_share=_share_of_rows(pairs),
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
    groups: int,
) -> VerdictRow | None:
    """A composed winner compared with the best catalog row of those with most seeds; rows are sorted, best first.

    None where a race was cut before that had trained under enough seeds: few of them say nothing.
    """
    catalog = [row for row in rows if row.is_catalog]
    if winner.is_catalog or not catalog:
        return None
    best = max(catalog, key=lambda row: len(row.values))
    item = next(item for item in finalists if item.is_catalog and item.number == best.number)
    own = next(item for item in finalists if item.number == winner.number)
    common = min(len(winner.values), len(best.values))
    if common < min(MIN_SEEDS, len(winner.values)):
        return None
    return _compare(
        item, pair(own.scores, item.scores, worst, groups, common), worst, test, mean_of=common
    )


def _compare(
    item: Measured,
    differences: Paired,
    worst: float,
    test: PairedTest,
    word: Word | None = None,
    mean_of: int | None = None,
) -> VerdictRow:
    """Args:
    item: whose line it is.
    differences: of it, or of a winner to it.
    worst: what a diverged seed counts as.
    test: reads them.
    word: where it is not read from them.
    mean_of: of so many seeds; all by default.
    """
    scores = _scores(item, worst)[:mean_of]
    low, high, p_value = test.interval(differences)
    as_given = item.values if item.as_given is None else item.as_given
    return VerdictRow(
        item.formula,
        item.label,
        float(scores.mean()),
        _without_rounding(differences.values, scores),
        low,
        high,
        p_value,
        word or test.word(low, high, len(differences)),
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


def _on_all_rows(row: VerdictRow, baseline: VerdictRow) -> VerdictRow:
    """A line whose mean is beside the baseline's by what they differ under the seeds that both have: others test other
    rows."""
    first = float(np.mean(baseline.values[: len(row.values)]))
    return replace(row, mean=baseline.mean + row.mean - first)


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


def _count_groups(baseline: Measured, finalists: Sequence[Measured]) -> int:
    """Of test rows; 0 unless the baseline and some finalist with enough seeds are known without each of them."""
    enough = min(MIN_SEEDS, max(len(item.values) for item in finalists))
    groups = count_groups([baseline.scores])
    known = (count_groups([item.scores]) for item in finalists if len(item.values) >= enough)
    return groups if groups in known else 0


def _visible(pairs: Sequence[Paired], test: PairedTest, seeds: int) -> float:
    """Smallest true difference that shows, by the median variances of those with enough seeds: two tell next to
    nothing, and one finalist that varies widely nothing of the others.
    """
    enough = min(MIN_SEEDS, max(map(len, pairs)))
    known = [own for own in pairs if len(own) >= enough]
    deviation = float(np.median([own.values.std(ddof=1) for own in known]))
    groups = max(own.without.shape[1] for own in known)
    of_rows = float(np.median([own.of_rows_alone for own in known]))
    return test.visible(deviation, seeds, of_rows, groups)


def _share_of_rows(pairs: Sequence[Paired]) -> float:
    """Of the variance, the median over those with most seeds."""
    most = max(map(len, pairs))
    known = [
        own.of_rows_alone / own.variance for own in pairs if len(own) == most and own.variance > 0
    ]
    return float(np.median(known)) if known else 0.0


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
