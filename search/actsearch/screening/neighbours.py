"""How far apart two functions are, and which candidates are closest to one."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from actsearch.activation_catalog import Value
from actsearch.activations.function import scalar_module
from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord

__all__ = ["Neighbour", "closest"]

_Array = npt.NDArray[np.float64]

_REACH, _PANEL, _NODES = 8.0, 0.5, 8  # kinks at multiples of a half lie between panels
_REMEMBERED = 4096  # functions; 2 KB each


class Neighbour(NamedTuple):
    """A candidate by its position among those that were asked about, and how far it is."""

    position: int
    distance: float


def closest(
    what: CandidateRecord, others: Sequence[CandidateRecord], count: int = 10
) -> list[Neighbour]:
    """The nearest of many candidates, nearest first; of equal ones the earlier first.

    The distance of two functions is sqrt(E[(f(z) - g(z))^2]), z ~ N(0, 1), with learned numbers at their start; that of
    candidates with an activation for each group of sites is the root mean square over the groups. Left out are those
    that cannot be compared: unreadable, with other groups, softmax and its like, the model unchanged, and functions
    whose difference has no finite second moment.

    Args:
        what: whose neighbours.
        others: where they are looked for.
        count: how many at most.
    """
    neighbours = [Neighbour(index, _measure(what, other)) for index, other in enumerate(others)]
    comparable = [item for item in neighbours if math.isfinite(item.distance)]
    return sorted(comparable, key=lambda item: (item.distance, item.position))[:count]


def _measure(one: CandidateRecord, other: CandidateRecord) -> float:
    squares = []
    for left, right in one.align(other):
        if left is None or right is None:
            return math.inf
        try:
            squares.append(_rms(_values(left) - _values(right)) ** 2)
        except (ActsearchError, RuntimeError, TypeError, ValueError):  # whatever a database holds
            return math.inf
    return math.sqrt(sum(squares) / len(squares))


def _rms(difference: _Array) -> float:
    with np.errstate(all="ignore"):
        second = float(_grid()[1] @ difference**2)
    return math.sqrt(second) if math.isfinite(second) else math.inf


@functools.cache
def _grid() -> tuple[_Array, _Array]:
    """Points and weights of a Gauss-Legendre rule with the normal density, panel by panel."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    left = np.arange(-_REACH, _REACH, _PANEL)[:, None]
    points = (left + _PANEL * (1 + nodes) / 2).ravel()
    density = np.exp(-0.5 * points**2) / math.sqrt(2 * math.pi)
    return points, np.tile(weights * _PANEL / 2, len(left)) * density


def _values(record: ActivationRecord) -> _Array:
    settings = tuple(sorted(record.hyperparameters.items()))
    return _compute(record.formula, record.name, settings)


@functools.lru_cache(maxsize=_REMEMBERED)
def _compute(formula: str, name: str | None, settings: tuple[tuple[str, Value], ...]) -> _Array:
    module = scalar_module(ActivationRecord(formula, name, dict(settings)))
    points = torch.from_numpy(_grid()[0]).unsqueeze(1)
    with torch.no_grad():
        values: _Array = module(points).squeeze(1).numpy()
    return values
