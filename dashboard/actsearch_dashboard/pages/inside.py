"""Inside the network: what several candidates do to signals and gradients, site by site."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from actsearch.records import TrialRecord
from actsearch.report import first_diagnostics, leaders
from actsearch_dashboard import figures
from actsearch_dashboard.activation_panel import NO_DIAGNOSTICS, show_numbers, show_remarks
from actsearch_dashboard.components import show_figure, study_page
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.figures.inside import all_sites
from actsearch_dashboard.palette import GREY, SERIES
from actsearch_dashboard.text import candidate_label, markdown, short_labels, shorten
from actsearch_dashboard.trial_picker import (
    parse_number,
    read_details,
    trial_labels,
    trial_link,
)

__all__ = ["render"]

TITLE, ICON = "Inside the network", "layers"

_TRIALS = "candidates"  # in the address
_BOX = "inside_box"
_MOST = 4  # candidates: with more, the cards and columns beside each other are too narrow
_NAMED = 34  # characters of a formula in a legend

_DIAGNOSED = """\
task = acs.Task(model=..., train=..., valid=..., loss=..., metric=...)  # diagnostics=True is the default
study.optimize(task, n_trials=100)
"""


@study_page
def render(view: StudyView) -> None:
    """The page."""
    numbers = _choose(view)
    if not numbers:
        st.info("Choose one to four candidates above.", icon=":material/info:")
        return
    trials = [trial for number in numbers if (trial := read_details(view, number)) is not None]
    shown = _label_diagnostics(trials)
    if not shown:
        st.info(
            f"Nothing was recorded inside the network: {NO_DIAGNOSTICS}", icon=":material/info:"
        )
        st.code(_DIAGNOSED, language="python")
        return
    _remarks(view, trials)
    _figures(shown)


def _suggest_trials(view: StudyView) -> list[int]:
    """The best candidate, what it is measured against (the model unchanged, or ReLU), and the worst complete one."""
    frame = view.frame()
    complete = leaders(frame, view.record.direction, len(frame))
    if not len(complete):
        trained = frame[frame["state"].isin(("PRUNED", "FAILED"))]
        return [int(number) for number in trained["number"][:1]]
    numbers = [int(complete["number"].iloc[0])]
    for known in (complete["formula"] == "", complete["name"] == "relu", complete["label"] == "relu(x)"):  # fmt: skip
        if known.any():
            numbers.append(int(complete["number"][known].iloc[0]))
            break
    numbers.append(int(complete["number"].iloc[-1]))
    return list(dict.fromkeys(numbers))


def _choose(view: StudyView) -> list[int]:
    """Those in the address, or the suggested ones; a box to choose others."""
    numbers = set(view.frame()["number"])
    asked = st.query_params.get(_TRIALS)
    start = _suggest_trials(view)
    if asked is not None:
        wanted = [parse_number(part) for part in asked.split(",")[: 2 * _MOST] if part]
        start = list(dict.fromkeys(n for n in wanted if n is not None and n in numbers))[:_MOST]
        missing = [part for part in asked.split(",") if parse_number(part) not in numbers]
        if any(missing):
            st.warning(
                f"There is no trial {markdown(shorten(', '.join(missing), 40))} in this study.",
                icon=":material/search_off:",
            )
    labels = trial_labels(view, start)
    st.session_state[_BOX] = start
    st.multiselect(
        "Candidates",
        list(labels),
        format_func=lambda n: f"{n}: {shorten(labels.get(n, ''), 50)}",
        key=_BOX,
        max_selections=_MOST,
        placeholder="choose up to four",
        on_change=_apply_choice,
    )
    return start


def _apply_choice() -> None:
    st.query_params[_TRIALS] = ",".join(map(str, st.session_state.get(_BOX, [])))


def _label_diagnostics(trials: Sequence[TrialRecord]) -> list[figures.LabelledDiagnostics]:
    """Each candidate in its colour: what the others are measured against is grey on every page."""
    labelled = []
    colours = iter(SERIES)
    labels = short_labels([candidate_label(trial.candidate.label) for trial in trials])
    for trial, label in zip(trials, labels, strict=True):
        plain = trial.candidate.is_baseline or trial.candidate.label in ("relu", "relu(x)")
        colour = GREY if plain and len(trials) > 1 else next(colours)
        diagnostics = first_diagnostics(trial)
        if diagnostics is not None:
            name = f"{trial.number}: {shorten(label, _NAMED)}"
            labelled.append(figures.LabelledDiagnostics(name, colour, diagnostics))
    return labelled


def _remarks(view: StudyView, trials: Sequence[TrialRecord]) -> None:
    """One card a candidate: what is remarkable in it."""
    for column, trial in zip(st.columns(len(trials)), trials, strict=True):
        with column.container(border=True, height="stretch"):
            label = candidate_label(trial.candidate.label, 60)
            trial_link(
                view, trial.number, f"trial {trial.number}: {markdown(label)}", f"link {trial.number}"
            )  # fmt: skip
            diagnostics = first_diagnostics(trial)
            if diagnostics is None:
                st.caption("Nothing was recorded inside the network: " + NO_DIAGNOSTICS)
                continue
            show_remarks(diagnostics)


def _figures(shown: Sequence[figures.LabelledDiagnostics]) -> None:
    st.subheader("By depth", anchor=False)
    show_figure(figures.by_depth(shown), "by depth")
    st.caption(
        "Sites from the first to the last, on one fixed training batch: dotted before training, solid after it, "
        "under the first seed of each."
    )
    st.subheader("One measure, side by side", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        name = st.segmented_control(
            "Measure",
            list(figures.MEASURES),
            default="gradient_norm",
            required=True,
            format_func=lambda key: figures.MEASURES[key].title,
            label_visibility="collapsed",
            key="measure",
            bind="query-params",
        )
        after = st.toggle("after training", value=True, key="after", bind="query-params")
    measure = figures.MEASURES[str(name)]
    show_figure(figures.heat_strip(shown, str(name), "end" if after else "start"), "strip")
    st.caption(f"{measure.title}: {measure.help}." + (" Colours are logarithmic." * measure.log))
    st.subheader("What arrived at each site", anchor=False)
    show_figure(figures.ridges(shown), "ridges")
    st.caption(
        "Pre-activations from the first site (top) to the last: dotted grey before training, in colour after it; "
        "the outermost parts include everything beyond −5 and 5."
    )
    if len(all_sites(shown)) < 2:
        st.caption("There is one site only, so that nothing can change with depth.")
    with st.expander("The numbers", icon=":material/table:"):
        for item in shown:
            st.markdown(f"**{markdown(item.name)}**")
            show_numbers(item.diagnostics, item.name)
