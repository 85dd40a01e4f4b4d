"""Curves and miniature plots of candidates, each function sampled once."""

from __future__ import annotations

import functools
import json

import numpy as np
import numpy.typing as npt
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch_dashboard import ahead
from actsearch_dashboard.figures.thumbnails import thumbnail

__all__ = ["can_draw", "curves", "picture"]

Samples = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

_REMEMBERED = 4096
_MINIATURE = (-4.0, 4.0, 81)
_LARGE = (-6.0, 6.0, 401)


def can_draw() -> bool:
    """Whether functions can be drawn; if not yet, the page says so, and is drawn again when they can.

    They need torch, which takes seconds to load: whoever opens a page first sees its numbers meanwhile.
    """
    if ahead.is_loaded():
        return True
    ahead.load_torch(after=0.5)
    _wait()
    return False


@st.fragment(run_every=0.5)
def _wait() -> None:
    if ahead.is_loaded():
        st.rerun()
    st.caption(":material/hourglass_top: Functions will be drawn as soon as torch is loaded.")


def curves(candidate: CandidateRecord) -> dict[str, Samples]:
    """x and y of a candidate's functions by group of sites, on -6 .. 6; those that cannot be read are left out.

    Where :func:`can_draw`.
    """
    found = {group: _sampled(_key(item), _LARGE) for group, item in candidate.activations.items()}
    return {group: samples for group, samples in found.items() if samples is not None}


def picture(candidate: CandidateRecord) -> str:
    """A miniature plot, all groups of sites in one, as a data URI; "" where nothing can be drawn, or not yet."""
    if not ahead.is_loaded():
        return ""
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
