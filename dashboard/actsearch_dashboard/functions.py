"""The functions of candidates and what is computed from them: stored with the trials, else asked of another process."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st

from actsearch.activation_catalog import CATALOG
from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.records import ActivationRecord, CandidateRecord, Curve
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.figures.thumbnails import thumbnail
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.text import markdown

__all__ = [
    "validate",
    "curve_from",
    "curves",
    "is_faithful",
    "large_curves",
    "learned_curve",
    "moments",
    "pictures",
]

_VISIBLE = 0.01  # share of the height of a figure
_MINIATURE = 4.0  # miniature plots show -4 .. 4

_known: dict[bytes, Curve | None] = {}
"""What was read or computed, whatever the study: a digest says which function it is."""
_MOST_KNOWN = 20_000  # functions of 2 KB


def curve_from(lists: Sequence[Sequence[float]]) -> Curve:
    """A curve as JSON data, as a curve."""
    return Curve(*(np.array(numbers, dtype=float) for numbers in lists))


def curves(view: StudyView, records: Sequence[ActivationRecord]) -> list[Curve | None]:
    """Each function with its derivative, learned parameters at their start; None where there is none of one number."""
    wanted = {record.digest: record for record in records}
    if missing := wanted.keys() - _known.keys():
        if len(_known) > _MOST_KNOWN:
            _known.clear()
        _known.update(view.store.reader.functions(view.record, missing))
    if others := [record for digest, record in wanted.items() if digest not in _known]:
        try:
            with st.spinner("Computing functions ..."):
                found = ask("sample_all", items=[record.to_json() for record in others])
        except ActsearchError as error:
            st.caption(markdown(error))
            found = []
        for record, lists in zip(others, found, strict=False):
            _known[record.digest] = None if lists is None else curve_from(lists)
    return [_known.get(record.digest) for record in records]


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
    found = curves(view, records)
    try:
        return [
            curve if curve is None or is_faithful(curve) else _fine_curve(record)
            for record, curve in zip(records, found, strict=True)
        ]
    except ActsearchError as error:
        st.caption(markdown(error))
        return found


@st.cache_data(max_entries=256, show_spinner="Computing functions ...")
def _fine_curve(record: ActivationRecord) -> Curve:
    (lists,) = ask("sample_all", items=[record.to_json()], fine=True)
    return curve_from(lists)


def pictures(view: StudyView, candidates: Sequence[CandidateRecord]) -> list[str]:
    """A miniature plot of each candidate, all groups of sites in one, as a data URI; "" where nothing can be drawn."""
    curves(view, [record for item in candidates for record in item.activations.values()])
    return [
        _picture(tuple(record.digest for record in item.activations.values()))
        for item in candidates
    ]


@functools.lru_cache(maxsize=4096)
def _picture(digests: tuple[bytes, ...]) -> str:
    lines = []
    for digest in digests:
        if (curve := _known.get(digest)) is not None:
            near = np.abs(curve.x) <= _MINIATURE
            lines.append((curve.x[near], curve.y[near]))
    return thumbnail(lines)


@st.cache_data(max_entries=256, show_spinner=False)
def learned_curve(record: ActivationRecord, learned: Mapping[str, Sequence[float]]) -> Curve:
    """A function with each learned parameter at the mean of some values."""
    return curve_from(ask("sample_learned", item=record.to_json(), learned=learned))


@st.cache_data(max_entries=512, show_spinner="Computing moments ...")
def moments(record: ActivationRecord) -> tuple[float | None, float | None]:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1), each computed once; None where it is not a function of one number."""
    mean, second = ask("find_moments", item=record.to_json()) or (None, None)
    return mean, second


def validate(item: ActivationRecord) -> ActivationRecord:
    """The same activation, every word of it made anew: what is stored goes into code that people paste.

    Raises:
        ActsearchError: it cannot be read; ValueError and TypeError likewise, of what somebody tampered with.
    """
    if item.name is None:
        formula = str(parse(item.formula))
        return ActivationRecord(formula, label=formula)
    row = CATALOG[str(item.name)]
    values = row.bind(dict(item.hyperparameters))
    formula = str(parse(item.formula)) if row.fitted else row.text(values)
    return ActivationRecord(formula, row.name, values, row.label(values))
