"""Trials with several values compared: none of a front is as good as another in all of them and better in one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["front", "fronts"]


def front(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Indices of the points that no other one dominates, ascending; equal points are all in or all out.

    Args:
        points: one value for each direction.
        directions: "maximize" or "minimize".
    """
    costs = [
        tuple(
            -value if direction == "maximize" else value
            for value, direction in zip(point, directions, strict=True)
        )
        for point in points
    ]
    best: list[tuple[float, ...]] = []
    for cost in sorted(set(costs)):  # in this order a point comes after all that dominate it
        if not any(all(a <= b for a, b in zip(other, cost, strict=True)) for other in best):
            best.append(cost)
    on_front = set(best)
    return [index for index, cost in enumerate(costs) if cost in on_front]


def fronts(points: Sequence[Sequence[float]], directions: Sequence[str], count: int) -> list[int]:
    """Indices of at least ``count`` points (or of all), front after front."""
    left, chosen = list(range(len(points))), list[int]()
    while left and len(chosen) < count:
        best = {left[index] for index in front([points[i] for i in left], directions)}
        chosen += sorted(best)
        left = [index for index in left if index not in best]
    return chosen
