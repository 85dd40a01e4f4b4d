"""Which of many formulas to train, by what those trained before came to."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Sequence

import numpy as np

from actsearch.expression import Expression
from actsearch.naming.functions import Numbers
from actsearch.strategies.base import Context
from actsearch.strategies.population import Member
from actsearch.strategies.surrogate.curves import compute_curve, compute_curves
from actsearch.strategies.surrogate.kernel import describe_curves
from actsearch.strategies.surrogate.process import Process

__all__ = ["promising"]

_HISTORY = 200  # trials that are looked at: the cost grows with their cube
_FEWEST = 4  # of which something can be learned


def promising(
    members: Sequence[Member], trees: Sequence[Expression], count: int, context: Context
) -> list[int]:
    """Positions of the formulas that promise most, best first; all in order while too little is known.

    Args:
        members: what was tried, each with one activation.
        trees: what there is to choose from.
        count: how many.
        context: says which way values are better.
    """
    sign = 1.0 if context.direction == "maximize" else -1.0
    known = [
        (curve, sign * member.value)
        for member in _latest_and_best(members, sign)
        if (curve := _curve(member.items[0].formula)) is not None
    ]
    curves = {
        place: curve for place, curve in enumerate(compute_curves(trees)) if curve is not None
    }
    if len(known) < _FEWEST or not curves:
        return list(range(len(trees)))[:count]
    features = describe_curves(np.array([curve for curve, _ in known]))
    process = Process.fit(features, np.array([value for _, value in known]))
    places = list(curves)
    chosen = process.choose(describe_curves(np.array(list(curves.values()))), count)
    return [places[place] for place in chosen]


def _latest_and_best(members: Sequence[Member], sign: float) -> Sequence[Member]:
    """Of a long history the best quarter and the latest."""
    if len(members) <= _HISTORY:
        return members
    best = heapq.nlargest(_HISTORY // 4, members, key=lambda one: (sign * one.value, -one.number))
    kept = {one.number: one for one in best}
    for member in reversed(members):
        if len(kept) == _HISTORY:
            break
        kept[member.number] = member
    return [kept[number] for number in sorted(kept)]


@functools.lru_cache(maxsize=4096)
def _curve(formula: str) -> Numbers | None:
    """The curve of what was tried, which each later proposal asks for again."""
    return compute_curve(formula)
