"""Trials that are trained together, and who of them may leave at a rung."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actsearch.halving import Competition, Judge

__all__ = ["Outlook", "Race"]


@dataclass
class _Runner:
    """A trial of the batch.

    Attributes:
        values: at the rungs it reached.
        is_out: whether it counts at no further rung.
        doubted: first rung that it reached although it may be pruned before; None for none.
    """

    values: list[float] = field(default_factory=list)
    is_out: bool = False
    doubted: int | None = None


class Race:
    """Says of trials in training which ones will be pruned whatever those do that are not trained yet.

    Trials are judged in order of number, but one pass may hold trial 7 while trial 5 waits for another. Who may yet be
    among the best stays; what is stored is decided afterwards, in order, by :class:`actsearch.halving.Judge`.

    Attributes:
        gone: numbers of trials that will be pruned.
    """

    def __init__(self, competition: Competition, numbers: Iterable[int]) -> None:
        """Args:
        competition: all trials before these have been entered.
        numbers: of all trials of the batch.
        """
        self._competition = competition
        self._runners = {number: _Runner() for number in sorted(numbers)}
        self.gone: set[int] = set()

    def arrive(self, step: int, values: Mapping[int, float | None]) -> None:
        """Some trials have come to a rung together.

        Args:
            step: the rung's.
            values: by number; None for a trial that failed before.
        """
        rung = 0
        while self._competition.pruner.step(rung) < step:
            rung += 1
        arrived = []
        for number in sorted(values):
            runner, value = self._runners[number], values[number]
            if value is None:
                runner.is_out = True
            elif not runner.is_out:
                runner.values.append(value)
                arrived.append((number, value))
        for number, value in arrived:
            self._decide(number, rung, value)

    def _decide(self, number: int, rung: int, value: float) -> None:
        """Whether even the most favourable course of what is open cannot save a trial."""
        better, entered = self._competition.rank(rung, value)
        competing, is_open = entered + 1, False
        for other, runner in self._runners.items():
            if other >= number:
                break
            if len(runner.values) > rung:
                is_better = self._competition.is_better(runner.values[rung], value)
                is_doubted = runner.doubted is not None and runner.doubted <= rung
                is_open |= is_doubted
                # more at the rung means more places: a worse one that may be there helps, a better one never does
                better += is_better and not is_doubted
                competing += not (is_better and is_doubted)
            elif not runner.is_out:
                is_open = True
                competing += 1
        own = self._runners[number]
        if better >= self._competition.pruner.places(competing):
            own.is_out = True
            if not self._competition.is_spared(number):
                self.gone.add(number)
        elif is_open and own.doubted is None:
            own.doubted = rung + 1


class Outlook(Judge):
    """Judges a trial that is trained elsewhere: gives it up only where it will be pruned in any case."""

    def __init__(self, competition: Competition, number: int, numbers: Iterable[int]) -> None:
        """Args:
        competition: all trials before ``numbers`` have been entered.
        number: of the trial.
        numbers: of all trials that may count besides, its own among them.
        """
        super().__init__(competition, number)
        self._race = Race(competition, numbers)

    def report(self, step: int, value: float) -> bool:
        """Take a value; whether the trial is to be given up."""
        while self.pruned_at is None and self._reaches(step):
            rung = self._competition.pruner.step(len(self.values))
            self.values.append(value)
            self._race.arrive(rung, {self.number: None if math.isnan(value) else value})
            if self.number in self._race.gone:
                self.pruned_at, self.reason = step, "pruned"
        return self.pruned_at is not None
