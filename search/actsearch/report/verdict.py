"""Is it better than what I have? Arithmetic on paired results; nothing here trains anything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from actsearch.errors import StudyError

__all__ = ["MIN_SEEDS", "Measured", "Verdict", "VerdictRow", "Word", "judge", "shrunken_means"]

MIN_SEEDS = 8
"""Fewer paired seeds give no verdict: the t distribution's tails are then too wide to say anything useful."""

_CONFIDENCE = 0.95
_POWER = 0.8

Word = Literal["better", "worse", "not distinguishable", "equivalent", "too few seeds", "baseline"]


@dataclass(frozen=True)
class Measured:
    """Scores of one candidate on the confirmation seeds.

    Attributes:
        formula: its formula; for the model unchanged, its label.
        label: short text for tables.
        values: one score a seed, None where training diverged; seeds in one order for all.
        as_given: scores at the task's own learning rate, likewise; None where they are the same.
        learning_rate: the learning rate chosen on validation data; None if none was chosen.
        number: trial number; None for the baseline.
        is_catalog: whether it is a catalog row.
    """

    formula: str
    label: str
    values: Sequence[float | None]
    as_given: Sequence[float | None] | None = None
    learning_rate: float | None = None
    number: int | None = None
    is_catalog: bool = False


@dataclass(frozen=True)
class VerdictRow:
    """One line of a verdict.

    Attributes:
        formula: formula of the candidate, or label of the baseline.
        label: short text for tables.
        mean: mean score over the seeds, at the tuned learning rate.
        difference: mean paired difference to the baseline, in the metric's units.
        low: lower end of the simultaneous 95 % interval of the difference.
        high: upper end.
        p_value: two-sided paired t test, multiplied by the number of comparisons (at most 1).
        verdict: the word read from the interval.
        values: the scores, a diverged seed as the worst value seen.
        as_given: mean score at the task's own learning rate.
        learning_rate: the tuned learning rate, if one was chosen.
        diverged: how many seeds diverged.
        number: trial number.
        is_catalog: whether it is a catalog row.
    """

    formula: str
    label: str
    mean: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Word
    values: tuple[float, ...]
    as_given: float
    learning_rate: float | None = None
    diverged: int = 0
    number: int | None = None
    is_catalog: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer of ``study.confirm``. ``str(verdict)`` is the table with its closing sentence.

    Attributes:
        study_name: the study.
        metric: what was measured.
        direction: which way is better.
        seeds: paired seeds.
        comparisons: comparisons on this test data so far, these included; intervals hold over all of them.
        baseline: what the others are compared with.
        rows: the finalists, best mean first.
        winner: the best row that is "better", else the baseline.
        versus_catalog: a composed winner compared with the best catalog row, if there is one.
        visible_difference: the smallest true difference that this test finds in 4 of 5 cases.
        min_effect: differences below this do not matter to the user.
        validation_only: the objective did not tell search from confirmation.
    """

    study_name: str
    metric: str
    direction: Literal["maximize", "minimize"]
    seeds: int
    comparisons: int
    baseline: VerdictRow
    rows: tuple[VerdictRow, ...]
    winner: VerdictRow
    versus_catalog: VerdictRow | None
    visible_difference: float
    min_effect: float | None = None
    validation_only: bool = False

    @property
    def sentence(self) -> str:
        """One plain sentence."""
        text = self._decision()
        if self.validation_only:
            text += " Validation only: the objective never looked at run.phase, so the scores are optimistic."
        return text

    def _decision(self) -> str:
        base = self.baseline.label
        if self.seeds < MIN_SEEDS:
            return f"Undecided: {self.seeds} seeds are too few for a verdict; confirm with at least {MIN_SEEDS}."
        if self.winner is not self.baseline:
            row = self.winner
            text = (
                f"Use {row.label}: its {self.metric} is {_number(abs(row.difference))} "
                f"{'higher' if row.difference > 0 else 'lower'} than with {base} "
                f"(95 % interval {_number(row.low)} to {_number(row.high)})."
            )
            against = self.versus_catalog
            if against is not None and against.verdict != "better":
                text += (
                    f" It is {against.verdict} from the catalog's {against.label}, which is simpler."
                    if against.verdict == "not distinguishable"
                    else f" Against the catalog's {against.label} it is {against.verdict}."
                )
            return text
        equal = [row.label for row in self.rows if row.verdict == "equivalent"]
        if equal and self.min_effect is not None:
            return (
                f"Keep {base}: nothing beat it by {_number(self.min_effect)} or more; "
                f"{', '.join(equal)} {'is' if len(equal) == 1 else 'are'} equivalent."
            )
        return (
            f"Keep {base}: nothing beat it; "
            f"differences above {_number(self.visible_difference)} would have shown."
        )

    def __str__(self) -> str:
        return f"{self._heading()}\n{self._table()}\n{self.sentence}"

    def _heading(self) -> str:
        where = "validation data" if self.validation_only else "test data"
        return (
            f"{self.study_name}: {self.metric} on {where}, {self.seeds} paired seeds, "
            f"intervals hold for all {self.comparisons} comparisons made on it"
        )

    def _table(self) -> str:
        header = [
            "activation",
            "mean",
            "difference",
            "95 % interval",
            "p",
            "lr",
            "as given",
            "verdict",
        ]
        lines = [header, *(self._line(row) for row in (self.baseline, *self.rows))]
        if self.versus_catalog is not None:
            against = self.versus_catalog
            label = f"{_cut(self.winner.label, 20)} against {against.label}"
            lines.append(
                self._line(dataclasses.replace(against, label=label, mean=self.winner.mean))
            )
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        rows = [
            "  ".join(
                cell.ljust(width) if column in (0, len(header) - 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]])

    def _line(self, row: VerdictRow) -> list[str]:
        is_baseline = row.verdict == "baseline"
        word = row.verdict + (f" ({row.diverged} diverged)" if row.diverged else "")
        return [
            _cut(row.label, 48),
            _number(row.mean),
            "" if is_baseline else f"{row.difference:+.4f}",
            "" if is_baseline else f"{row.low:+.4f} to {row.high:+.4f}",
            "" if is_baseline else f"{row.p_value:.3f}",
            "" if row.learning_rate is None else f"{row.learning_rate:.2g}",
            _number(row.as_given),
            word,
        ]

    def to_json(self) -> dict[str, Any]:
        """Every number, as JSON data without NaN."""
        data = dataclasses.asdict(self)
        data["winner"] = next(
            index for index, row in enumerate((self.baseline, *self.rows)) if row is self.winner
        )
        cleaned: dict[str, Any] = _without_nonfinite(data)
        return cleaned

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read :meth:`to_json` output."""
        baseline = _row(data["baseline"])
        rows = tuple(_row(item) for item in data["rows"])
        against = data["versus_catalog"]
        others = {
            key: value
            for key, value in data.items()
            if key not in ("baseline", "rows", "winner", "versus_catalog", "visible_difference")
        }
        return cls(
            baseline=baseline,
            rows=rows,
            winner=(baseline, *rows)[data["winner"]],
            versus_catalog=None if against is None else _row(against),
            visible_difference=float(data["visible_difference"]),
            **others,
        )


def judge(
    baseline: Measured,
    finalists: Sequence[Measured],
    *,
    study_name: str,
    metric: str,
    direction: Literal["maximize", "minimize"],
    earlier_comparisons: int = 0,
    min_effect: float | None = None,
    validation_only: bool = False,
) -> Verdict:
    """Compare finalists with a baseline on paired scores.

    A paired t interval for each mean difference, simultaneous by Bonferroni over every comparison ever made on this
    test data; the word is read from the interval. A diverged seed counts as the worst value that anything here
    scored. A composed winner is also compared with the best catalog row among the finalists.

    Args:
        baseline: scores of what the user has.
        finalists: scores of the candidates, on the same seeds in the same order.
        study_name: for the heading.
        metric: name of the metric.
        direction: which way is better.
        earlier_comparisons: comparisons made on this test data before.
        min_effect: smallest difference that matters; intervals within it read "equivalent".
        validation_only: see :class:`Verdict`.

    Raises:
        StudyError: without finalists or with different numbers of seeds.
    """
    count = len(baseline.values)
    if not finalists:
        raise StudyError("there is nothing to compare with the baseline: no finalist")
    if any(len(item.values) != count for item in finalists) or count < 2:
        raise StudyError("a verdict needs at least 2 seeds, the same for all")
    catalog = [item for item in finalists if item.is_catalog]
    may_meet_catalog = bool(catalog) and any(not item.is_catalog for item in finalists)
    total = earlier_comparisons + len(finalists) + may_meet_catalog
    worst = _worst([baseline, *finalists], direction)
    test = _PairedTest(total, direction, min_effect)
    base = _scores(baseline, worst)
    rows = [_judged(item, _scores(item, worst), base, worst, test) for item in finalists]
    sign = 1 if direction == "maximize" else -1
    rows.sort(key=lambda row: -sign * row.mean)
    baseline_row = _judged(baseline, base, base, worst, test, word="baseline")
    better = [row for row in rows if row.verdict == "better"]
    winner = better[0] if better else baseline_row
    against = None
    if better and not winner.is_catalog and catalog:
        best = next(row for row in rows if row.is_catalog)
        item = next(item for item in catalog if item.number == best.number)
        against = _judged(item, np.array(winner.values), np.array(best.values), worst, test)
    spreads = [float(np.std(np.array(row.values) - base, ddof=1)) for row in rows]
    return Verdict(
        study_name,
        metric,
        direction,
        count,
        total,
        baseline_row,
        tuple(rows),
        winner,
        against,
        test.visible(float(np.median(spreads)), count),
        min_effect,
        validation_only,
    )


@dataclass(frozen=True)
class _PairedTest:
    """Paired t, Bonferroni over a number of comparisons."""

    comparisons: int
    direction: Literal["maximize", "minimize"]
    min_effect: float | None

    def critical(self, seeds: int) -> float:
        tail = (1 - _CONFIDENCE) / (2 * self.comparisons)
        return float(stats.t.isf(tail, seeds - 1))

    def interval(self, differences: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        """Ends of the simultaneous interval of the mean, and the adjusted p value."""
        count = len(differences)
        mean = float(differences.mean())
        error = float(differences.std(ddof=1)) / math.sqrt(count)
        if error == 0:
            return mean, mean, 1.0 if mean == 0 else 0.0
        p_value = 2 * float(stats.t.sf(abs(mean) / error, count - 1))
        half = self.critical(count) * error
        return mean - half, mean + half, min(1.0, p_value * self.comparisons)

    def visible(self, spread: float, seeds: int) -> float:
        """Smallest true difference found with a power of 80 %."""
        power = float(stats.t.ppf(_POWER, seeds - 1))
        return (self.critical(seeds) + power) * spread / math.sqrt(seeds)

    def word(self, low: float, high: float, seeds: int) -> Word:
        """Read the interval."""
        if seeds < MIN_SEEDS:
            return "too few seeds"
        if self.min_effect is not None and max(abs(low), abs(high)) < self.min_effect:
            return "equivalent"
        if low > 0 or high < 0:
            return "better" if (low > 0) == (self.direction == "maximize") else "worse"
        return "not distinguishable"


def _judged(
    item: Measured,
    scores: npt.NDArray[np.float64],
    base: npt.NDArray[np.float64],
    worst: float,
    test: _PairedTest,
    word: Word | None = None,
) -> VerdictRow:
    differences = scores - base
    low, high, p_value = test.interval(differences)
    as_given = item.values if item.as_given is None else item.as_given
    return VerdictRow(
        item.formula,
        item.label,
        float(scores.mean()),
        float(differences.mean()),
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
    )


def _worst(measured: Sequence[Measured], direction: str) -> float:
    seen = [
        value
        for item in measured
        for value in (*item.values, *(item.as_given or ()))
        if value is not None
    ]
    if not seen:
        raise StudyError(
            "every run of the confirmation diverged: lower the learning rate of the task"
        )
    return min(seen) if direction == "maximize" else max(seen)


def _scores(item: Measured, worst: float) -> npt.NDArray[np.float64]:
    return np.array([worst if value is None else value for value in item.values], dtype=np.float64)


def shrunken_means(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Means of candidates, pulled towards their common mean as far as noise explains their spread.

    Empirical Bayes (James-Stein, positive part): weight tau^2 / (tau^2 + s^2 / n) on the own mean, with s^2 the pooled
    variance over seeds and tau^2 the variance of the means beyond s^2 / n.

    Args:
        values: shape ``(candidates, seeds)``.

    Returns:
        Shape ``(candidates,)``.
    """
    table = np.asarray(values, dtype=np.float64)
    means: npt.NDArray[np.float64] = table.mean(axis=1)
    candidates, seeds = table.shape
    if candidates < 2 or seeds < 2:
        return means
    noise = float(table.var(axis=1, ddof=1).mean()) / seeds
    between = max(0.0, float(means.var(ddof=1)) - noise)
    weight = between / (between + noise) if between + noise > 0 else 1.0
    centre = means.mean()
    shrunken: npt.NDArray[np.float64] = centre + weight * (means - centre)
    return shrunken


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _row(data: Mapping[str, Any]) -> VerdictRow:
    numbers = ("mean", "difference", "low", "high", "p_value", "as_given")
    read = {key: float(value) if key in numbers else value for key, value in data.items()}
    read["values"] = tuple(float(value) for value in data["values"])
    return VerdictRow(**read)


def _without_nonfinite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    if isinstance(data, dict):
        return {key: _without_nonfinite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without_nonfinite(item) for item in data]
    return data
