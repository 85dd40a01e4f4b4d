"""Selection among trials with several values: NSGA-II (Deb et al. 2002), by DEAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deap import base, tools

from actsearch.pareto import fronts

__all__ = ["Ranked", "survivors"]


@dataclass(frozen=True)
class Ranked:
    """A survivor's rank; smaller is better.

    Attributes:
        position: its index in what was given.
        rank: of its front, 0 for the best.
        crowding: distance to its neighbours in that front, negative.
    """

    position: int
    rank: int
    crowding: float


class _Point:
    """What DEAP selects from: anything with a fitness."""

    def __init__(self, position: int, point: Sequence[float], weights: tuple[float, ...]) -> None:
        # a class for each set of weights, as deap.creator makes one, but in no module's globals
        kind = type("Fitness", (base.Fitness,), {"weights": weights})
        self.position = position
        self.fitness = kind(tuple(point))


def survivors(
    points: Sequence[Sequence[float]], directions: Sequence[str], count: int
) -> list[Ranked]:
    """The best by front and then by crowding distance.

    Args:
        points: finite values, one for each direction.
        directions: "maximize" or "minimize".
        count: how many survive.
    """
    weights = tuple(1.0 if direction == "maximize" else -1.0 for direction in directions)
    # what lies behind the first fronts cannot survive, and takes DEAP long to sort
    candidates = fronts(points, directions, count)
    scaled = _scale(points)
    pool = [_Point(index, scaled[index], weights) for index in candidates]
    chosen = tools.selNSGA2(pool, min(count, len(pool)))
    ranks = {
        id(point): rank
        for rank, front in enumerate(tools.sortNondominated(chosen, len(chosen)))
        for point in front
    }
    return [
        Ranked(point.position, ranks[id(point)], -point.fitness.crowding_dist) for point in chosen
    ]


def _scale(points: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """From 0 to 1 in each objective: differences of huge values overflow in DEAP's crowding distance."""
    columns = []
    for values in zip(*points, strict=True):
        low = min(values) / 2  # halves, as the difference of the largest floats is infinite
        span = max(values) / 2 - low or 1.0
        columns.append([(value / 2 - low) / span for value in values])
    return list(zip(*columns, strict=True))
