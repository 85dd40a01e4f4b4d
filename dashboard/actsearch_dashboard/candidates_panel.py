"""Two to six candidates side by side: trials of the page's study, and of others in the same storage."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from actsearch.errors import StudyError
from actsearch.records import BASELINE, CATALOG_ROW, CandidateRecord, Curve
from actsearch_dashboard import figures
from actsearch_dashboard.compare_address import (
    FEWEST,
    MOST,
    TRIALS,
    keep_names,
    pick_known,
    refer,
    requested_names,
    split_reference,
)
from actsearch_dashboard.compared import Compared, labels_elsewhere, read_compared, studies_of
from actsearch_dashboard.components import COLUMNS, clickable_table, show_figure
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.differences_panel import show_differences
from actsearch_dashboard.functions import large_curves, pictures
from actsearch_dashboard.state import go_to, live
from actsearch_dashboard.studies_panel import are_comparable
from actsearch_dashboard.text import (
    candidate_label,
    one_line,
    say_origin,
    short_labels,
    shorten,
)

__all__ = ["show_candidates"]

_NARROW = {
    **COLUMNS,
    "activation": st.column_config.TextColumn(width="medium"),
}
"""Beside the names of several studies, values are to be seen as well."""

_CHOICE = 300  # best trials to choose from: all of them travel to the browser


def show_candidates(view: StudyView) -> None:
    """The candidates that are chosen."""
    box = f"candidates of {view.record.id}"
    frame = view.frame()
    labels = dict(zip(frame["number"].map(str), frame["label"], strict=True))
    forms = (_in_own_form(text, view.record.name) for text in requested_names(TRIALS))
    asked = list(dict.fromkeys(forms))
    held = st.session_state.get(box, [])
    elsewhere = labels_elsewhere(view, [*asked, *held])
    best = _best_of(view)
    own = frame["number"][frame["formula"] == ""].map(str).tolist()[:1]  # what is to be beaten
    known = pick_known(asked, labels.keys() | elsewhere.keys(), "trial")
    start = known if TRIALS in st.query_params else list(dict.fromkeys([*best[:3], *own]))
    chosen = st.multiselect(
        "Candidates",
        list(dict.fromkeys([*start, *held, *best])),
        default=None
        if box in st.session_state
        else start,  # what it holds, it has from the reader
        max_selections=MOST,
        format_func=functools.partial(_describe, labels, elsewhere, view.record.name),
        key=box,
        help="The others are compared with the first. Trials that are not listed: ?compare=3,17,other study:5 in the "
        "address.",
    )
    keep_names(TRIALS, chosen)
    _add_elsewhere(view, box, chosen)
    if len(chosen) < FEWEST:
        st.info("Choose two to six candidates above.", icon=":material/compare_arrows:")
        return
    live(view, functools.partial(_side_by_side, view, chosen))


def _in_own_form(text: str, own: str) -> str:
    """A reference as the box has it: without the study where it is the page's own; other texts as they are."""
    study, number = split_reference(text, own)
    return text if number is None else refer(study, number, own)


def _describe(labels: dict[str, str], elsewhere: dict[str, str], own: str, reference: str) -> str:
    if reference not in elsewhere:
        return f"{reference}: {candidate_label(labels.get(reference), 60)}"
    study, number = split_reference(reference, own)
    return f"{number}: {candidate_label(elsewhere[reference], 40)} · {shorten(study, 30)}"


def _best_of(view: StudyView) -> list[str]:
    return [str(number) for number in view.ranked()["number"][:_CHOICE]]


def _add_elsewhere(view: StudyView, box: str, chosen: Sequence[str]) -> None:
    """Boxes that add a trial of another study to what is compared."""
    own = view.record.name
    names = [study.name for study in view.store.studies() if study.name != own][::-1]
    if not names:
        return
    with st.expander("Add from another study", icon=":material/library_add:"):
        left, middle, right = st.columns([2, 3, 1], vertical_alignment="bottom")
        study = left.selectbox(
            "Study",
            names,
            index=None,  # a study is read once it is asked for
            format_func=shorten,
            placeholder="choose a study",
            key=f"another study than {view.record.id}",
        )
        if study is None:
            return
        try:
            other = view.store.view(study)
        except StudyError:
            st.caption("This study is gone: reload the page.")
            return
        best = _best_of(other)
        if not best:
            middle.caption("No trial of it is complete yet.")
            return
        frame = other.frame()
        labels = dict(zip(frame["number"].map(str), frame["label"], strict=True))
        number = middle.selectbox(
            "Candidate",
            best,
            format_func=lambda n: f"{n}: {candidate_label(labels.get(n), 60)}",
            key=f"candidate of {other.record.id} for {view.record.id}",
        )
        reference = refer(study, int(number), own)
        right.button(
            "Add",
            key="add from another study",
            on_click=_add,
            args=(box, [*chosen, reference]),
            disabled=reference in chosen or len(chosen) >= MOST,
            help=f"At most {MOST} are compared." if len(chosen) >= MOST else None,
        )


def _add(box: str, chosen: list[str]) -> None:
    st.session_state[box] = chosen


def _side_by_side(view: StudyView, references: Sequence[str]) -> None:
    items = read_compared(view, references)
    if not items:
        return
    views = studies_of(items)
    comparable = len(views) < 2 or are_comparable(views)
    _table(items)
    left, right = st.columns(2)
    with left:
        st.subheader("Functions", anchor=False)
        drawn = {item.name: _functions(item) for item in items}
        if any(drawn.values()):
            show_figure(figures.functions(drawn), "functions")
        else:
            st.caption("None of these can be drawn as a function of one number.")
    with right:
        st.subheader("Training", anchor=False)
        _training(items, comparable)
    show_differences(items, comparable)


def _training(items: Sequence[Compared], comparable: bool) -> None:
    view = items[0].view
    if not comparable or len({item.view.unit for item in items}) > 1:
        st.caption(
            "No shared curves: these studies measure different things."
            if not comparable
            else "No shared curves: some of these studies count epochs, others steps."
        )
        return
    trained = {item.name: item.trial.evaluations for item in items}
    figure = figures.median_curves(trained, view.metric, view.unit)
    if figure.data:
        show_figure(figure, "curves")
        st.caption("Median over the seeds; the band reaches from the worst to the best seed.")
    else:
        st.caption("No curves: none of these was trained, or nothing was recorded by epoch.")


def _functions(item: Compared) -> dict[str, Curve]:
    """A candidate's functions by group of sites; those that cannot be drawn are left out."""
    records = item.trial.candidate.activations
    curves = large_curves(item.view, list(records.values()))
    return {
        group: curve for group, curve in zip(records, curves, strict=True) if curve is not None
    }


def _table(items: Sequence[Compared]) -> None:
    trials = [item.trial for item in items]
    drawn = {
        name: iter(pictures(view, [item.trial.candidate for item in items if item.study == name]))
        for name, view in ((view.record.name, view) for view in studies_of(items))
    }
    columns: dict[str, Any] = {
        "function": [next(drawn[item.study]) for item in items],
        "study": [one_line(item.study) for item in items],
        "trial": [trial.number for trial in trials],
        "activation": short_labels([candidate_label(trial.candidate.label) for trial in trials]),
        "state": [trial.state.value.lower() for trial in trials],
        "metric": [item.view.metric for item in items],
        "value": pd.array([trial.value for trial in trials], "Float64"),
        "spread": pd.array([trial.spread for trial in trials], "Float64"),
        "made by": [_made_by(trial.candidate) for trial in trials],
    }
    for name in ("study", "metric"):  # they say nothing where all are alike
        if len(set(columns[name])) < 2:
            del columns[name]
    widths = _NARROW if "study" in columns else COLUMNS
    clicked = clickable_table(pd.DataFrame(columns), "compared", widths, row_height=56)
    if clicked is not None:
        go_to("activation", study=items[clicked].study, trial=str(trials[clicked].number))


def _made_by(candidate: CandidateRecord) -> str:
    """In studies of before, rows of the catalog were said to be made like the model unchanged."""
    is_row = candidate.operation == BASELINE and not candidate.is_baseline
    return say_origin(CATALOG_ROW if is_row else candidate.operation)
