"""One study: verdict, progress, best so far, history, states, Optuna's figures; refreshed while it runs."""

from __future__ import annotations

import functools
import math

import numpy as np
import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import Verdict, leaders
from actsearch.storage import redact
from actsearch_dashboard import figures
from actsearch_dashboard.components import (
    heading,
    log_axis,
    settings,
    show_failures,
    show_figure,
    show_no_trials,
    show_trials_figure,
    show_verdict,
)
from actsearch_dashboard.confirming import show_confirmation
from actsearch_dashboard.data import MOST_PRUNED, MOST_SAMPLED, StudyView
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.pace import Pace, measure_pace
from actsearch_dashboard.parallel_panel import narrow
from actsearch_dashboard.state import current_study, live, show_errors
from actsearch_dashboard.text import (
    ago,
    candidate_label,
    markdown,
    number,
    one_line,
    say_count,
    seconds,
)
from actsearch_dashboard.trial_picker import trial_link
from actsearch_dashboard.worth import describe_worth, expected_gain, noise

__all__ = ["render"]

TITLE, ICON = "Study", "monitoring"

_DISTRIBUTION = "Distribution"
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
    objective = _chosen_objective(view)
    live(view, functools.partial(_progress, view, objective))
    _pruning(view)
    _figures(view, objective)
    _commands(view)
    settings(view)


def _chosen_objective(view: StudyView) -> int:
    names = view.objectives
    if not names:
        return 0
    picked = st.radio(
        "Objective",
        names,
        format_func=markdown,
        horizontal=True,
        key="objective",
        bind="query-params",
    )
    return names.index(picked) if picked in names else 0


def _select_objective(view: StudyView, objective: int) -> tuple[pd.DataFrame, str | None, str]:
    """Trials with the values of one objective, its direction and its name."""
    frame = view.frame()
    if not view.objectives:
        return frame, view.record.direction, view.metric
    if objective and f"value_{objective}" in frame:
        frame = frame.assign(value=frame[f"value_{objective}"])
    return frame, view.record.directions[objective], view.objectives[objective]


def _progress(view: StudyView, objective: int) -> None:
    """What changes while a study runs."""
    frame, direction, metric = _select_objective(view, objective)
    if frame.empty:
        show_no_trials()
        return
    by_word = frame["state"].value_counts()
    counts = {state: int(by_word.get(state.value, 0)) for state in TrialState}
    _show_state(view, frame, counts)
    _numbers(view, frame, counts, direction, metric, objective)
    if not show_failures(view) and not counts[TrialState.COMPLETE]:
        st.info("No trial is complete yet.", icon=":material/info:")
    left, right = st.columns([3, 1])
    with left:
        st.subheader("History", anchor=False)
        log = log_axis(frame["value"][frame["state"] == TrialState.COMPLETE.value], "history")
        show_trials_figure(figures.history(frame, direction, metric, log), "history")
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
        return
    show_confirmation(view)
    if counts[TrialState.RUNNING]:
        were = say_count(counts[TrialState.RUNNING], "trial was", "trials were")
        st.warning(
            f"Its process ended while {were} running. Call study.optimize again: it continues where it stopped, and "
            "finished trials are kept.",
            icon=":material/restart_alt:",
        )
    elif still_open:
        waiting = say_count(still_open, "proposal waits", "proposals wait")
        last = "" if still_open == len(frame) else " of the last batch"
        st.caption(
            f"{waiting}{last}: a batch is proposed whole, however many trials were asked for. A further call of "
            "study.optimize begins with them."
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
    view: StudyView,
    frame: pd.DataFrame,
    counts: dict[TrialState, int],
    direction: str | None,
    metric: str,
    objective: int,
) -> None:
    ranked = _first_of(view, leaders(frame, direction, len(frame) if view.objectives else 1))
    trained = sum(count for state, count in counts.items() if state.is_trained)
    untrained = counts[TrialState.REJECTED] + counts[TrialState.DUPLICATE]
    last = frame["completed"].max()
    row = st.container(horizontal=True)  # unlike columns, it wraps where there is little room
    what = f"Best {markdown(metric)} so far" if view.objectives else "Best so far"
    row.metric(
        f"{what} (optimistic)",
        number(float(ranked["value"].iloc[0]) if len(ranked) else None),
        help=_OPTIMISTIC,
        border=True,
    )
    failed = counts[TrialState.FAILED]
    row.metric(
        "Trials trained",
        f"{trained:,}" + (f", {failed:,} failed" if failed else ""),
        help=f"Besides, {untrained:,} were rejected or repeated an earlier one, and cost nothing.",
        border=True,
    )
    row.metric("Time in training", seconds(float(frame["seconds"].sum())), border=True)
    row.metric("Last trial ended", ago(None if last is pd.NaT else last), border=True)
    if len(ranked):
        top = ranked.iloc[0]
        label = candidate_label(top["label"], 100)
        words = f"{what} is trial {top['number']}: {markdown(label)}"
        trial_link(view, int(top["number"]), words, "best so far")
    if counts[TrialState.COMPLETE]:
        st.caption(_worth(view, frame, direction, objective))


def _first_of(view: StudyView, ranked: pd.DataFrame) -> pd.DataFrame:
    """The best row; of several objectives, of equally good ones one that no other dominates."""
    if not view.objectives or ranked.empty:
        return ranked.head(1)
    equal = ranked.index[ranked["value"] == ranked["value"].iloc[0]]
    return ranked.loc[view.ranked().index.intersection(equal, sort=False)].head(1)


def _worth(view: StudyView, frame: pd.DataFrame, direction: str | None, objective: int) -> str:
    """Is it worth going on?"""
    complete = frame[frame["state"] == TrialState.COMPLETE.value]
    values = complete["value"].to_numpy()
    values = values[np.isfinite(values)]
    # spreads and verdicts are of the first objective
    differ = None if objective else noise(complete["spread"], _seeds(view), _latest_verdict(view))
    return describe_worth(expected_gain(values, direction), differ, len(values))


def _seeds(view: StudyView) -> int | list[int] | None:
    """Of each trial, as stored."""
    seeds = (view.record.task or {}).get("seeds")
    return seeds if isinstance(seeds, int | list) else None


def _latest_verdict(view: StudyView) -> Verdict | None:
    verdicts = view.verdicts()
    return verdicts[-1][1] if verdicts else None


def _commands(view: StudyView) -> None:
    """What goes on with the study, and what stops it: pages only read."""
    with st.expander("Go on, confirm, stop", icon=":material/terminal:"):
        name, url = view.record.name, redact(view.store.url)
        can_confirm = (view.frame()["state"] == TrialState.COMPLETE.value).any()
        st.code(
            f"study = acs.load_study(study_name={name!r}, storage={url!r})\n"
            "study.optimize(task, n_trials=100)  # with the task of the script that made it\n"
            + "print(study.confirm(task))"
            * bool(can_confirm),
            language="python",
            wrap_lines=True,
        )
        driver = view.store.reader.driver(view.record)
        # read from the database: -1 would mean each process of the user
        if driver is not None and isinstance(driver[1], int) and driver[1] > 1:
            words = f"on {one_line(driver[0])}, if it still runs: stops it as Ctrl-C does"
            st.code(f"kill -INT {driver[1]}  # {words}", language="bash")
        st.caption(
            "Ctrl-C in the terminal of the search stops it, and so does `study.stop()` in a callback: what has ended "
            "is kept, and what was in training is trained again."
        )


def _pruning(view: StudyView) -> None:
    account = view.pruning()
    if account is None or not account.pruned:
        return
    trained = int(view.frame()["state"].isin(TRAINED).sum())
    over = f"Over the latest {MOST_PRUNED:,} trials: " if trained > MOST_PRUNED else ""
    st.caption(f":material/content_cut: {over}{account}")


def _figures(view: StudyView, objective: int) -> None:
    from actsearch_dashboard import optuna_figures  # loads slowly, and the rest is shown by now

    st.subheader("Figures", anchor=False)
    names = [_DISTRIBUTION, *optuna_figures.NAMES]
    if not view.objectives:
        names.remove("Pareto front")
    # not tabs: the page would lose its height until another one is drawn, and jump below the pointer
    name = st.segmented_control(
        "Figure",
        names,
        default=_DISTRIBUTION,
        required=True,
        key="figure",
        bind="query-params",
        label_visibility="collapsed",
    )
    if name == _DISTRIBUTION or name not in names:
        _distribution(view, objective)
    else:
        _optuna(view, objective, name)


def _distribution(view: StudyView, objective: int) -> None:
    """Of all trials: a sample with the best of them would show a study with better chances."""
    frame, direction, metric = _select_objective(view, objective)
    values = frame["value"][frame["state"] == TrialState.COMPLETE.value]
    values = values[np.isfinite(values)]
    if values.empty:
        st.info("No trial is complete yet.", icon=":material/info:")
        return
    log = log_axis(values, "distribution")
    drawn = {"complete trials": values.to_numpy()}
    show_figure(figures.distribution(drawn, direction, metric, log), f"distribution {objective}")


def _optuna(view: StudyView, objective: int, name: str) -> None:
    from actsearch_dashboard import optuna_figures

    only = narrow(view, objective) if name == optuna_figures.PARALLEL else None
    try:
        show_figure(view.optuna_figure(name, objective, only), f"optuna {name} {objective}")
    except optuna_figures.FigureError as error:
        st.info(markdown(error), icon=":material/info:")
    trained = int(view.frame()["state"].isin(TRAINED).sum()) if only is None else len(only)
    most = optuna_figures.MOST_CURVES if name in optuna_figures.NEED_EPOCHS else MOST_SAMPLED
    if trained > most:
        which = "evenly spread over the study."
        if name not in optuna_figures.NEED_EVEN:
            which = "the best, and others evenly spread: good ones are more frequent here than in the study."
        st.caption(f"Optuna's figure, of {most:,} of {trained:,} trained trials: {which}")
    else:
        st.caption("Optuna's figure.")
