"""Two to six candidates of a study, or two to six studies, side by side; the address keeps which."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np
import pandas as pd
import streamlit as st

from actsearch.errors import StudyError
from actsearch.records import BASELINE, CATALOG_ROW, CandidateRecord, Curve, TrialRecord
from actsearch.report import Verdict, leaders
from actsearch_dashboard import figures
from actsearch_dashboard.components import (
    COLUMNS,
    FITTED,
    FITTED_SIGNED,
    fit_formats,
    log_axis,
    show_figure,
    study_page,
    trial_table,
)
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.functions import large_curves, pictures
from actsearch_dashboard.state import live, show_errors, store
from actsearch_dashboard.text import (
    candidate_label,
    markdown,
    moment,
    number,
    one_line,
    say_origin,
    short_label,
    short_labels,
    shorten,
)

__all__ = ["parse_names", "render", "format_names"]

TITLE, ICON = "Compare", "compare_arrows"

_TRIALS, _STUDIES = "compare", "studies"  # in the address
_FEWEST, _MOST = 2, 6  # as many as there are colours
_CHOICE = 300  # best trials to choose from: all of them travel to the browser
_FAR = 1e3  # times larger than others: no difference of strategies makes that
_VERDICTS = {
    "difference": st.column_config.NumberColumn(format=FITTED_SIGNED),
    "its mean": st.column_config.NumberColumn(format=FITTED),
}
_BEST = 5  # formulas of each study


@show_errors
def render() -> None:
    """The comparison page."""
    if _TRIALS not in st.query_params and _STUDIES in st.query_params:
        start = "Studies"
    else:
        start = "Candidates"
    what = st.segmented_control(
        "Compare",
        ["Candidates", "Studies"],
        default=start,
        key="what",
        label_visibility="collapsed",
    )
    if what == "Studies":
        _studies()
    else:
        _candidates()


def format_names(names: Sequence[str]) -> str:
    """Names as one text for the address."""
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in names)


def parse_names(text: str) -> list[str]:
    """What :func:`format_names` wrote, each name once."""
    return list(dict.fromkeys(unquote(part) for part in text.split(",") if part))


def _read_address(key: str, known: Sequence[str], what: str) -> list[str]:
    """What the address asks for, as far as it is there; says what is not."""
    asked = parse_names(st.query_params.get(key, ""))
    chosen = [name for name in asked if name in set(known)]
    if missing := [name for name in asked if name not in chosen]:
        names = ", ".join(markdown(shorten(name, 30)) for name in missing[:_MOST])
        st.warning(f"There is no {what} {names} here.", icon=":material/search_off:")
    if len(chosen) > _MOST:
        st.warning(f"The first {_MOST} are compared.", icon=":material/filter_alt:")
    return chosen[:_MOST]


def _keep(key: str, chosen: Sequence[str]) -> None:
    """Put what is compared into the address, and take what is not out of it."""
    st.query_params.pop(_STUDIES if key == _TRIALS else _TRIALS, None)
    text = format_names(chosen)
    if text and st.query_params.get(key) != text:
        st.query_params[key] = text
    elif not text:
        st.query_params.pop(key, None)


# Candidates


@study_page
def _candidates(view: StudyView) -> None:
    frame = view.frame()
    labels = dict(zip(frame["number"].map(str), frame["label"], strict=True))
    best = [str(number) for number in view.ranked()["number"][:_CHOICE]]
    asked = _read_address(_TRIALS, list(labels), "trial")
    own = frame["number"][frame["formula"] == ""].map(str).tolist()[:1]  # what is to be beaten
    start = asked if _TRIALS in st.query_params else list(dict.fromkeys([*best[:3], *own]))
    chosen = st.multiselect(
        "Candidates",
        list(dict.fromkeys([*start, *best])),
        default=start,
        max_selections=_MOST,
        format_func=lambda n: f"{n}: {candidate_label(labels.get(n), 60)}",
        key=f"candidates of {view.record.id}",
        help="The others are compared with the first. Trials that are not listed: ?compare=3,17 in the address.",
    )
    _keep(_TRIALS, chosen)
    if len(chosen) < _FEWEST:
        st.info("Choose two to six candidates above.", icon=":material/compare_arrows:")
        return
    live(view, functools.partial(_side_by_side, view, [int(number) for number in chosen]))


def _side_by_side(view: StudyView, numbers: list[int]) -> None:
    read = view.store.reader.trials(view.record, numbers, epochs=True)
    by_number = {trial.number: trial for trial in read}
    trials = [by_number[number] for number in numbers if number in by_number]
    labels = short_labels([candidate_label(trial.candidate.label) for trial in trials])
    names = {
        trial.number: f"#{trial.number} {label}"
        for trial, label in zip(trials, labels, strict=True)
    }
    _table(view, trials)
    left, right = st.columns(2)
    with left:
        st.subheader("Functions", anchor=False)
        drawn = {names[trial.number]: _functions(view, trial) for trial in trials}
        if any(drawn.values()):
            show_figure(figures.functions(drawn), "functions")
        else:
            st.caption("None of these can be drawn as a function of one number.")
    with right:
        st.subheader("Training", anchor=False)
        trained = {names[trial.number]: trial.evaluations for trial in trials}
        figure = figures.median_curves(trained, view.metric, view.unit)
        if figure.data:
            show_figure(figure, "curves")
            st.caption("Median over the seeds; the band reaches from the worst to the best seed.")
        else:
            st.caption("No curves: none of these was trained, or nothing was recorded by epoch.")
    _differences(view, trials)


def _functions(view: StudyView, trial: TrialRecord) -> dict[str, Curve]:
    """A candidate's functions by group of sites; those that cannot be drawn are left out."""
    items = trial.candidate.activations
    curves = large_curves(view, list(items.values()))
    return {group: curve for group, curve in zip(items, curves, strict=True) if curve is not None}


def _table(view: StudyView, trials: Sequence[TrialRecord]) -> None:
    table = pd.DataFrame(
        {
            "function": pictures(view, [trial.candidate for trial in trials]),
            "trial": [trial.number for trial in trials],
            "activation": [candidate_label(t.candidate.label) for t in trials],
            "state": [trial.state.value.lower() for trial in trials],
            "value": pd.array([trial.value for trial in trials], "Float64"),
            "spread": pd.array([trial.spread for trial in trials], "Float64"),
            "made by": [_made_by(trial.candidate) for trial in trials],
        }
    )
    trial_table(table, [trial.number for trial in trials], "compared", COLUMNS, row_height=56)


def _made_by(candidate: CandidateRecord) -> str:
    """In studies of before, rows of the catalog were said to be made like the model unchanged."""
    is_row = candidate.operation == BASELINE and not candidate.is_baseline
    return say_origin(CATALOG_ROW if is_row else candidate.operation)


def _differences(view: StudyView, trials: Sequence[TrialRecord]) -> None:
    st.subheader("Paired differences", anchor=False)
    numbers = [trial.number for trial in trials]
    labels = {trial.number: candidate_label(trial.candidate.label) for trial in trials}
    direction = view.record.direction
    for when, verdict in view.ordered_verdicts():
        scores = figures.verdict_scores(verdict, numbers)
        if scores is None:
            continue
        differences = figures.paired_differences(
            scores, labels, verdict.metric, direction, verdict.comparisons, verdict.looks
        )
        where = "validation data" if verdict.validation_only else "test data"
        words = f"Confirmed together on {moment(when)}: fresh seeds, {where}."
        _show_differences(differences, words, f"{len(next(iter(scores.values())))} seeds")
        return
    scores = figures.common_scores({trial.number: trial.evaluations for trial in trials})
    differences = figures.paired_differences(scores, labels, view.metric, direction)
    _show_differences(
        differences,
        "**Search, optimistic:** validation data and the search's own seeds. These were not confirmed together: "
        "study.confirm(task) does that.",
        f"{len(next(iter(scores.values())))} common seeds",
    )


def _show_differences(differences: Verdict | None, words: str, count: str) -> None:
    if differences is None:
        st.caption(
            f"{words} There are {count} with values: an interval needs two. Task(seeds=3) trains each trial "
            "under three."
        )
        return
    st.caption(f"{words} {count}; intervals hold for all of these comparisons together.")
    show_figure(figures.verdict_intervals(differences), "paired differences")


# Studies


def _studies() -> None:
    st.header("Studies side by side", anchor=False)
    opened = store()
    names = [study.name for study in opened.studies()]
    if len(names) < _FEWEST:
        st.info("This storage holds fewer than two studies.", icon=":material/info:")
        return
    asked = _read_address(_STUDIES, names, "study")
    start = asked if _STUDIES in st.query_params else names[:-4:-1]
    chosen = st.multiselect(
        "Studies",
        names[::-1],
        default=start,
        max_selections=_MOST,
        format_func=shorten,
        key="chosen studies",
    )
    _keep(_STUDIES, chosen)
    if len(chosen) < _FEWEST:
        st.info("Choose two to six studies above.", icon=":material/compare_arrows:")
        return
    views = _views(chosen)
    if are_comparable(views):
        _study_figures(views)
    _verdicts(views)
    _best_of_each(views)


def _views(names: Sequence[str]) -> list[StudyView]:
    opened = store()
    views = []
    for name in names:
        try:
            views.append(opened.view(name))
        except StudyError:
            st.warning(f"Study {markdown(shorten(name))} is gone.", icon=":material/search_off:")
    return views


def are_comparable(views: Sequence[StudyView]) -> bool:
    """Whether values of the studies are of one kind; if not, says so."""
    kinds = {(view.metric, view.record.direction) for view in views if view.record.direction}
    if len(kinds) > 1:
        words = "; ".join(sorted(f"{direction} {metric}" for metric, direction in kinds))
        st.warning(
            f"These studies measure different things ({markdown(words)}), so that their values cannot be compared: "
            "choose studies with one metric.",
            icon=":material/rule:",
        )
        return False
    usual = {view.record.name: _usual_size(view) for view in views}
    sizes = [size for size in usual.values() if size]
    if sizes and max(sizes) > _FAR * min(sizes):
        apart = round(math.log10(max(sizes) / min(sizes)))
        words = "; ".join(f"{name}: about {number(size)}" for name, size in usual.items() if size)
        st.warning(
            f"The values of these studies are {apart} orders of magnitude apart ({markdown(words)}): probably they "
            "measure different things under one name.",
            icon=":material/rule:",
        )
    tasks = {str((view.record.task or {}).get("name") or "") for view in views}
    if len(tasks) > 1:
        st.caption(
            "Their tasks have different names: whether their values are comparable is for you to judge."
        )
    return True


def _usual_size(view: StudyView) -> float:
    """Size of a study's median value, 0 without any."""
    values = view.ranked()["value"].abs()
    return float(values.median()) if len(values) else 0.0


def _study_figures(views: Sequence[StudyView]) -> None:
    direction = next((view.record.direction for view in views if view.record.direction), None)
    metric = views[0].metric
    frames = {view.record.name: view.frame() for view in views}
    complete = {
        name: leaders(frame, direction, len(frame))["value"].to_numpy()
        for name, frame in frames.items()
    }
    if not any(len(values) for values in complete.values()):
        st.info("No trial of these studies is complete yet.", icon=":material/info:")
        return
    steps = {name: figures.best_so_far_steps(frame, direction) for name, frame in frames.items()}
    log = log_axis(np.concatenate(list(complete.values())), "studies")
    left, right = st.columns(2)
    with left:
        st.subheader("Best so far, by trials", anchor=False)
        show_figure(figures.best_so_far(steps, "trials", direction, metric, log), "by trials")
    with right:
        st.subheader("Best so far, by time", anchor=False)
        show_figure(figures.best_so_far(steps, "seconds", direction, metric, log), "by time")
    st.subheader("Distribution of values", anchor=False)
    show_figure(figures.distribution(complete, direction, metric, log), "distribution")


def _verdicts(views: Sequence[StudyView]) -> None:
    """What each study's verdict says, one below the other."""
    found = [(view, headline[1]) for view in views if (headline := view.headline()) is not None]
    if not found:
        return
    st.subheader("Verdicts", anchor=False)
    table = pd.DataFrame(
        [
            {
                "study": one_line(view.record.name),
                "use": short_label(one_line(verdict.winner.label)),
                "difference": None
                if verdict.winner is verdict.baseline
                else verdict.winner.difference,
                "of": one_line(verdict.metric),
                "compared with": one_line(verdict.baseline.label),
                "its mean": verdict.baseline.mean,
                "on": verdict.tested,
                "seeds": verdict.seeds,
            }
            for view, verdict in found
        ]
    )
    st.dataframe(table, hide_index=True, column_config=fit_formats(table, _VERDICTS))
    st.caption(
        "Differences of two studies can be compared where both were tested on the same data."
    )


def _best_of_each(views: Sequence[StudyView]) -> None:
    st.subheader("Best formulas", anchor=False)
    for start in range(0, len(views), 3):
        row = views[start : start + 3]
        for view, place in zip(row, st.columns(min(3, len(views))), strict=False):
            with place:
                _show_best(view)


def _show_best(view: StudyView) -> None:
    st.markdown(f"**{markdown(shorten(view.record.name, 40))}** · {markdown(view.strategy)}")
    rows = view.ranked().head(_BEST)
    if rows.empty:
        st.caption("No trial is complete yet.")
        return
    numbers = [int(number) for number in rows["number"]]
    trials = {trial.number: trial for trial in view.store.reader.trials(view.record, numbers)}
    nothing = CandidateRecord({})
    candidates = [trials[n].candidate if n in trials else nothing for n in numbers]
    table = pd.DataFrame(
        {
            "function": pictures(view, candidates),
            "value": rows["value"].to_numpy(),
            "activation": [candidate_label(label) for label in rows["label"]],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        row_height=56,
        column_config=fit_formats(table, COLUMNS),
        placeholder="",
        key=f"best of {view.record.id}",
    )
