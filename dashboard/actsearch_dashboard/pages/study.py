"""One study: verdict, best so far, history, states, Optuna's figures; refreshed while it runs."""

from __future__ import annotations

import functools

import streamlit as st

from actsearch.records import TrialRecord, TrialState
from actsearch.report import leaderboard, state_counts
from actsearch_dashboard import figures, optuna_figures
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import heading, settings, show_figure, verdict_words
from actsearch_dashboard.state import calm, current_study, live
from actsearch_dashboard.text import ago, cut, markdown, number, seconds

__all__ = ["render"]

_OPTIMISTIC = (
    "The best of many noisy values, measured on validation data with the search's own seeds: an optimistic number. "
    "Whether it beats what you have is for a verdict to say."
)


@calm
def render() -> None:
    """The study page."""
    view = current_study()
    if view is None:
        return
    heading(view)
    verdict_words(view)
    live(view, functools.partial(_progress, view))
    _optuna(view)
    settings(view)


def _progress(view: StudyView) -> None:
    """What changes while a study runs."""
    trials = view.trials()
    if not trials:
        st.info("No trial yet. Call study.optimize to start:", icon=":material/info:")
        st.code("study.optimize(task, n_trials=100)", language="python")
        return
    if view.is_running and view.is_silent():
        st.warning(
            "No trial has ended for more than 10 minutes: the study is being confirmed, a trial takes long, or its "
            "process was killed. In that case call study.optimize again: it goes on where it stopped.",
            icon=":material/hourglass_disabled:",
        )
    _numbers(view, trials)
    ranked = leaderboard(trials, view.record.direction)
    if not ranked:
        st.info(
            "No trial is complete yet. If trials fail, the trial table gives the reasons.",
            icon=":material/info:",
        )
    left, right = st.columns([3, 1])
    with left:
        st.subheader("History", anchor=False)
        show_figure(figures.history(trials, view.record.direction, view.metric), "history")
    with right:
        st.subheader("Trials by state", anchor=False)
        show_figure(figures.states(state_counts(trials)), "states")


def _numbers(view: StudyView, trials: list[TrialRecord]) -> None:
    counts = state_counts(trials)
    ranked = leaderboard(trials, view.record.direction)
    trained = sum(count for state, count in counts.items() if state.is_trained)
    untrained = counts[TrialState.REJECTED] + counts[TrialState.DUPLICATE]
    last = max((trial.completed for trial in trials if trial.completed), default=None)
    best, done, spent, change = st.columns(4)
    best.metric(
        "Best so far (optimistic)",
        number(ranked[0].value if ranked else None),
        help=_OPTIMISTIC,
        border=True,
    )
    done.metric(
        "Trials trained",
        f"{trained}",
        help=f"Besides, {untrained} were rejected or repeated an earlier one, and cost nothing.",
        border=True,
    )
    spent.metric("Time in training", seconds(sum(trial.seconds for trial in trials)), border=True)
    change.metric("Last trial ended", ago(last), border=True)
    if ranked:
        top = ranked[0]
        label = cut(top.candidate.label or "your model unchanged", 100)
        st.caption(f"Best so far is trial {top.number}: {markdown(label)}")


def _optuna(view: StudyView) -> None:
    st.subheader("Optuna's figures", anchor=False)
    tabs = st.tabs(list(optuna_figures.NAMES), key="optuna", on_change="rerun")
    for name, tab in zip(optuna_figures.NAMES, tabs, strict=True):
        if not tab.open:
            continue  # only what is looked at is drawn
        with tab:
            try:
                show_figure(view.optuna_figure(name), f"optuna {name}")
            except optuna_figures.FigureError as error:
                st.info(markdown(error), icon=":material/info:")
