"""What the page of one candidate says of its activation, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.expression import Expression, parse
from actsearch.records import ActivationRecord, Diagnostics, SiteDiagnostics, TrialRecord
from actsearch.report import diagnostics_of, pooled_histogram
from actsearch_dashboard import figures
from actsearch_dashboard.choosing import trial_link
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import show_figure
from actsearch_dashboard.text import cut, markdown, moment, number, one_line

__all__ = [
    "NUMBERS",
    "WHY_NOTHING",
    "checked",
    "facts_of",
    "latex_of",
    "numbers_of",
    "plainly",
    "show_activation",
    "show_facts",
    "show_origin",
]

WHY_NOTHING = (
    "it was not trained yet, the objective is a function of your own, or the task has diagnostics=False. "
    "A Task looks at every replaced site before and after training."
)

_LATEX_NODES = 80  # larger formulas are no easier to read as LaTeX
_LATEX_LARGE = 8  # nodes; longer ones are set smaller, or they would leave their column
_NOTHING = 1e-9
_HALF = 200  # characters of a line of an error
_POOLED = "all sites"
_SHARE = st.column_config.NumberColumn(format="percent")

NUMBERS: Mapping[str, Any] = {
    "dead": _SHARE,
    "zeros": _SHARE,
    "saturation": _SHARE,
    "mean": st.column_config.NumberColumn(format="%.3g"),
    "sd": st.column_config.NumberColumn(format="%.3g"),
    "gain": st.column_config.NumberColumn(format="%.3g"),
    "gradient norm": st.column_config.NumberColumn(format="%.2e"),
}


def plainly(error: object) -> str:
    """An error's lines, the middle of long ones left out: they may hold what somebody pasted."""
    return "\n".join(
        line if len(line) <= 2 * _HALF else f"{line[:_HALF]} … {line[-_HALF:]}"
        for line in str(error).splitlines()
    )


class Facts(NamedTuple):
    """What can be computed from a function alone; None where it cannot."""

    mean: float | None
    second: float | None
    gain: float | None
    size: int | None
    depth: int | None
    learned: int | None


def checked(item: ActivationRecord) -> ActivationRecord:
    """The same activation, every word of it made anew: what is stored goes into code that people paste.

    Raises:
        ActsearchError: it cannot be read; ValueError and TypeError likewise, of what somebody tampered with.
    """
    from actsearch.activation import describe

    if item.name is not None:
        return describe(str(item.name), **dict(item.hyperparameters))
    return describe(parse(item.formula))


@st.cache_data(max_entries=512, show_spinner=False)
def _facts(formula: str, name: str | None, settings: Mapping[str, Any]) -> Facts:
    from actsearch.activation import moments

    record = ActivationRecord(formula, name, settings)
    mean = second = gain = None
    try:
        mean, second = moments(record)
        gain = second**-0.5 if 0 < second < float("inf") else None
    except (ActsearchError, RuntimeError):
        pass  # not a function of one number
    tree = tree_of(record)
    if tree is None:
        return Facts(mean, second, gain, None, None, None)
    return Facts(mean, second, gain, tree.size, tree.depth, len(tree.parameters))


def facts_of(record: ActivationRecord) -> Facts:
    """Moments, gain and size, each computed once."""
    return _facts(record.formula, record.name, dict(record.hyperparameters))


def tree_of(record: ActivationRecord) -> Expression | None:
    """The formula as a tree; None where there is none in one variable."""
    try:
        return parse(record.formula)
    except ActsearchError:
        return None


def latex_of(record: ActivationRecord) -> None:
    """The formula as mathematics, unless it is too long for that."""
    tree = tree_of(record)
    if tree is None:
        st.caption(
            "It has no formula in one variable: an output depends on more than its own input."
        )
    elif tree.size <= _LATEX_NODES:
        size = r"\small" if tree.size <= _LATEX_LARGE else r"\footnotesize"
        st.latex(f"{size} f(x) = {tree.latex()}")
    else:
        st.caption(f"{tree.size} nodes: too long to be read as LaTeX.")


def _rounded(value: float | None) -> float | None:
    """Zero where only the rounding of an integral is left."""
    return 0.0 if value is not None and abs(value) < _NOTHING else value


def show_facts(record: ActivationRecord) -> None:
    """Moments, gain and size as a small table."""
    facts = facts_of(record)
    cells = (
        ("E[f(z)]", number(_rounded(facts.mean))),
        ("E[f(z)²]", number(facts.second)),
        ("gain", number(facts.gain)),
        ("size", "–" if facts.size is None else str(facts.size)),
        ("learned", "–" if facts.learned is None else str(facts.learned)),
    )
    with st.container(horizontal=True):  # unlike columns, it wraps where there is little room
        for name, text in cells:
            st.markdown(f":small[:gray[{name}]]  \n**{text}**", width="content")
    st.caption(
        "For z ~ N(0, 1), learned parameters at their start. The gain 1 / √E[f(z)²] is √2 for ReLU; "
        "size counts the nodes of the formula."
    )


def show_origin(view: StudyView, trial: TrialRecord) -> None:
    """How it was made, with links to its parents."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        how = cut(trial.candidate.operation, 40) or "hand"
        st.markdown(f":gray[made by] {markdown(how)}", width="content")
        if trial.candidate.parents:
            st.markdown(":gray[from]", width="content")
        for parent in trial.candidate.parents[:8]:
            trial_link(view, parent, f"trial {parent}", f"parent {parent}")
        if trial.duplicate_of is not None:
            st.markdown(":gray[· the same function as]", width="content")
            trial_link(view, trial.duplicate_of, f"trial {trial.duplicate_of}", "original")
        ended = f"ended {moment(trial.completed)}" if trial.completed else "not ended"
        st.markdown(f":gray[· {markdown(ended)}]", width="content")


def show_activation(
    view: StudyView, trial: TrialRecord, group: str, item: ActivationRecord
) -> None:
    """Formula and function of one activation, on what arrived at its sites; what cannot be shown says why."""
    try:
        record = checked(item)
    except (ActsearchError, ValueError, TypeError) as error:
        st.warning(
            "This cannot be read as an activation, and so not drawn:", icon=":material/error:"
        )
        st.code(one_line(item.formula), language=None, wrap_lines=True)
        st.code(plainly(error), language=None, wrap_lines=True)
        return
    left, right = st.columns([3, 2], gap="large")
    with right:
        st.markdown("**Formula**")
        with st.container(border=True):
            latex_of(record)
        st.code(record.formula, language=None, wrap_lines=True)
        if record.name is not None:
            st.caption(f"catalog row {markdown(record.label)}")
        show_facts(record)
    seen = diagnostics_of(trial)
    mine = seen if trial.candidate.single is not None else _mine(view, group, seen)
    with left:
        _function(record, mine, f"{trial.number} {group}")
    if mine is not None and any(site.learned for site in mine.start):
        _learned(mine, f"{trial.number} {group}")


def _mine(view: StudyView, group: str, seen: Diagnostics | None) -> Diagnostics | None:
    """What was seen at the sites of one group."""
    if seen is None:
        return None
    attrs = view.record.user_attrs.get("site_groups")
    places = attrs.get("sites", {}).get(group) if isinstance(attrs, Mapping) else None
    wanted = {str(place) for place in places} if isinstance(places, list) else {group}
    start, end = (
        tuple(site for site in look if site.site in wanted) for look in (seen.start, seen.end)
    )
    return Diagnostics(start, end) if start else None


def _function(record: ActivationRecord, seen: Diagnostics | None, key: str) -> None:
    st.markdown("**Function and derivative**")
    met: Sequence[float] = ()
    learned = None
    words = "Learned parameters at their start. " if facts_of(record).learned else ""
    if seen is not None and seen.start:
        sites, stage = _look(seen, key)
        met = pooled_histogram(sites)
        words = f"Behind it: what arrived there {stage}; the outer bars hold all beyond. "
        if any(site.learned for site in sites):
            learned = _together(sites)
            words += "Learned parameters at their mean over these sites and their channels."
    try:
        show_figure(figures.function(record, met=met, learned=learned), f"function {key}")
    except (ActsearchError, RuntimeError) as error:
        st.info(markdown(error), icon=":material/info:")
        return
    st.caption(words)


def _look(seen: Diagnostics, key: str) -> tuple[list[SiteDiagnostics], str]:
    """The sites and the stage that the reader chose."""
    names = list(dict.fromkeys(site.site for site in seen.start))
    left, right = st.columns([2, 1])
    options = ["after training", "before training"] if seen.end else ["before training"]
    stage = left.segmented_control(
        "Inputs and parameters",
        options,
        default=options[0],
        required=True,
        key=f"stage {key}",
        label_visibility="collapsed",
    )
    place = right.selectbox(
        "Site",
        [None, *names],
        format_func=lambda name: _POOLED if name is None else cut(name, 40),
        key=f"site {key}",
        label_visibility="collapsed",
    )
    chosen = seen.end if stage == "after training" else seen.start
    return [site for site in chosen if place in (None, site.site)], str(stage)


def _together(sites: Sequence[SiteDiagnostics]) -> dict[str, list[float]]:
    return {
        name: [value for site in sites for value in site.learned.get(name, ())]
        for name in figures.parameters_of(sites)
    }


def _learned(seen: Diagnostics, key: str) -> None:
    st.subheader("Learned parameters", anchor=False)
    names = figures.parameters_of(seen.start)
    chosen = names[:4]
    if len(names) > 4:
        chosen = st.multiselect(
            "Parameters", names, default=chosen, max_selections=4, key=f"learned {key}"
        )
    show_figure(figures.learned_numbers(seen.start, seen.end, chosen), f"learned {key} figure")
    channels = max((len(v) for site in seen.start for v in site.learned.values()), default=1)
    dots = "a dot a channel; of more than 256, so many quantiles" if channels > 1 else "one a site"
    st.caption(f"Numbered in the order in which they stand in the formula; {dots}.")


def numbers_of(seen: Diagnostics) -> pd.DataFrame:
    """What was seen, a row a site and stage."""
    return pd.DataFrame(
        [
            {
                "site": one_line(site.site),
                "stage": stage,
                "shape": " × ".join(map(str, site.shape)),
                "dead": site.dead,
                "zeros": site.zeros,
                "saturation": site.saturation,
                "gain": site.gain,
                "gradient norm": site.gradient_norm,
                "mean": site.mean,
                "sd": site.sd,
            }
            for stage, look in (("before", seen.start), ("after", seen.end))
            for site in look
        ]
    )
