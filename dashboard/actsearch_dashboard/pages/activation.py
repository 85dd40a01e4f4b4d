"""One candidate: its formula, the function it is on what it met, how it trained, its relatives, and ways to take it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import zip_longest

import streamlit as st

from actsearch.records import TrialRecord
from actsearch.report import first_diagnostics
from actsearch.report.verdict.table import format_signed
from actsearch_dashboard import activation_panel, export_panel, figures, function_client
from actsearch_dashboard.components import SPREAD, show_figure, show_note, study_page, verdict_box
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.deployment_panel import show_deployment
from actsearch_dashboard.lineage_panel import show_changes
from actsearch_dashboard.palette import BLUE
from actsearch_dashboard.relatives import show_relatives
from actsearch_dashboard.shape_panel import show_shape
from actsearch_dashboard.state import go_to, live
from actsearch_dashboard.text import markdown, number, one_line, seconds, shorten
from actsearch_dashboard.trial_picker import pick_trial, read_details

__all__ = ["render"]

TITLE, ICON = "Activation", "function"

_MOST_OBJECTIVES = 4  # that fit beside state, spread and time


@study_page
def render(view: StudyView) -> None:
    """The page of one candidate."""
    chosen = pick_trial(view)
    if chosen is not None:
        live(view, functools.partial(_candidate, view, chosen))


def _candidate(view: StudyView, chosen: int) -> None:
    trial = read_details(view, chosen)
    if trial is None:
        st.info("This trial is gone: reload the page.", icon=":material/info:")
        return
    _facts(view, trial)
    if trial.candidate.is_baseline:
        st.info("Your model unchanged: nothing was replaced.", icon=":material/info:")
    function_client.start()  # while it loads, everything that needs no other process is shown
    items = trial.candidate.activations
    completions = [
        activation_panel.show_activation(view, trial, group, items[group])
        for group in _groups(trial)
    ]
    show_shape(view, trial)
    _training(view, trial)
    _inside(view, trial)
    for fill_in in completions:
        fill_in()
    show_relatives(view, trial)
    show_deployment(view, trial)
    export_panel.show(view, trial)


def _groups(trial: TrialRecord) -> list[str]:
    """The groups of sites to show: the only one, or that which is chosen of several."""
    groups = list(trial.candidate.activations)
    if len(groups) < 2:
        if groups and trial.candidate.single is None:
            st.subheader(f"At {markdown(shorten(groups[0]))}", anchor=False)
        return groups
    chosen = st.segmented_control(
        "Activation at",
        groups,
        default=groups[0],
        required=True,
        format_func=lambda group: markdown(shorten(group, 40)),
        key="group",
        bind="query-params",
        help="This candidate has an activation for each of these groups of sites.",
    )
    return [chosen if chosen in groups else groups[0]]


def _facts(view: StudyView, trial: TrialRecord) -> None:
    values = _values(view, trial)
    row = st.container(horizontal=True)  # unlike columns, it wraps where there is little room
    row.metric("State", trial.state.value.lower(), border=True)
    for name, value in values.items():
        row.metric(markdown(shorten(name, 24)), number(value), border=True)
    row.metric(
        "Spread",
        number(trial.spread),
        help=SPREAD,
        border=True,
    )
    row.metric("Time", seconds(trial.seconds), border=True)
    activation_panel.show_origin(view, trial)
    show_changes(view, trial)
    for note in filter(None, (trial.reason, *trial.warnings)):
        st.text(one_line(note))
    show_note(trial.user_attrs)
    _verdict(view, trial)


def _values(view: StudyView, trial: TrialRecord) -> Mapping[str, float | None]:
    names = view.objectives
    if not names:
        return {f"{view.metric} (validation)": trial.value}
    shown = dict.fromkeys(names[:_MOST_OBJECTIVES])
    return dict(zip_longest(shown, trial.values[: len(shown)]))


def _verdict(view: StudyView, trial: TrialRecord) -> None:
    found = view.verdict_of(trial.number)
    if found is None:
        return
    verdict, row = found
    baseline = markdown(shorten(verdict.baseline.label, 40))
    metric = markdown(shorten(verdict.metric, 40))
    low, middle, high = map(format_signed, (row.low, row.difference, row.high))
    text = (
        markdown(verdict.remark(row))
        if row.verdict == "left early"
        else f"difference to {baseline} {middle} ({low} to {high}) in {metric} on fresh seeds."
    )
    verdict_box(row.verdict, f"Verdict: **{markdown(row.verdict)}**, {text}")


def _training(view: StudyView, trial: TrialRecord) -> None:
    st.subheader("Training", anchor=False)
    if not any(evaluation.epochs for evaluation in trial.evaluations):
        st.caption(
            "No curves: it was not trained, or not yet, or the objective reports no epochs."
        )
        return
    left, right = st.columns(2)
    with left:
        show_figure(figures.epoch_curves(trial.evaluations, "loss", "loss", view.unit), "loss")
    with right:
        show_figure(
            figures.epoch_curves(trial.evaluations, "metric", view.metric, view.unit), "metric"
        )
    seeds = len(trial.evaluations)
    words = "One line per seed; training dashed, validation solid." if seeds > 1 else (
        "Training dashed, validation solid."
    )  # fmt: skip
    if trial.duplicate_of is not None:
        words += f" This is the training of trial {trial.duplicate_of}, the same function."
    st.caption(words)


def _inside(view: StudyView, trial: TrialRecord) -> None:
    st.subheader("Inside the network", anchor=False)
    diagnostics = first_diagnostics(trial)
    if diagnostics is None:
        st.caption("Nothing was recorded inside the network: " + activation_panel.NO_DIAGNOSTICS)
        return
    activation_panel.show_remarks(diagnostics)
    shown = figures.LabelledDiagnostics(trial.candidate.label, BLUE, diagnostics)
    show_figure(figures.by_depth([shown]), "by depth")
    seed = next(e.seed for e in trial.evaluations if e.diagnostics is diagnostics)
    st.caption(
        "Sites from the first to the last, on one fixed training batch before and after training, "
        f"under the first seed ({seed})."
    )
    if st.button("Compare with other candidates", icon=":material/layers:"):
        go_to("inside", study=view.record.name, candidates=str(trial.number))
    with st.expander("The numbers", icon=":material/table:"):
        activation_panel.show_numbers(diagnostics, "of the trial")
