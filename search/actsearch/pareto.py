"""Trials with several values compared: none of a front is as good as another in all of them and better in one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["front", "fronts"]


def front(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Positions of the points that no other one dominates, ascending; equal points are all in or all out.

    Args:
        points: one value for each direction.
        directions: "maximize" or "minimize".
    """
    costs = [
        tuple(-v if way == "maximize" else v for v, way in zip(point, directions, strict=True))
        for point in points
    ]
    kept: list[tuple[float, ...]] = []
    for cost in sorted(
        set(costs)
    ):  # who dominates comes first, and is in the front or behind one who is
        if not any(all(a <= b for a, b in zip(one, cost, strict=True)) for one in kept):
            kept.append(cost)
    chosen = set(kept)
    return [index for index, cost in enumerate(costs) if cost in chosen]


def fronts(points: Sequence[Sequence[float]], directions: Sequence[str], count: int) -> list[int]:
    """Positions of at least ``count`` points (or of all), front after front."""
    left, found = list(range(len(points))), list[int]()
    while left and len(found) < count:
        best = {left[at] for at in front([points[index] for index in left], directions)}
        found += sorted(best)
        left = [index for index in left if index not in best]
    return found
