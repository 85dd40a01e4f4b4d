"""Every trial in a table: filter, download, open."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import trials_frame
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import FOUR_DECIMALS, SECONDS, heading, trial_table
from actsearch_dashboard.state import calm, current_study, live
from actsearch_dashboard.text import csv_text, one_line

__all__ = ["filtered", "render"]

_COLUMNS = {
    "number": st.column_config.NumberColumn("trial", width="small"),
    "value": st.column_config.NumberColumn(format=FOUR_DECIMALS),
    "spread": st.column_config.NumberColumn(format=FOUR_DECIMALS),
    "activation": st.column_config.TextColumn(width="medium"),
    "duplicate_of": st.column_config.NumberColumn("duplicate of"),
    "same_values_as": st.column_config.NumberColumn("same values as"),
    "mirror_of": st.column_config.NumberColumn(
        "mirror of", help="f(-x), -f(x) or -f(-x) of that trial's f"
    ),
    "seconds": st.column_config.NumberColumn("time", format=SECONDS),
    "datetime_start": st.column_config.DatetimeColumn("started"),
    "datetime_complete": st.column_config.DatetimeColumn("ended"),
}
_SEARCHED = ["activation", "formula", "operation", "reason", "warnings"]


@calm
def render() -> None:
    """The trial table."""
    view = current_study()
    if view is None:
        return
    heading(view)
    left, right = st.columns(2)
    states = left.multiselect(
        "States", [state.value for state in TrialState], placeholder="all states", key="states"
    )
    words = right.text_input(
        "Contains",
        placeholder="part of a formula, an activation, a reason",
        icon=":material/search:",
        key="words",
    )
    live(view, functools.partial(_table, view, states, words))


def _table(view: StudyView, states: list[str], words: str) -> None:
    whole = trials_frame(view.trials())
    if whole.empty:
        st.info("No trial yet. Call study.optimize to start:", icon=":material/info:")
        st.code("study.optimize(task, n_trials=100)", language="python")
        return
    frame = filtered(whole, states, words)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(
        f"{len(frame)} of {len(whole)} trials. Click on a row's box to open the candidate."
    )
    right.download_button(
        "Download CSV",
        csv_text(frame),
        file_name="trials.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        help="What is shown. Text that a spreadsheet would take for a formula begins with a quote (').",
    )
    if frame.empty:
        st.info("No trial matches: take away a state or a word.", icon=":material/filter_alt_off:")
        return
    shown = frame.assign(**{name: frame[name].map(one_line) for name in _SEARCHED})
    trial_table(shown, [int(number) for number in frame["number"]], "trials", _COLUMNS)


def filtered(frame: pd.DataFrame, states: list[str], words: str) -> pd.DataFrame:
    """Rows in one of the states (any, if none is named) in which some text contains ``words``, case ignored."""
    if states:
        frame = frame[frame["state"].isin(states)]
    wanted = words.strip().lower()
    if wanted:
        found = pd.Series(False, index=frame.index)
        for name in _SEARCHED:
            found |= frame[name].str.lower().str.contains(wanted, regex=False)
        frame = frame[found]
    return frame
