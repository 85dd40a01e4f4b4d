"""How a budget is divided between the learning rate, the search and the verdict. Arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from actsearch.errors import StudyError
from actsearch.report import LOOKS, MIN_SEEDS
from actsearch.study.answer.budget import Budget
from actsearch.study.finalists import POOL
from actsearch.study.race import forecast_race
from actsearch.study.times import format_seconds

__all__ = ["Costs", "Plan", "make_plan"]

MOST_TRIALS = 300
"""On the tasks of the benchmark next to nothing is found beyond 200."""

_FEWEST_TRIALS = 6  # the model unchanged and the beginning of the portfolio
_FEW_TRIALS = (
    12  # among so many the median task of the benchmark finds 95 % of what there is to gain
)
_SHARE = 0.6  # of what is left may go into a verdict over more than one finalist
_RESERVE = 1.5  # times its average, nine of ten races have come to their end
_MOST_FINALISTS = 5
_TO_A_WORD = 38  # trainings of a race between two until eight seeds
_NOTICEABLE = 1.25  # times as many trials, or as long a training, are told
_SWEEP = 5  # trainings that the choice of a learning rate takes on average; 3 at least


@dataclass(frozen=True)
class Costs:
    """What trainings a study needs.

    Attributes:
        seeds: trainings of a trial.
        has_rate: whether a verdict tunes the learning rate.
        tunes_first: whether one is chosen with the model unchanged, before the search.
        longer: times as long as another one a training of the verdict takes, where the budget is time; what is said of
            a verdict is then in trainings of the search.
    """

    seeds: int = 1
    has_rate: bool = True
    tunes_first: bool = True
    longer: float = 1.0

    def verdict(self, top_k: int, trials: int = MOST_TRIALS) -> int:
        """About how many trainings a verdict over so many finalists takes."""
        return _pool(top_k, trials) + round(self.longer * self._race(top_k))

    def most_verdict(self, top_k: int) -> int:
        """How many it should be able to take, so as not to be cut short."""
        return _pool(top_k, MOST_TRIALS) + math.ceil(_RESERVE * self.longer * self._race(top_k))

    def _race(self, top_k: int) -> int:
        return forecast_race(top_k + 2, LOOKS[-1], is_race=True, has_rates=self.has_rate)

    def least_verdict(self, trials: int) -> int:
        """About how many one over a single finalist takes until there are enough seeds for a word."""
        race = _TO_A_WORD if self.has_rate else 2 * MIN_SEEDS + 2
        return _pool(1, trials) + round(self.longer * race)

    @property
    def rate(self) -> int:
        """About how many trainings the choice of a learning rate takes."""
        return _SWEEP if self.tunes_first and self.has_rate else 0


def _pool(top_k: int, trials: int) -> int:
    """Trainings that choose the finalists: the best catalog row and the model unchanged besides."""
    return min(POOL * top_k, trials) + 2


@dataclass(frozen=True)
class Plan:
    """A division of a budget; all numbers are forecasts, in trainings.

    Attributes:
        rate: for the learning rate of the model unchanged.
        search: for the search.
        trials: of the search, in all.
        verdict: for the verdict.
        top_k: its finalists.
        longer: see :class:`Costs`.
        is_tuned: whether the verdict tries several learning rates for each finalist and for the model unchanged.
    """

    rate: int
    search: int
    trials: int
    verdict: int
    top_k: int
    longer: float = 1.0
    is_tuned: bool = True

    @property
    def trainings(self) -> int:
        """In all, with that of the weights that are kept."""
        return self.rate + self.search + self.verdict + 1

    def differs(self, other: Plan, times: float) -> bool:
        """Whether a reader of another plan should hear of this one.

        Args:
            other: that was told.
            times: how many times as long as was said there a training takes.
        """
        if (self.top_k, self.is_tuned) != (other.top_k, other.is_tuned):
            return True
        few, many = sorted((self.trials, other.trials))
        is_longer = max(times, 1 / times) > _NOTICEABLE if times > 0 else False
        return is_longer or (many > _NOTICEABLE * few and many > few + 1)

    def describe(self, seconds: float, *, is_share: bool = False, shows: str = "") -> str:
        """In words, for trainings of so many seconds.

        Args:
            seconds: of a training.
            is_share: whether that is its share of the time of several that are trained at once.
            shows: which difference in the metric will show; "" while no noise was measured.
        """
        parts = [f"{self.rate} for the learning rate"] * bool(self.rate)
        parts += [f"{self.search} to search ({self.trials} trials)"]
        verdict = round(self.verdict / self.longer)
        more = f" of {format_seconds(self.longer * seconds)}" if self.longer > 1 else ""
        at = "" if self.is_tuned else " at one learning rate"
        parts += [f"{verdict}{more} for the verdict{at}, 1 for the weights"]
        count = self.trainings - self.verdict + verdict
        in_all = format_seconds(self.trainings * seconds)
        return (
            f"about {count} trainings of {format_seconds(seconds)}{' (several at once)' * is_share}, {in_all} in all: "
            f"{', '.join(parts)}{f'; {shows}' * bool(shows)}"
        )


def make_plan(left: int, costs: Costs, *, trained: int = 0, rate: int | None = None) -> Plan:
    """Divide what is left.

    A verdict that comes to a word is first, then a few trials; then as many finalists as half of it pays for. The rest
    is for the search. Where one that tunes the learning rate would take most of it, and yet hardly come to its end,
    it compares at the rate of the model unchanged alone, in half of the trainings.

    Args:
        left: trainings.
        costs: of the study.
        trained: trials that the study has.
        rate: trainings that the learning rate will still take; None for what it takes on average.

    Raises:
        StudyError: it is too little for an answer; says how much is needed, and what the budget could do.
    """
    rate = costs.rate if rate is None else rate
    after = left - rate - 1
    is_tuned = not costs.has_rate or costs.most_verdict(1) <= _SHARE * after
    if not is_tuned:
        costs = replace(costs, has_rate=False)
    top_k = next(
        (k for k in range(_MOST_FINALISTS, 1, -1) if costs.most_verdict(k) <= _SHARE * after), 1
    )
    fewest = max(0, _FEWEST_TRIALS - trained)
    spare = after - costs.least_verdict(trained + fewest) - fewest * costs.seeds
    if spare < 0:
        verdict = costs.least_verdict(trained + fewest)
        raise TooLittle(
            left,
            Plan(rate, fewest * costs.seeds, trained + fewest, verdict, 1, costs.longer, is_tuned),
        )
    few = fewest + min(spare // (2 * costs.seeds), max(0, _FEW_TRIALS - trained - fewest))
    trials = max(few, (after - costs.most_verdict(top_k)) // costs.seeds)
    trials = min(trials, max(0, MOST_TRIALS - trained))
    search = trials * costs.seeds
    verdict = min(costs.verdict(top_k, trained + trials), after - search)
    return Plan(rate, search, trained + trials, verdict, top_k, costs.longer, is_tuned)


class TooLittle(StudyError):
    """A budget that is used up before anything is known.

    Attributes:
        left: trainings that are left.
        least: what an answer takes.
    """

    def __init__(self, left: int, least: Plan) -> None:
        self.left, self.least = left, least
        super().__init__(f"{left} trainings are left, and an answer takes about {least.trainings}")

    def explain(self, budget: Budget, seconds: float) -> str:
        """For people, with trainings of so many seconds."""
        needed = self.least.trainings
        wanted = (
            f"budget={needed}"
            if budget.seconds is None
            else f"a budget of {format_seconds(needed * seconds)}"
        )
        instead = ""
        if self.left >= 1:
            instead = (
                f"; with this one, study.optimize(task, n_trials={self.left}) ranks candidates on validation data, "
                "where the best one is partly luck"
            )
        return (
            f"a budget of {budget} is too small for an answer: with trainings of {format_seconds(seconds)} about "
            f"{max(0, self.left)} are left, and the choice of a learning rate, a short search and a verdict with "
            f"at least 8 paired seeds take about {needed}: give {wanted}, or shorter trainings{instead}"
        )
