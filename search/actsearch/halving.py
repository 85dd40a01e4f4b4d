"""Successive halving: which trials are given up early, decided by the trials before them alone."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from actsearch.checks import check_field, check_integer, check_number
from actsearch.errors import StudyError
from actsearch.seeds import derive

__all__ = ["EXEMPT", "WHERE_IT_PAYS", "Competition", "RungTracker", "SuccessiveHalving"]

EXEMPT = "spared_at_epoch"  # its name in databases since the first version
"""User attribute of a control trial, which ran to its end although it would have been pruned: where."""

# Of so many trials that would be pruned, one is exempt and runs to its end: what pruning loses is only seen in those.
_EXEMPT_OF = 10
# Of so many trials that ran to their end, the first ones, the rank correlation of a rung with the end is taken.
_KNOWN = 8
# How the share of trials that go on is written in the reason of a pruned one.
_SHARES = {2: "half", 3: "third", 4: "quarter", 5: "fifth"}
_MOST = 2**31 - 1  # epochs or steps
_MOST_RUNGS = 31  # at twice as many each, more than these


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), as in Optuna's SuccessiveHalvingPruner.

    Rung k is at epoch ``min_resource * reduction_factor ** (k + min_early_stopping_rate)``, or at that evaluation where
    the budget is in steps. A trial goes on past a rung if its value there is among the best ``1 / reduction_factor`` of
    all trials that have reached it, itself included; the best always does.

    Attributes:
        min_resource: epochs that every trial gets, at a rate of 0.
        reduction_factor: one in so many goes on.
        min_early_stopping_rate: so many rungs at the start are left out.
        min_correlation: trials are compared only at rungs where the first 8 trials that ran to their end show a rank
            correlation (Spearman's) of so much at least between their values there and their final ones; until there
            are so many nothing is pruned. None compares them at every rung from the second trial on. Where the
            end of a training is not known, as of a function of your own, nothing is pruned with it.

    Raises:
        StudyError: a setting is not an integer, or too small, or larger than any training is long; or the correlation
            is not from -1 to 1.

    Example:
        >>> pruner = acs.SuccessiveHalving(min_resource=2, reduction_factor=4)
        >>> pruner.steps_before(40)  # epochs at which trials are compared
        [2, 8, 32]
    """

    name: ClassVar[str] = "successive_halving"

    min_resource: int = 1
    reduction_factor: int = 4
    min_early_stopping_rate: int = 0
    min_correlation: float | None = None

    def __post_init__(self) -> None:
        # a power without bound would take forever to compute
        bounds = {
            "min_resource": (1, _MOST),
            "reduction_factor": (2, _MOST),
            "min_early_stopping_rate": (0, _MOST_RUNGS),
        }
        for name, (low, high) in bounds.items():
            check_field(self, name, check_integer, StudyError, low=low, high=high)
        if self.min_correlation is not None:
            check_field(self, "min_correlation", check_number, StudyError, low=-1, high=1)

    def step(self, rung: int) -> int:
        """Epoch, 1-based, at which a rung is."""
        resource: int = self.reduction_factor ** (rung + self.min_early_stopping_rate)
        return self.min_resource * resource

    def places(self, competing: int) -> int:
        """How many of the trials at a rung go on."""
        return max(1, competing // self.reduction_factor)

    def steps_before(self, budget: int) -> list[int]:
        """The rungs' epochs before the last one, at which there is nothing left to save."""
        return list(
            itertools.takewhile(lambda step: step < budget, map(self.step, itertools.count()))
        )

    def describe(self) -> dict[str, Any]:
        """Name and settings as JSON data."""
        settings = dataclasses.asdict(self)
        if self.min_correlation is None:  # as studies were stored before there was one
            del settings["min_correlation"]
        return {"name": self.name, "settings": settings}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SuccessiveHalving:
        """Read :meth:`describe` output.

        Raises:
            StudyError: it is no pruner of this version's, or its settings are not.
        """
        if data.get("name") != cls.name:
            raise StudyError(
                f"this version knows no pruner {data.get('name')!r}: use the one that made the study"
            )
        settings, names = data.get("settings"), {field.name for field in dataclasses.fields(cls)}
        if not isinstance(settings, Mapping) or settings.keys() - names:
            raise StudyError(
                f"the stored settings of the pruner are not {', '.join(sorted(names))}: another version or another "
                "program wrote them; restore the database from a backup"
            )
        return cls(**settings)


WHERE_IT_PAYS = SuccessiveHalving(1, 3, min_correlation=0.7)
"""The default of the default strategy: ``tests/benchmarks/halving.py``."""


class Competition:
    """What the trials of a study reached at each rung; trials are decided on, and entered, in order of their numbers.

    So a decision depends on the trials with smaller numbers alone, and on no batch, executor or interruption.

    Attributes:
        pruner: where the rungs are, and which trials go on.
        budget: epochs, or evaluations, of a full training; None where the objective decides.
        interval: what is reported lies so far apart: 1 epoch, or so many steps.
        unit: "epoch" or "step", what is counted.
        end: the last epoch or step; None where the objective decides.
    """

    def __init__(
        self,
        pruner: SuccessiveHalving,
        direction: str,
        seed: int,
        budget: int | None = None,
        *,
        interval: int = 1,
        unit: str = "",
        end: int | None = None,
    ) -> None:
        """Args:
        pruner: the study's.
        direction: "maximize" or "minimize".
        seed: the study's, by which exempt trials are chosen.
        budget: see above.
        interval: see above.
        unit: see above; by default "step" where the objective decides, else "epoch".
        end: the last epoch or step, where that is not the last evaluation times the interval.
        """
        self.pruner = pruner
        self.budget = budget
        self.interval = interval
        self.unit = unit or ("step" if budget is None else "epoch")
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._seed = seed
        self.end = end
        if end is None and budget is not None:
            self.end = budget * interval
        self._rungs: list[list[float]] = []  # ascending, smaller is better
        # of the first trials that ran to their end, the values at the rungs, then the final one
        self._ended: list[list[float]] = []
        self._known_since = 0.0  # of a virtual clock, when the last of them ended
        self._is_open: dict[int, bool] = {}

    def steps(self) -> list[int] | None:
        """The epochs or steps whose values decide: the rungs and the end; None where the objective decides."""
        if self.budget is None or self.end is None:
            return None
        rungs = [step * self.interval for step in self.pruner.steps_before(self.budget)]
        return [*rungs, self.end]

    @property
    def is_known(self) -> bool:
        """Whether it is decided at which rungs trials are compared: enough have ended, or it needs none."""
        return self.pruner.min_correlation is None or len(self._ended) >= _KNOWN

    def may_be_known(self, more: int) -> bool:
        """Whether it would be decided if so many more trials had run to their end."""
        return self.is_known or len(self._ended) + more >= _KNOWN

    def is_open(self, rung: int, at: float = math.inf) -> bool | None:
        """Whether trials are compared at a rung; None while too few have ended to know.

        Args:
            rung: which.
            at: time of a virtual clock: what ends later on it does not count yet.
        """
        if self.pruner.min_correlation is None:
            return True
        if len(self._ended) < _KNOWN or at < self._known_since:
            return None
        if rung not in self._is_open:
            self._is_open[rung] = _correlate(self._ended, rung) >= self.pruner.min_correlation
        return self._is_open[rung]

    def track(self, number: int, since: float = math.inf) -> RungTracker:
        """A tracker of the next trial.

        Args:
            number: of the trial.
            since: when it began on a virtual clock, where that decides what it is compared with.
        """
        return RungTracker(self, number, since)

    def enter(self, tracker: RungTracker) -> None:
        """Let a trial that has ended count for those after it."""
        for rung, value in enumerate(tracker.values):
            self.enter_value(rung, value)
        self.enter_end(tracker)

    def enter_value(self, rung: int, value: float) -> None:
        """Let what a trial has reached at a rung count for those after it."""
        if rung == len(self._rungs):
            self._rungs.append([])
        # sorted, so that a rank is one search
        bisect.insort(self._rungs[rung], self._sign * value)

    def enter_end(self, tracker: RungTracker, at: float = 0.0) -> None:
        """Let a trial's values at the rungs tell of its final one, if it has come to that.

        Args:
            tracker: of the trial.
            at: time of a virtual clock at which it has.
        """
        if tracker.final is not None and len(self._ended) < _KNOWN:
            self._ended.append([*tracker.values, tracker.final])
            self._known_since = at

    def restore(self, before: Competition) -> None:
        """Let what was entered since a copy was made count no more; the copy is used up."""
        self._rungs, self._ended = before._rungs, before._ended
        self._known_since, self._is_open = before._known_since, before._is_open

    def read(self, curves: Mapping[int, Iterable[tuple[int, float]]]) -> None:
        """Enter stored trials by number, each with its values (step, value) under the first seed."""
        for number in sorted(curves):
            tracker = self.track(number)
            tracker.read(curves[number])
            self.enter(tracker)

    def rank(self, rung: int, value: float) -> tuple[int, int]:
        """How many of those entered were better at a rung, and how many there are."""
        entered = self._rungs[rung] if rung < len(self._rungs) else []
        return bisect.bisect_left(entered, self._sign * value), len(entered)

    def is_better(self, a: float, b: float) -> bool:
        """Whether value a is better than b."""
        return self._sign * a < self._sign * b

    def is_exempt(self, number: int) -> bool:
        """Whether a trial runs to its end whatever is decided."""
        return derive(self._seed, "spared", number) % _EXEMPT_OF == 0


def _correlate(ended: Sequence[Sequence[float]], rung: int) -> float:
    """Spearman's correlation of the values at a rung with the final ones; -1 where it cannot be told."""
    from scipy.stats import spearmanr  # loads slowly: not for the command line

    pairs = [(values[rung], values[-1]) for values in ended if len(values) > rung + 1]
    early, late = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(pairs) < len(ended) or len(set(early)) < 2 or len(set(late)) < 2:
        return -1.0
    return float(spearmanr(early, late).statistic)


class RungTracker:
    """One trial's way from rung to rung, under its first seed.

    Attributes:
        number: of the trial.
        values: at the rungs it reached.
        final: at the end of the budget; None where it did not come to it.
        pruned_at: step at which it is to be given up, or None.
        exempt_at: step at which it would have been, had it not been chosen to run to its end.
        reason: why it is given up.
    """

    def __init__(self, competition: Competition, number: int, since: float = math.inf) -> None:
        self.number = number
        self.values: list[float] = []
        self.final: float | None = None
        self.pruned_at: int | None = None
        self.exempt_at: int | None = None
        self.reason = ""
        self._competition = competition
        self._since = since

    @property
    def share(self) -> float | None:
        """Of a whole training, how much there was until it was given up; None where that is not known."""
        end = self._competition.end
        return None if self.pruned_at is None or end is None else self.pruned_at / end

    def report(self, step: int, value: float) -> bool:
        """Take a value; whether the trial is to be given up."""
        # a loop, as an objective of the user's own may report so rarely that one step passes several rungs
        while self.pruned_at is None and self.exempt_at is None and self._reaches(step):
            better, entered, rung = 0, 0, len(self.values)
            if not math.isnan(value):
                better, entered = self._competition.rank(len(self.values), value)
                self.values.append(value)
            is_open = self._competition.is_open(rung, self._since + step)
            if math.isnan(value) or (
                is_open and better >= self._competition.pruner.places(entered + 1)
            ):
                self._give_up(step, value, entered + 1)
        if step == self._competition.end and not math.isnan(value):
            self.final = value
        return self.pruned_at is not None

    def read(self, curve: Iterable[tuple[int, float]]) -> None:
        """Take values up to where the trial is given up."""
        for step, value in curve:
            if self.report(step, value):
                return

    def _reaches(self, step: int) -> bool:
        """Whether a step is at or past the next rung; none is at the end of the budget."""
        rung = self._competition.pruner.step(len(self.values))
        budget = self._competition.budget
        return step >= rung * self._competition.interval and (budget is None or rung < budget)

    def _give_up(self, step: int, value: float, competing: int) -> None:
        if self._competition.is_exempt(self.number):
            self.exempt_at = step
            return
        self.pruned_at = step
        factor = self._competition.pruner.reduction_factor
        share = _SHARES.get(factor, f"1/{factor}")
        # of fewer, a share rounds down to one trial
        best = f"among the best {share}" if competing >= 2 * factor else "the best"
        where = f"{self._competition.unit} {step}"
        self.reason = f"pruned at {where}: {value:.6g} is not {best} of {competing} at that rung"
