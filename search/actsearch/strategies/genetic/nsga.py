"""Selection among trials with several values: NSGA-II (Deb et al. 2002), by DEAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deap import base, tools

from actsearch.pareto import fronts

__all__ = ["Ranked", "survivors"]


@dataclass(frozen=True)
class Ranked:
    """Where a point stands among the survivors; smaller is better.

    Attributes:
        position: in what was given.
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
    weights = tuple(1.0 if way == "maximize" else -1.0 for way in directions)
    near = fronts(
        points, directions, count
    )  # what lies behind them cannot survive, and takes long to sort
    scaled = _scaled(points, len(directions))
    pool = [_Point(at, scaled[at], weights) for at in near]
    chosen = tools.selNSGA2(pool, min(count, len(pool)))
    ranks = {
        id(point): rank
        for rank, front in enumerate(tools.sortNondominated(chosen, len(chosen)))
        for point in front
    }
    return [
        Ranked(point.position, ranks[id(point)], -point.fitness.crowding_dist) for point in chosen
    ]


def _scaled(points: Sequence[Sequence[float]], count: int) -> list[tuple[float, ...]]:
    """From 0 to 1 in each objective: differences of huge values overflow in DEAP's crowding distance."""
    lows = [min(point[at] for point in points) for at in range(count)]
    spans = [max(point[at] for point in points) / 2 - lows[at] / 2 or 1.0 for at in range(count)]
    return [
        tuple((point[at] / 2 - lows[at] / 2) / spans[at] for at in range(count))
        for point in points
    ]
