"""How the search went, generation by generation, and what a candidate descends from."""

from __future__ import annotations

import functools
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from actsearch_dashboard import figures
from actsearch_dashboard.components import (
    COLUMNS,
    FITTED_SIGNED,
    fit_formats,
    log_axis,
    open_trial,
    show_figure,
    study_page,
    trial_table,
)
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.formulas import formula_operators
from actsearch_dashboard.functions import pictures
from actsearch_dashboard.state import live
from actsearch_dashboard.text import markdown, one_line, say_count, say_origin
from actsearch_dashboard.trial_picker import pick_trial

__all__ = ["render"]

TITLE, ICON = "Evolution", "account_tree"

_MOST = 40  # ancestors: more would stand too close in their figure to be read
_NO_PARENTS = (
    "No trial here has parents, so only batches are shown. Where a strategy makes new candidates from earlier ones, "
    "this page also shows which operations improve and what a candidate descends from."
)

_OPERATIONS = {
    "operation": st.column_config.TextColumn(width="small"),
    "children": st.column_config.NumberColumn(width="small", help="Trained to the end."),
    "compared": st.column_config.NumberColumn(
        width="small",
        help="Those of them with a parent that was trained to the end: the shares are of these.",
    ),
    "improved": st.column_config.NumberColumn(
        format="%.0f %%", help="Share that is better than its best parent."
    ),
    "median gain": st.column_config.NumberColumn(
        format=FITTED_SIGNED,
        help="Over the best parent; half of the children gain more. Above 0 is better.",
    ),
    "records": st.column_config.NumberColumn(
        width="small", help="How often such a child was the best so far."
    ),
}
_ANCESTORS = {**COLUMNS, "steps back": st.column_config.NumberColumn(width="small")}


@study_page
def render(view: StudyView) -> None:
    """The evolution page."""
    live(view, functools.partial(_generations, view))
    _descent(view)


def _generations(view: StudyView) -> None:
    frame = view.frame()
    if view.is_running:
        frame = figures.finished_generations(frame)
    if frame.empty:
        st.info(
            "The first generation is being trained: it is shown when all of it has ended.",
            icon=":material/hourglass_top:",
        )
        return
    trained = int(frame["state"].isin(TRAINED).sum())
    key = (view.store.url, view.record.id, str(view.record.created), len(frame), trained)
    values = frame["value"][frame["state"] == "COMPLETE"]
    log = log_axis(values, "generations")
    drawn = _cached_figures(key, view.record.direction, view.metric, log, frame)
    st.caption(drawn.words)
    if not drawn.has_parents:
        st.info(_NO_PARENTS, icon=":material/info:")
    left, right = st.columns(2)
    with left:
        st.subheader(f"Values by {'generation' if drawn.has_parents else 'batch'}", anchor=False)
        if drawn.values is not None:
            show_figure(drawn.values, "generations")
        else:
            st.info(
                "No trial is complete yet. If trials fail, the trial table gives the reasons.",
                icon=":material/info:",
            )
    with right:
        st.subheader("How much is new", anchor=False)
        show_figure(drawn.diversity, "diversity")
    st.subheader("Operators in use", anchor=False)
    if drawn.operators is None:
        st.caption("No formula here can be read, or none has an operator.")
        return
    st.caption("Share of what was proposed together that uses an operator at least once.")
    show_figure(drawn.operators, "operators")


class _GenerationFigures(NamedTuple):
    words: str
    has_parents: bool
    values: go.Figure | None
    diversity: go.Figure
    operators: go.Figure | None


@st.cache_resource(ttl=60, max_entries=8, show_spinner=False)
def _cached_figures(
    key: tuple[object, ...], direction: str | None, metric: str, log: bool, _frame: pd.DataFrame
) -> _GenerationFigures:
    """What is shown of the generations; the same until another one has ended."""
    table = figures.generations(_frame, direction)
    has_parents = bool(_frame["parents"].map(len).any())
    count = int(table["batches"].sum())
    word = "generation" if has_parents else "batch"
    words = f"{say_count(count, word, word + ('s' if has_parents else 'es'))}: "
    words += "a generation is what was proposed together, before any of it trained."
    if (together := int(table["batches"].max())) > 1:
        words += f" Each point stands for {together} of them."
    values = None
    if table["complete"].any():
        values = figures.generation_values(table, direction, metric, log)
    use = figures.operator_use(_frame, table, formula_operators)
    operators = None if use.empty else figures.operator_heat(use)
    return _GenerationFigures(words, has_parents, values, figures.novelty(table), operators)


def _descent(view: StudyView) -> None:
    frame = view.frame()
    if not frame["parents"].map(len).any():
        return
    _operations(frame, view.record.direction)
    st.subheader("Ancestry", anchor=False)
    chosen = pick_trial(view)
    if chosen is None:
        return
    ancestry = figures.ancestry(frame, chosen, _MOST)
    if len(ancestry.nodes) == 1:
        operation = say_origin(ancestry.nodes[0].operation)
        st.caption(f"Trial {chosen} has no parents: it was made by {markdown(operation)}.")
        return
    text = "The candidate at the bottom, above it what it was made from."
    text += " A click on a point opens it, and so does the table below."
    if ancestry.left_out:
        text += f" The {_MOST} nearest are shown, {ancestry.left_out} further ones are left out."
    st.caption(text)
    _tree(ancestry)
    _ancestors(view, ancestry)


def _operations(frame: pd.DataFrame, direction: str | None) -> None:
    table = figures.operations(frame, direction)
    if not table["compared"].any():
        return
    st.subheader("Which operations improve", anchor=False)
    left, right = st.columns(2)
    with left:
        show_figure(figures.operation_shares(table), "operations")
    shown = table.assign(
        operation=[say_origin(name) for name in table["operation"]],
        improved=100 * table["improved"],
    )
    shown = shown.rename(columns={"median_gain": "median gain"})[list(_OPERATIONS)]
    right.dataframe(
        shown,
        hide_index=True,
        column_config=fit_formats(shown, _OPERATIONS),
        placeholder="",
    )


def _tree(ancestry: figures.Ancestry) -> None:
    event = st.plotly_chart(
        figures.ancestry_figure(ancestry),
        theme="streamlit",
        key="ancestry",
        on_select="rerun",
        selection_mode="points",
        config={"displayModeBar": False},
    )
    for point in event["selection"]["points"]:
        number = point.get("customdata")
        if isinstance(number, list):
            number = number[0] if number else None
        if number in {node.number for node in ancestry.nodes}:
            open_trial(int(number))


def _ancestors(view: StudyView, ancestry: figures.Ancestry) -> None:
    """The same as a table, for the keyboard and for whole formulas."""
    numbers = [node.number for node in ancestry.nodes]
    trials = view.store.reader.trials(view.record, numbers)
    drawn = dict(
        zip(
            [trial.number for trial in trials],
            pictures(view, [trial.candidate for trial in trials]),
            strict=True,
        )
    )
    table = pd.DataFrame(
        [
            {
                "function": drawn.get(node.number, ""),
                "steps back": node.steps,
                "trial": node.number,
                "made by": say_origin(node.operation),
                "from": ", ".join(map(str, node.parents)),
                "value": node.value,
                "activation": one_line(node.label),
            }
            for node in ancestry.nodes
        ]
    )
    trial_table(table, numbers, "ancestors", _ANCESTORS, row_height=56)
