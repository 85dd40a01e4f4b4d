"""Curves and miniature plots of candidates, each function sampled once; loads torch when the first is asked for."""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
import numpy.typing as npt

from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch_dashboard.figures.thumbnails import thumbnail

__all__ = ["can_draw", "curves", "picture"]

Samples = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

_REMEMBERED = 4096
_MINIATURE = (-4.0, 4.0, 81)
_LARGE = (-6.0, 6.0, 401)


def can_draw() -> bool:
    """Whether a picture is drawn at once; the first one loads torch."""
    return "torch" in sys.modules


def curves(candidate: CandidateRecord) -> dict[str, Samples]:
    """x and y of a candidate's functions by group of sites, on -6 .. 6; those that cannot be read are left out."""
    found = {group: _sampled(_key(item), _LARGE) for group, item in candidate.activations.items()}
    return {group: samples for group, samples in found.items() if samples is not None}


def picture(candidate: CandidateRecord) -> str:
    """A miniature plot, all groups of sites in one, as a data URI; "" where there is nothing to draw."""
    return _picture(tuple(map(_key, candidate.activations.values())))


def _key(item: ActivationRecord) -> str:
    return json.dumps(item.to_json() | {"label": ""}, sort_keys=True, default=str)


@functools.lru_cache(maxsize=_REMEMBERED)
def _picture(keys: tuple[str, ...]) -> str:
    lines = [_sampled(key, _MINIATURE) for key in keys]
    return thumbnail([line for line in lines if line is not None])


@functools.lru_cache(maxsize=_REMEMBERED)
def _sampled(key: str, grid: tuple[float, float, int]) -> Samples | None:
    from actsearch.activation import curve

    try:
        found = curve(ActivationRecord.from_json(json.loads(key)), *grid)
    except (ActsearchError, ValueError, TypeError, ArithmeticError, KeyError):
        return None  # the candidate's own page says what is wrong with it
    return found.x, found.y
