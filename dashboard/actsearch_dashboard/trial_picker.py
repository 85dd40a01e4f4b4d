"""Choosing trials, and reading what was recorded inside of a few of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st

from actsearch.records import TrialRecord
from actsearch_dashboard.data import Stamp, StudyView
from actsearch_dashboard.state import go_to, remember_trial, requested_trial
from actsearch_dashboard.text import candidate_label, markdown, shorten

__all__ = [
    "read_details",
    "trial_labels",
    "pick_trial",
    "trial_link",
    "parse_number",
]

_LISTED = 500
"""Trials that a box offers at most, since all of them travel to the browser; the number of any other can be typed."""

_BOX = "trial_box"
_LONGEST_NUMBER = 12  # digits: more than any study has trials, fewer than a database's integers


def trial_labels(view: StudyView, also: Sequence[int] = ()) -> dict[int, str]:
    """Numbers and short formulas of the trials to offer: all, or of many the best and ``also``."""
    frame = view.frame()
    if len(frame) > _LISTED:
        best = view.ranked().index[:_LISTED]
        frame = frame.loc[[*best, *frame.index[frame["number"].isin(also)].difference(best)]]
    return {
        int(number): candidate_label(label, 80)
        for number, label in zip(frame["number"], frame["label"], strict=True)
    }


def parse_number(text: object) -> int | None:
    """A trial's number as somebody wrote it, or None where that is not a number."""
    digits = str(text).partition(":")[0].strip()
    is_number = digits.isascii() and digits.isdigit() and len(digits) < _LONGEST_NUMBER
    return int(digits) if is_number else None


def read_details(view: StudyView, number: int) -> TrialRecord | None:
    """A trial with its epochs and diagnostics; a duplicate with those of what it repeats."""
    return _read_details(view.store.url, view.record.id, view.store.stamp, number, view)


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def _read_details(
    url: str, study_id: int, stamp: Stamp, number: int, _view: StudyView
) -> TrialRecord | None:
    read = _view.store.reader.trials
    trials = read(_view.record, [number], epochs=True, diagnostics=True)
    trial = next((item for item in trials if item.number == number), None)
    if trial is None or trial.duplicate_of is None:
        return trial
    numbers = [number, trial.duplicate_of]
    both = {t.number: t for t in read(_view.record, numbers, epochs=True, diagnostics=True)}
    original = both.get(trial.duplicate_of)
    if original is None:
        return trial
    return dataclasses.replace(both[number], evaluations=original.evaluations)


def trial_link(view: StudyView, number: int, label: str, key: str) -> None:
    """What opens a trial's page; ``label`` is markdown.

    A button that looks like a link: Streamlit's own links lead to other pages only, not from one trial to another.
    """
    if st.button(label, key=key, type="tertiary", icon=":material/arrow_outward:"):
        go_to("activation", study=view.record.name, trial=str(number))


def pick_trial(view: StudyView) -> int | None:
    """The trial in the address, or the best, and a box to choose another; None where there is no such trial."""
    frame = view.frame()
    asked = requested_trial()
    start: int | None
    if asked is None:
        best = view.ranked()
        start = int((best if len(best) else frame)["number"].iloc[0])
    else:
        start = parse_number(asked) if ":" not in asked else None
        if start is None or not (frame["number"] == start).any():
            st.warning(
                f"There is no trial {markdown(shorten(asked, 20))} in this study: choose one below.",
                icon=":material/search_off:",
            )
            start = None
    labels = trial_labels(view, [] if start is None else [start])
    st.session_state[_BOX] = start
    st.selectbox(
        "Trial",
        list(labels),
        format_func=lambda n: f"{n}: {labels[n]}" if n in labels else str(n),
        index=None,
        key=_BOX,
        placeholder="choose a trial, or type its number",
        help=f"The {_LISTED} best are listed; type the number of any other."
        if len(frame) > _LISTED
        else None,
        accept_new_options=True,
        on_change=_apply_choice,
    )
    if start is not None:
        remember_trial(start)
    return start


def _apply_choice() -> None:
    typed = parse_number(st.session_state.get(_BOX))
    if typed is not None:
        remember_trial(typed)
