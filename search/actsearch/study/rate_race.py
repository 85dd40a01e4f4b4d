"""Which learning rates are still tried, by what all seeds so far say together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.study.rate_grid import RateGrid

__all__ = ["RateRace"]

Numbers = npt.NDArray[np.float64]

_SURE = 2.5  # standard errors by which a rate has to lose
_LATER, _LATE = 2.0, 4  # likewise, from so many seeds on
_SHARED = (
    2  # degrees of freedom that the variance of all contenders counts as, beside a contender's own
)
_TINY = 1e-4  # deviation that scores have at least, as a share of those at the best rate: fewer digits say nothing


class RateRace:
    """Steps of a grid for each contender: those that lose leave, and an edge that wins or is flat gets a neighbour.

    A rate leaves where it is worse on validation data by 2.5 standard errors of the paired differences over seeds, from
    four seeds on by 2, the variance of which is shared among contenders as far as few seeds do not show it. What is
    nearly as good as the best stays, and of such rates each seed takes its own best: one rate for all seeds would be an
    error that all seeds share, and mirror images, which train alike, would be told apart (simulated: 12 % false words
    where rates left after one seed, 5 % as it is). Each contender is judged by its own seeds: where those of others had
    a say, a baseline that trains best at another rate than the finalists lost it, and 15 % false words came of that.

    Attributes:
        steps: of each contender, those that are tried.
    """

    def __init__(self, grid: RateGrid, count: int) -> None:
        """Args:
        grid: of learning rates.
        count: of contenders.
        """
        self._grid = grid
        self.steps: list[list[int]] = [list(grid.first) for _ in range(count)]
        self._left: list[set[int]] = [set() for _ in range(count)]

    def update(self, scores: Mapping[int, Sequence[Sequence[float | None]]]) -> None:
        """Let rates leave and neighbours come.

        Args:
            scores: by contender, on validation data: for each of its steps one a seed, None where training diverged.
        """
        tables = {row: self._fill(own) for row, own in scores.items()}
        pooled = _pooled_variance(list(tables.values()))
        for row, table in tables.items():
            steps = self.steps[row]
            means = {
                step: None
                if all(score is None for score in own)
                else self._grid.sign * float(mean)
                for step, mean, own in zip(steps, table.mean(1), scores[row], strict=True)
            }
            best = steps.index(self._grid.best(means))
            sure = _SURE if table.shape[1] < _LATE else _LATER
            least = _TINY * float(np.abs(table[best]).mean())
            lost = {
                step
                for step, own in zip(steps, table, strict=True)
                if _lead(table[best] - own, pooled, least) > sure
            }
            self._left[row] |= lost
            come = [step for step in self._grid.outward(means) if step not in self._left[row]]
            self.steps[row] = [step for step in (*steps, *come) if step not in lost]

    def _fill(self, scores: Sequence[Sequence[float | None]]) -> Numbers:
        """Of a contender, larger is better; (steps, seeds); what diverged is the worst of it."""
        sign = self._grid.sign
        known = [sign * score for own in scores for score in own if score is not None]
        worst = min(known, default=0.0)
        return np.array(
            [[worst if score is None else sign * score for score in own] for own in scores]
        )


def _pooled_variance(tables: Sequence[Numbers]) -> float:
    """Of a score beside its step's mean and its seed's; the median over contenders."""
    found = []
    for table in tables:
        steps, seeds = table.shape
        if steps > 1 and seeds > 1:
            rest: Any = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
            found.append(float((rest**2).sum()) / ((steps - 1) * (seeds - 1)))
    return statistics.median(found) if found else 0.0


def _lead(differences: Numbers, pooled: float, least: float) -> float:
    """By how many standard errors what is better by these differences, a seed each, is better; 0 for one seed.

    Args:
        differences: see above.
        pooled: variance of a score, of all contenders together.
        least: deviation that differences have at least.
    """
    count = len(differences)
    if count < 2:
        return 0.0
    own = float(((differences - differences.mean()) ** 2).sum())
    variance = (own + _SHARED * 2 * pooled) / (count - 1 + _SHARED)
    deviation = max(variance**0.5, least)
    return float(differences.mean() / deviation * count**0.5) if deviation > 0 else 0.0
