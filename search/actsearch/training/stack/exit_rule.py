"""When members of a stack leave it before the end of its training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["ExitRule"]

Choice = Callable[[int, Mapping[int, float | None]], Collection[int]]


@dataclass(frozen=True)
class ExitRule:
    """Which members leave a stack, and after which evaluations that is asked.

    Attributes:
        epochs: evaluations, counted from 1, after which ``choose`` is called.
        choose: called with the evaluation and the validation metric of each member, None for one that was stopped;
            returns the members that are to leave.
    """

    epochs: frozenset[int]
    choose: Choice

    def within(self, positions: Sequence[int]) -> ExitRule:
        """The same for members that stand at some positions of all, and are numbered from 0 among themselves."""
        place = {position: index for index, position in enumerate(positions)}

        def choose(epoch: int, values: Mapping[int, float | None]) -> list[int]:
            gone = self.choose(epoch, {positions[index]: value for index, value in values.items()})
            return [place[position] for position in gone if position in place]

        return ExitRule(self.epochs, choose)
