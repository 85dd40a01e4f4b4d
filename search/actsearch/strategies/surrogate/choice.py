"""What is known from the trials so far, as a process that says which functions to train next."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Sequence

import numpy as np

from actsearch.expression import parse
from actsearch.naming.functions import Numbers
from actsearch.records import TrialRecord
from actsearch.strategies.base import Context
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.population import Member, list_pending
from actsearch.strategies.surrogate.curves import compute_curve
from actsearch.strategies.surrogate.kernel import Features, describe_curves
from actsearch.strategies.surrogate.prior import Elsewhere
from actsearch.strategies.surrogate.process import Process

__all__ = ["describe_pending", "fit_process", "has_parameters"]

_HISTORY = 80  # trials that are looked at: the cost grows with their cube
_FEWEST = 4  # of which something can be learned
_PENDING = 256  # trials in training that are looked at, the latest


def fit_process(
    members: Sequence[Member], context: Context, prior: Elsewhere | None = None
) -> Process | None:
    """What is known from trials; None while that is too little.

    Args:
        members: what was tried, each with one activation.
        context: says which way values are better.
        prior: what is known from other tasks.
    """
    sign = 1.0 if context.direction == "maximize" else -1.0
    known = [
        (curve, sign * member.value, has_parameters(member.items[0].formula))
        for member in _latest_and_best(members, sign)
        if (curve := _curve(member.items[0].formula)) is not None
    ]
    if len(known) < _FEWEST:
        return None
    curves, values, learned = zip(*known, strict=True)
    features = describe_curves(np.array(curves), learned)
    if prior is not None:
        features = prior.extend(features)
    return Process.fit(features, np.array(values))


def describe_pending(
    history: Sequence[TrialRecord], groups: SiteGroups, prior: Elsewhere | None = None
) -> Features | None:
    """The functions in training; None for none.

    Args:
        history: every trial.
        groups: of the sites, of which there is one.
        prior: what is known from other tasks.
    """
    known = [
        (curve, has_parameters(item.formula))
        for item in list_pending(history, groups)[-_PENDING:]
        if (curve := _curve(item.formula)) is not None
    ]
    if not known:
        return None
    curves, learned = zip(*known, strict=True)
    features = describe_curves(np.array(curves), learned)
    return prior.extend(features) if prior is not None else features


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


@functools.lru_cache(maxsize=4096)
def has_parameters(formula: str) -> bool:
    """Whether a formula has numbers that are learned."""
    return bool(parse(formula).parameters)
