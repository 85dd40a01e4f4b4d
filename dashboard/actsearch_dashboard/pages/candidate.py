"""One candidate: its formula, the function it is, how it trained, and code to take away."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.records import SHARED, ActivationRecord, TrialRecord
from actsearch.report import leaderboard, mirrors, same_values
from actsearch_dashboard import figures
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import heading, show_figure
from actsearch_dashboard.state import (
    asked_trial,
    calm,
    current_study,
    live,
    remember_trial,
)
from actsearch_dashboard.text import cut, markdown, moment, number, one_line, seconds

__all__ = ["render"]

_BOX = "trial_box"
_LATEX_NODES = 80  # larger formulas are no easier to read as LaTeX


@calm
def render() -> None:
    """The candidate page."""
    view = current_study()
    if view is None:
        return
    heading(view)
    trials = view.trials()
    if not trials:
        st.info("No trial yet. Call study.optimize to start:", icon=":material/info:")
        st.code("study.optimize(task, n_trials=100)", language="python")
        return
    chosen = _choose(view, trials)
    if chosen is not None:
        remember_trial(chosen)
        live(view, functools.partial(_candidate, view, chosen))


def _choose(view: StudyView, trials: Sequence[TrialRecord]) -> int | None:
    """The trial in the address, or the best; a box to choose another."""
    labels = {trial.number: cut(trial.candidate.label or "your model", 80) for trial in trials}
    asked = asked_trial()
    if asked is None:
        ranked = leaderboard(trials, view.record.direction)
        start: int | None = (ranked or trials)[0].number
    else:
        start = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 12 else None
        if start not in labels:
            st.warning(
                f"There is no trial {markdown(cut(asked, 20))} in this study: choose one below.",
                icon=":material/search_off:",
            )
            start = None
    st.session_state[_BOX] = start
    return st.selectbox(
        "Trial",
        list(labels),
        format_func=lambda n: f"{n}: {labels.get(n, '')}",
        index=None,
        key=_BOX,
        placeholder="choose a trial",
        on_change=_take_box,
    )


def _take_box() -> None:
    if st.session_state.get(_BOX) is not None:
        remember_trial(int(st.session_state[_BOX]))


def _candidate(view: StudyView, chosen: int) -> None:
    trial = view.trial(chosen)
    if trial is None:
        st.info("This trial is gone: reload the page.", icon=":material/info:")
        return
    _facts(view, trial)
    if trial.candidate.is_baseline:
        st.info("Your model unchanged: nothing was replaced.", icon=":material/info:")
    for group, item in trial.candidate.activations.items():
        if group != SHARED:
            st.subheader(f"At {markdown(cut(group))}", anchor=False)
        _activation(view, trial, group, item)
    _training(view, trial)


def _facts(view: StudyView, trial: TrialRecord) -> None:
    state, value, spread, time = st.columns(4)
    state.metric("State", trial.state.value.lower(), border=True)
    value.metric(
        f"{markdown(cut(view.metric, 20))} (validation)", number(trial.value), border=True
    )
    spread.metric(
        "Spread",
        number(trial.spread),
        help="Standard deviation over the seeds; with one seed, over its last epochs.",
        border=True,
    )
    time.metric("Time", seconds(trial.seconds), border=True)
    words = [f"made by {one_line(trial.candidate.operation) or 'hand'}"]
    if trial.candidate.parents:
        parents = ", ".join(map(str, trial.candidate.parents))
        words.append(f"from trial{'s' * (len(trial.candidate.parents) > 1)} {parents}")
    if trial.duplicate_of is not None:
        words.append(f"same function as trial {trial.duplicate_of}")
    for what, others in (
        ("same values as", same_values(view.trials())),
        ("mirror image of", mirrors(view.trials())),
    ):
        if trial.number in others and trial.duplicate_of is None:
            words.append(f"{what} trial {others[trial.number]}")
    words.append(f"ended {moment(trial.completed)}" if trial.completed else "not ended")
    st.caption(" · ".join(markdown(word) for word in words))
    for note in filter(None, (trial.reason, *trial.warnings)):
        st.text(one_line(note))
    for row in (row for _, v in view.verdicts()[-1:] for row in v.rows):
        if row.number == trial.number:
            st.info(
                f"Verdict: **{markdown(row.verdict)}**, difference {row.difference:+.4f} "
                f"({row.low:+.4f} to {row.high:+.4f}) on fresh seeds.",
                icon=":material/balance:",
            )


def _activation(view: StudyView, trial: TrialRecord, group: str, item: ActivationRecord) -> None:
    """Formula, function and code of one activation; what cannot be shown says why."""
    st.code(item.formula, language=None, wrap_lines=True)
    try:
        clean = _checked(item)
    except (ActsearchError, ValueError, TypeError) as error:
        st.warning(
            "This cannot be read as an activation, and so not drawn:", icon=":material/error:"
        )
        st.code(str(error), language=None)
        return
    _latex(clean)
    left, right = st.columns(2)
    with left:
        st.markdown("**Function and derivative**", help="Learned parameters at their start.")
        try:
            show_figure(figures.function(clean), f"function {group}")
        except ActsearchError as error:
            st.info(markdown(error), icon=":material/info:")
    with right:
        st.markdown("**Python, for any PyTorch model**")
        try:
            st.code(_python(clean, _origin(view, trial)), language="python", height=380)
        except ActsearchError as error:
            st.info(markdown(error), icon=":material/info:")


def _latex(item: ActivationRecord) -> None:
    try:
        tree = parse(item.formula)
    except ActsearchError:
        st.caption(
            "It has no formula in one variable: an output depends on more than its own input."
        )
        return
    if tree.size <= _LATEX_NODES:
        with st.container(border=True):
            st.latex("f(x) = " + tree.latex())


def _checked(item: ActivationRecord) -> ActivationRecord:
    """The same activation, every word of it made anew: what is stored goes into code that people paste."""
    from actsearch.activation import describe

    if item.name is not None:
        return describe(str(item.name), **dict(item.hyperparameters))
    return describe(parse(item.formula))


def _origin(view: StudyView, trial: TrialRecord) -> str:
    """Where the candidate comes from: study, trial and the newest verdict about it."""
    from actsearch.export import origin

    for _, verdict in reversed(view.verdicts()):
        if (row := verdict.row(trial.number)) is not None:
            return origin(view.record.name, trial, verdict, row)
    return origin(view.record.name, trial, None, None)


def _python(item: ActivationRecord, note: str) -> str:
    from actsearch.export import to_python

    return to_python(item, note=one_line(note))


def _training(view: StudyView, trial: TrialRecord) -> None:
    st.subheader("Training", anchor=False)
    if not any(evaluation.epochs for evaluation in trial.evaluations):
        duplicate = trial.duplicate_of is not None
        said = f"see trial {trial.duplicate_of}" if duplicate else "it was not trained, or not yet"
        st.caption(f"No curves: {said}.")
        return
    left, right = st.columns(2)
    with left:
        show_figure(figures.epoch_curves(trial.evaluations, "loss", "loss"), "loss")
    with right:
        show_figure(figures.epoch_curves(trial.evaluations, "metric", view.metric), "metric")
    st.caption("One line a seed; training dashed, validation solid.")
