"""The functions of candidates and what is computed from them: stored with the trials, else asked of another process."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord, Curve
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.figures.thumbnails import thumbnail
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.text import markdown

__all__ = [
    "curve_from",
    "curves",
    "is_faithful",
    "large_curves",
    "learned_curve",
    "miniature",
    "moments",
    "pictures",
]

_VISIBLE = 0.01  # share of the height of a figure: some three pixels, about the width of a line
_MINIATURE = 4.0  # miniature plots show -4 .. 4: few inputs of a normalised network lie beyond
_MOST_CURVES = 20_000  # 2 KB each
_MOST_PICTURES = 4_096  # 1 KB each

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class _Memory(Generic[Key, Item]):
    """What was computed, for the threads of all sessions; when it is full, all of it is forgotten.

    A caller keeps what it was handed: another session may fill the memory meanwhile.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._items: dict[Key, Item] = {}

    def recall(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Those of the items that are known."""
        with self._lock:
            return {key: self._items[key] for key in keys if key in self._items}

    def remember(self, items: Mapping[Key, Item]) -> None:
        """Keep items for later calls."""
        with self._lock:
            if len(self._items) + len(items) > self._most:
                self._items.clear()
            self._items.update(items)


_curves: _Memory[bytes, Curve | None] = _Memory(_MOST_CURVES)
"""By digest, which says which function it is, whatever the study; None where there is none of one number."""

_pictures: _Memory[tuple[bytes, ...], str] = _Memory(_MOST_PICTURES)
"""Miniature plots by the digests of what they show."""


def curve_from(lists: Sequence[Sequence[float]]) -> Curve:
    """A curve as JSON data, as a curve."""
    return Curve(*(np.array(numbers, dtype=float) for numbers in lists))


def curves(view: StudyView, records: Sequence[ActivationRecord]) -> list[Curve | None]:
    """Each function with its derivative, learned parameters at their start; None where there is none of one number."""
    known = _find_curves(view, records)
    return [known.get(record.digest) for record in records]


def _find_curves(
    view: StudyView, records: Sequence[ActivationRecord]
) -> dict[bytes, Curve | None]:
    """The curves by digest: known, else stored, else computed; what cannot be computed now is missing."""
    wanted = {record.digest: record for record in records}
    known = _curves.recall(wanted)
    new: dict[bytes, Curve | None] = {}
    if missing := wanted.keys() - known.keys():
        new |= view.store.reader.functions(view.record, missing)
    if others := [wanted[digest] for digest in wanted.keys() - known.keys() - new.keys()]:
        try:
            with st.spinner("Computing functions ..."):
                answers = ask("sample_all", items=[record.to_json() for record in others])
        except ActsearchError as error:
            st.caption(markdown(error))
        else:
            for record, lists in zip(others, answers, strict=True):
                new[record.digest] = None if lists is None else curve_from(lists)
    _curves.remember(new)
    return known | new


def is_faithful(curve: Curve) -> bool:
    """Whether the points lie close enough to draw the function large: what it does between two of them shows as a
    difference from what the derivatives at both say (the trapezoidal rule).
    """
    with np.errstate(all="ignore"):
        expected = np.diff(curve.x) * (curve.dy[1:] + curve.dy[:-1]) / 2
        error = np.abs(np.diff(curve.y) - expected)
    finite = curve.y[np.isfinite(curve.y)]
    return not finite.size or not (error > _VISIBLE * np.ptp(finite)).any()


def large_curves(view: StudyView, records: Sequence[ActivationRecord]) -> list[Curve | None]:
    """As :func:`curves`; those that turn too fast for the stored points are computed at finer ones if possible."""
    stored = curves(view, records)
    try:
        return [
            curve if curve is None or is_faithful(curve) else _fine_curve(record) or curve
            for record, curve in zip(records, stored, strict=True)
        ]
    except ActsearchError as error:
        st.caption(markdown(error))
        return stored


@st.cache_data(max_entries=256, show_spinner="Computing functions ...")
def _fine_curve(record: ActivationRecord) -> Curve | None:
    """None where it cannot be computed, as for a row that the catalog of this version no longer has."""
    (lists,) = ask("sample_all", items=[record.to_json()], fine=True)
    return None if lists is None else curve_from(lists)


def pictures(view: StudyView, candidates: Sequence[CandidateRecord]) -> list[str]:
    """A miniature plot of each candidate, all groups of sites in one, as a data URI; "" where nothing can be drawn."""
    records = {
        tuple(record.digest for record in item.activations.values()): item.activations.values()
        for item in candidates
    }
    drawn = _pictures.recall(records)
    missing = [digests for digests in records if digests not in drawn]
    known = _find_curves(view, [record for digests in missing for record in records[digests]])
    for digests in missing:
        drawn[digests] = miniature([known.get(digest) for digest in digests])
    # what lacks a curve is drawn again: the process that computes them may answer next time
    _pictures.remember(
        {digests: drawn[digests] for digests in missing if known.keys() >= {*digests}}
    )
    return [
        drawn[tuple(record.digest for record in item.activations.values())] for item in candidates
    ]


def miniature(shown: Sequence[Curve | None]) -> str:
    """Functions as one miniature plot, a data URI; "" where nothing can be drawn."""
    near = [(curve, np.abs(curve.x) <= _MINIATURE) for curve in shown if curve is not None]
    return thumbnail([(curve.x[inside], curve.y[inside]) for curve, inside in near])


@st.cache_data(max_entries=256, show_spinner=False)
def learned_curve(record: ActivationRecord, learned: Mapping[str, Sequence[float]]) -> Curve:
    """A function with each learned parameter at the mean of some values."""
    return curve_from(ask("sample_learned", item=record.to_json(), learned=learned))


@st.cache_data(max_entries=512, show_spinner="Computing moments ...")
def moments(record: ActivationRecord) -> tuple[float | None, float | None]:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1), each computed once; None where it is not a function of one number."""
    mean, second = ask("find_moments", item=record.to_json()) or (None, None)
    return mean, second
