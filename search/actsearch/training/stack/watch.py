"""Looking at a stack in training, to have members leave it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Watch"]

Leaving = Callable[[int, Mapping[int, float | None]], Collection[int]]


@dataclass(frozen=True)
class Watch:
    """Who leaves a stack, and when that is asked.

    Attributes:
        epochs: after which it is asked.
        leaving: called with the epoch and the validation metric of each member, None for one that was stopped;
            returns those that are to leave.
    """

    epochs: frozenset[int]
    leaving: Leaving

    def within(self, positions: Sequence[int]) -> Watch:
        """The same for members that stand at some positions of all, and are numbered from 0 among themselves."""
        place = {position: index for index, position in enumerate(positions)}

        def leaving(epoch: int, values: Mapping[int, float | None]) -> list[int]:
            gone = self.leaving(
                epoch, {positions[index]: value for index, value in values.items()}
            )
            return [place[position] for position in gone if position in place]

        return Watch(self.epochs, leaving)
