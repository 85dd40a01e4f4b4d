"""A grid of learning rates that goes on while something better may lie beyond its edges."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

__all__ = ["RateGrid"]

_STEP = 3.0  # rates are tried a factor of 3 apart
_REACH = (
    6  # and while the rate at an edge wins, the grid is extended up to six steps to either side
)
_FLAT_REACH = 3  # where scores are flat up to an edge, up to three: nothing may be found there
_FLAT = 1e-3  # relative; scores that differ by less are flat, as are equal accuracies


class RateGrid:
    """Learning rates by step from the one that is given; which to try next, and which is best.

    Scores are by step, None where the training diverged.

    Attributes:
        sign: 1 where larger scores are better, else -1.
    """

    def __init__(
        self, given: float | None, sign: int, listed: Sequence[float] | None = None
    ) -> None:
        """Args:
        given: the learning rate at step 0; None where the objective has none that can be set.
        sign: 1 where larger scores are better, else -1.
        listed: the only other ones that are tried; None for a grid that goes on where that may help.
        """
        self._given = given
        self.sign = sign
        self._listed: dict[int, float] | None = None
        if listed is not None and given is not None:
            below = sorted((rate for rate in listed if rate < given), reverse=True)
            above = sorted(rate for rate in listed if rate > given)
            self._listed = {0: given} | {
                sign_of * step: rate
                for sign_of, rates in ((-1, below), (1, above))
                for step, rate in enumerate(rates, 1)
            }

    @property
    def first(self) -> tuple[int, ...]:
        """The steps to begin with."""
        if self._listed is not None:
            return tuple(sorted(self._listed, key=abs))
        return (0,) if self._given is None else (0, -1, 1)

    def rate(self, step: int) -> float | None:
        """The learning rate at a step; None where the objective has none."""
        if self._listed is not None:
            return self._listed[step]
        return None if self._given is None else self._given * _STEP**step

    def best(self, scores: Mapping[int, float | None]) -> int:
        """The step with the best score; of equals, the nearest to the learning rate as given."""
        return self.ranked(scores)[0]

    def ranked(self, scores: Mapping[int, float | None]) -> list[int]:
        """The steps, best score first."""
        return sorted(scores, key=lambda step: (-self._rank_value(scores[step]), abs(step)))

    def average(self, scores: Sequence[float | None]) -> float | None:
        """Mean over seeds, what diverged as the worst of them; None where all did."""
        known = [score for score in scores if score is not None]
        if not known:
            return None
        worst = min(known) if self.sign > 0 else max(known)
        return statistics.fmean(worst if score is None else score for score in scores)

    def is_better(self, new: float | None, old: float | None) -> bool:
        """Whether one score is better than another; whatever is reached is better than what diverges."""
        return self._rank_value(new) > self._rank_value(old)

    def ends_at_best(self, scores: Mapping[int, float | None]) -> bool:
        """Whether the best step is the last one tried, so that a better one may lie beyond the grid."""
        return len(scores) > 1 and self.best(scores) in (min(scores), max(scores))

    def outward(self, scores: Mapping[int, float | None]) -> list[int]:
        """The steps beyond edges that win, or up to which scores are flat; none where the grid reaches no further.

        Where every training diverges, the grid goes on downwards.
        """
        if len(scores) == 1 or self._listed is not None:
            return []
        best = self.best(scores)
        outward: list[int] = []
        if scores[best] is None:  # all diverge, as they do where the given rate is far too large
            return [min(scores) - 1] if min(scores) > -_REACH else []
        for edge, beyond in ((min(scores), min(scores) - 1), (max(scores), max(scores) + 1)):
            reach = _REACH if edge == best else _FLAT_REACH
            wins = edge == best or self.is_flat(scores[edge], scores[best])
            if wins and abs(beyond) <= reach:
                outward.append(beyond)
        return outward

    def is_flat(self, edge: float | None, best: float | None) -> bool:
        """Whether two scores say nothing of which rate is better, and others might."""
        if edge is None or best is None or best == (1.0 if self.sign > 0 else 0.0):
            return False  # diverged, or as good as accuracies and errors become
        return abs(edge - best) <= _FLAT * max(abs(edge), abs(best))

    def _rank_value(self, value: float | None) -> float:
        return float("-inf") if value is None else self.sign * value
