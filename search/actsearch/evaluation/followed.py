"""Trials whose pruning another decides on: they tell what they reach at the rungs, and end when they are given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actsearch.evaluation.pruner import Pruner
from actsearch.evaluation.request import Request
from actsearch.halving import Competition, RungTracker
from actsearch.training.stack import ExitRule

__all__ = ["FollowedPruner", "Follower"]


class Follower(Protocol):
    """Who decides: it is told of values at rungs as they are reached, and says who is given up.

    Attributes:
        given_up: trials that are to end, with the epoch or step at which they do.
    """

    @property
    def given_up(self) -> Mapping[int, int]:
        """See above."""

    def report(self, step: int, values: Mapping[int, float]) -> None:
        """Trials have come to a rung.

        Args:
            step: epoch or step of the rung.
            values: of the metric, by number of trial; NaN where it is none.
        """


@dataclass(frozen=True)
class FollowedPruner(Pruner):
    """A pruner that decides nothing itself.

    Attributes:
        follower: who does.
    """

    open_numbers: tuple[int, ...] | None = ()
    follower: Follower = field(kw_only=True)

    def track(self, number: int) -> RungTracker:
        """A tracker that tells of the rungs, and ends a trial that was given up."""
        return _FollowedTracker(self.competition, number, self.follower)

    def exit_rule(self, requests: Sequence[Request], epochs: int) -> ExitRule:
        """A rule by which those members leave a stack that are given up by then."""
        places = [
            (request.number, index) for request in requests for index in range(len(request.seeds))
        ]

        def choose_leaving(evaluation: int, values: Mapping[int, float | None]) -> list[int]:
            first = {
                places[row][0]: value
                for row, value in values.items()
                if places[row][1] == 0 and value is not None
            }
            self.follower.report(evaluation * self.competition.interval, first)
            return [row for row in values if places[row][0] in self.follower.given_up]

        return ExitRule(frozenset(self.competition.pruner.steps_before(epochs)), choose_leaving)


class _FollowedTracker(RungTracker):
    """Tells of a trial, and takes from another that it is given up, be it some epochs later."""

    def __init__(self, competition: Competition, number: int, follower: Follower) -> None:
        super().__init__(competition, number)
        self._follower = follower
        self._steps = frozenset(competition.steps() or ())

    def report(self, step: int, value: float) -> bool:
        """Take a value; whether the trial is to end."""
        if step in self._steps:
            self._follower.report(step, {self.number: value})
        ends = self._follower.given_up.get(self.number)
        if ends is not None and step >= ends and self.pruned_at is None:
            self.pruned_at, self.reason = step, "given up"
        return self.pruned_at is not None
