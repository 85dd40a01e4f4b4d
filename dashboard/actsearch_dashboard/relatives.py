"""Trials that are the same function as another, nearly the same, or its image."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.records import CandidateRecord, TrialRecord
from actsearch.report import Twins, find_twins, leaders
from actsearch_dashboard.components import COLUMNS, OPENS, trial_table
from actsearch_dashboard.data import Stamp, StudyView
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.text import markdown, one_line, short_labels
from actsearch_dashboard.trial_picker import trial_link

__all__ = ["nearest_table", "show_relatives", "show_twins"]

_COMPARED = 300  # a function takes a millisecond when it is first met: a third of a second
_SHOWN = 8  # rows; the distances of further ones say nothing
_LINKS = 6  # of one kind, as many as fit in a row; more are only counted

_COLUMNS = {
    **COLUMNS,
    "distance": st.column_config.NumberColumn(
        format="%.4f", help="Root mean square of the difference of the functions for inputs from N(0, 1)."
    ),
}  # fmt: skip


def show_relatives(view: StudyView, trial: TrialRecord) -> None:
    """Aliases, mirrors and nearest candidates of a trial."""
    if trial.candidate.is_baseline:
        return
    st.subheader("Relatives", anchor=False)
    frame = view.frame()
    show_twins(
        view, find_twins(frame, trial.fingerprint, trial.alias, trial.mirror, trial.number), "of"
    )
    nearest_table(view, trial.candidate, trial.number)


def show_twins(view: StudyView, twins: Twins, key: str) -> None:
    """Links to trials that are the same, have the same values, or are mirrored."""
    for words, explained, numbers in (
        ("same function", "Equal values and gradients, so that only one of them was trained.", twins.same),
        ("same values", "Equal values at the start, but another gradient or other parameters: they train "
         "differently.", twins.aliases),
        ("mirror image", "f(−x), −f(x) or −f(−x): between layers drawn symmetrically they train alike.",
         twins.mirrors),
    ):  # fmt: skip
        if not numbers:
            continue
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":gray[{words}:]", width="content", help=explained)
            for number in numbers[:_LINKS]:
                trial_link(view, number, f"trial {number}", f"{words} {number} {key}")
            if len(numbers) > _LINKS:
                st.markdown(f":gray[and {len(numbers) - _LINKS} more]", width="content")


def nearest_table(
    view: StudyView, candidate: CandidateRecord, number: int | None = None
) -> list[TrialRecord]:
    """A table of the trained trials whose functions are closest; returns them."""
    numbers = _select_others(view, number)
    store = view.store
    try:
        nearest = _nearest(store.url, store.identity, view.record.id, numbers, candidate, view)
    except ActsearchError as error:
        st.info(markdown(error), icon=":material/info:")
        return []
    if not nearest:
        st.caption("No other trained trial can be compared with it yet.")
        return []
    labels = short_labels([one_line(trial.candidate.label) for trial, _ in nearest])
    frame = pd.DataFrame(
        [
            {
                "trial": trial.number,
                "activation": label,
                "distance": distance,
                view.metric: trial.value,
            }
            for label, (trial, distance) in zip(labels, nearest, strict=True)
        ]
    )
    st.markdown("**Nearest candidates**")
    columns = {**_COLUMNS, view.metric: COLUMNS["value"]}
    trial_table(frame, [trial.number for trial, _ in nearest], "nearest", columns)
    words = "the trained ones" if len(numbers) < _COMPARED else f"the {_COMPARED} best"
    st.caption(
        f"By the distance of the functions for inputs from N(0, 1), learned parameters at their start, among {words}. "
        + OPENS
    )
    return [trial for trial, _ in nearest]


@st.cache_data(max_entries=64, show_spinner="Comparing functions ...")
def _nearest(
    url: str,
    identity: Stamp,
    study_id: int,
    numbers: tuple[int, ...],
    candidate: CandidateRecord,
    _view: StudyView,
) -> list[tuple[TrialRecord, float]]:
    """Kept while the same trials are compared: a complete trial does not change."""
    others = _view.store.reader.trials(_view.record, numbers)
    near = ask(
        "find_closest",
        what=_items(candidate),
        others=[_items(trial.candidate) for trial in others],
        count=_SHOWN,
    )
    return [(others[index], distance) for index, distance in near]


def _items(candidate: CandidateRecord) -> dict[str, Any]:
    return {group: item.to_json() for group, item in candidate.activations.items()}


def _select_others(view: StudyView, number: int | None) -> tuple[int, ...]:
    best = leaders(view.frame(), view.record.direction, _COMPARED + 1)["number"]
    return tuple(int(other) for other in best if other != number)[:_COMPARED]
