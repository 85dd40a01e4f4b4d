"""One study: verdict, progress, best so far, history, states, Optuna's figures; refreshed while it runs."""

from __future__ import annotations

import functools
import math

import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import leaders, objective_names
from actsearch_dashboard import figures
from actsearch_dashboard.components import (
    heading,
    settings,
    show_confirmation,
    show_figure,
    show_no_trials,
    show_verdict,
)
from actsearch_dashboard.data import MOST_PRUNED, MOST_SAMPLED, StudyView
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.pace import Pace, measure_pace
from actsearch_dashboard.state import current_study, live, show_errors
from actsearch_dashboard.text import ago, candidate_label, markdown, number, seconds, shorten
from actsearch_dashboard.trial_picker import trial_link

__all__ = ["render"]

TITLE, ICON = "Study", "monitoring"

_OPTIMISTIC = (
    "The best of many noisy values, measured on validation data with the search's own seeds: an optimistic number. "
    "Only a verdict tells whether it beats your model."
)


@show_errors
def render() -> None:
    """The study page."""
    view = current_study()
    if view is None:
        return
    heading(view)
    show_verdict(view)
    names = objective_names(view.record)
    objective = _chosen_objective(names, bool(view.record.objectives))
    live(view, functools.partial(_progress, view, objective))
    _pruning(view)
    _optuna(view, objective, len(names))
    settings(view)


def _chosen_objective(names: tuple[str, ...], named: bool) -> int:
    if not names:
        return 0
    shown = [
        f"{index}: {shorten(name, 30)}" if named else f"objective {index}"
        for index, name in enumerate(names, 1)
    ]
    picked = st.radio("Objective", shown, format_func=markdown, horizontal=True, key="objective")
    return shown.index(picked)


def _select_objective(view: StudyView, objective: int) -> tuple[pd.DataFrame, str | None, str]:
    """Trials with the values of one objective, its direction and its name."""
    frame, names = view.frame(), objective_names(view.record)
    direction = view.record.direction
    if objective < len(view.record.directions):
        direction = view.record.directions[objective]
    if objective and f"value_{objective}" in frame:
        frame = frame.assign(value=frame[f"value_{objective}"])
    named = view.record.objectives[objective : objective + 1]
    if names and not named:
        return frame, direction, f"objective {objective + 1}"
    return frame, direction, shorten(named[0], 40) if named else view.metric


def _progress(view: StudyView, objective: int) -> None:
    """What changes while a study runs."""
    frame, direction, metric = _select_objective(view, objective)
    if frame.empty:
        show_no_trials()
        return
    by_word = frame["state"].value_counts()
    counts = {state: int(by_word.get(state.value, 0)) for state in TrialState}
    _show_state(view, frame, counts)
    _numbers(view, frame, counts, direction)
    if not counts[TrialState.COMPLETE]:
        st.info(
            "No trial is complete yet. If trials fail, the trial table gives the reasons.",
            icon=":material/info:",
        )
    left, right = st.columns([3, 1])
    with left:
        st.subheader("History", anchor=False)
        show_figure(figures.history(frame, direction, metric), "history")
        trained = sum(counts[state] for state in TrialState if state.is_trained)
        if trained > figures.DRAWN:
            st.caption(
                f"{figures.DRAWN:,} of {trained:,} trained trials are drawn: the best, and others evenly spread. "
                "The line is of all."
            )
    with right:
        st.subheader("Trials by state", anchor=False)
        show_figure(figures.states(counts), "states")


def _show_state(view: StudyView, frame: pd.DataFrame, counts: dict[TrialState, int]) -> None:
    """How far a running study is, or how one that does not run goes on."""
    still_open = counts[TrialState.RUNNING] + counts[TrialState.WAITING]
    if view.is_running:
        _running(view, frame)
    elif counts[TrialState.RUNNING]:
        st.warning(
            f"Its process ended while {counts[TrialState.RUNNING]:,} trials were running. Call study.optimize again: "
            "it continues where it stopped, and finished trials are kept.",
            icon=":material/restart_alt:",
        )
    elif still_open:
        st.caption(
            f"Resumable: {still_open:,} proposed trials are not yet trained; study.optimize continues with them."
        )


def _running(view: StudyView, frame: pd.DataFrame) -> None:
    if show_confirmation(view):
        return
    if view.is_silent():
        st.warning(
            "No trial has ended for more than 10 minutes: the study is being confirmed, a trial takes long, or its "
            "process was killed. In that case call study.optimize again: it continues where it stopped.",
            icon=":material/hourglass_disabled:",
        )
    pace = measure_pace(frame, view.run_goal)
    st.progress(pace.done / max(1, pace.size), text=_describe_pace(pace))


def _describe_pace(pace: Pace) -> str:
    ended = f"{pace.done:,} of {pace.size:,} trials ended"
    words = (
        [ended, f"batch {pace.batch:,}"] if pace.has_target else [f"Batch {pace.batch:,}: {ended}"]
    )
    if pace.left is not None:
        words.append(f"about {seconds(math.ceil(pace.left))} left")
    if pace.per_hour is not None:
        words.append(f"{pace.per_hour:,.0f} trials an hour")
    return " · ".join(words)


def _numbers(
    view: StudyView, frame: pd.DataFrame, counts: dict[TrialState, int], direction: str | None
) -> None:
    ranked = leaders(frame[["number", "state", "value", "label"]], direction, 1)
    trained = sum(count for state, count in counts.items() if state.is_trained)
    untrained = counts[TrialState.REJECTED] + counts[TrialState.DUPLICATE]
    last = frame["completed"].max()
    row = st.container(horizontal=True)  # unlike columns, it wraps where there is little room
    row.metric(
        "Best so far (optimistic)",
        number(float(ranked["value"].iloc[0]) if len(ranked) else None),
        help=_OPTIMISTIC,
        border=True,
    )
    row.metric(
        "Trials trained",
        f"{trained:,}",
        help=f"Besides, {untrained:,} were rejected or repeated an earlier one, and cost nothing.",
        border=True,
    )
    row.metric("Time in training", seconds(float(frame["seconds"].sum())), border=True)
    row.metric("Last trial ended", ago(None if last is pd.NaT else last), border=True)
    if len(ranked):
        top = ranked.iloc[0]
        label = candidate_label(top["label"], 100)
        words = f"Best so far is trial {top['number']}: {markdown(label)}"
        trial_link(view, int(top["number"]), words, "best so far")


def _pruning(view: StudyView) -> None:
    account = view.pruning()
    if account is None or not account.pruned:
        return
    trained = int(view.frame()["state"].isin(TRAINED).sum())
    over = f"Over the latest {MOST_PRUNED:,} trials: " if trained > MOST_PRUNED else ""
    st.caption(f":material/content_cut: {over}{account}")


def _optuna(view: StudyView, objective: int, objectives: int) -> None:
    from actsearch_dashboard import optuna_figures  # loads slowly, and the rest is shown by now

    st.subheader("Optuna's figures", anchor=False)
    names = [name for name in optuna_figures.NAMES if name != "Pareto front"]
    if objectives > 1:
        names.insert(0, "Pareto front")
    trained = int(view.frame()["state"].isin(TRAINED).sum())
    tabs = st.tabs(names, key="optuna", on_change="rerun")
    for name, tab in zip(names, tabs, strict=True):
        if not tab.open:
            continue  # only what is looked at is drawn
        with tab:
            try:
                show_figure(view.optuna_figure(name, objective), f"optuna {name} {objective}")
            except optuna_figures.FigureError as error:
                st.info(markdown(error), icon=":material/info:")
            most = (
                optuna_figures.MOST_CURVES if name in optuna_figures.NEED_EPOCHS else MOST_SAMPLED
            )
            if trained > most:
                st.caption(
                    f"Made of {most:,} of {trained:,} trained trials: the best, and others evenly spread."
                )
