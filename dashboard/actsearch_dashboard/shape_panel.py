"""What the page of one candidate says of the learned curve that it comes from, and of the names for it."""

from __future__ import annotations

import streamlit as st

from actsearch.records import TrialRecord
from actsearch.report import LearnedCurve, curves_of, family_of, names_table, pass_of
from actsearch_dashboard import figures
from actsearch_dashboard.components import COLUMNS, show_figure, trial_table
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.functions import curves
from actsearch_dashboard.text import markdown, shorten
from actsearch_dashboard.trial_picker import trial_link

__all__ = ["show_shape"]

_MOST_NAMES = 32
_COLUMNS = {
    **COLUMNS,
    "unexplained": st.column_config.NumberColumn(
        format="%.1e",
        help="Share of the learned curve's variance, under the density of its inputs, that a * name + b leaves "
        "over, with the numbers that it began with, or was fixed at. "
        "Factor and offset do not count: the layers around an activation take them over, and mirror images, too.",
    ),
}


def show_shape(view: StudyView, trial: TrialRecord) -> None:
    """The learned curve with the density of its inputs, and the names that were tried; nothing for other trials."""
    source = pass_of(trial, view.trial)
    if source is None or not (learned := curves_of(source)):
        return
    st.subheader("Learned shape", anchor=False)
    keys = list(learned)
    key = keys[0]
    if len(keys) > 1:
        key = st.selectbox(
            "Shape at",
            keys,
            format_func=lambda name: shorten(name, 40),
            key=f"shape {trial.number}",
        )
    left, right = st.columns([3, 2], gap="large")
    with left:
        _figure(view, trial, learned[key], key)
    with right:
        if source.number != trial.number:
            trial_link(
                view, source.number, f"learned in trial {source.number}", "pass of shape learning"
            )
        _names(view, source)


def _figure(view: StudyView, trial: TrialRecord, learned: LearnedCurve, key: str) -> None:
    name = None
    item = trial.candidate.at(key)
    if item is not None and not trial.candidate.learns_shape:
        (name,) = curves(view, [item])
    show_figure(figures.learned_shape(learned, name), f"shape {trial.number} {key}")
    words = "The curve that copies of the model learned; behind it where its inputs lay. "
    if item is not None and name is not None:
        label = markdown(shorten(item.label, 60))
        words += f"Dashed: {label}, with the factor and offset that come nearest to it."
    st.caption(words)


def _names(view: StudyView, source: TrialRecord) -> None:
    numbers = family_of(source.number, view.frame())[:_MOST_NAMES]
    table = names_table(view.store.reader.trials(view.record, numbers))
    if table.empty:
        st.caption("No name was tried for it yet.")
        return
    st.markdown("**Names**")
    shown = table[
        ["number", "unexplained", "value", "label", "state"]
    ]  # the first ones are seen at once
    trial_table(shown, table["number"].tolist(), f"names {source.number}", _COLUMNS)
