"""What the page of one candidate says of its activation, and where it comes from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.expression import Expression, parse
from actsearch.records import (
    ActivationRecord,
    Diagnostics,
    SiteDiagnostics,
    TrialRecord,
    TrialState,
)
from actsearch.report import diagnostics_remarks, first_diagnostics, pooled_histogram
from actsearch.report.verdict.stored import rebuild_activation
from actsearch_dashboard import figures
from actsearch_dashboard.components import show_figure
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.functions import (
    curves,
    is_faithful,
    large_curves,
    learned_curve,
    moments,
)
from actsearch_dashboard.text import markdown, moment, number, one_line, say_origin, shorten
from actsearch_dashboard.trial_picker import trial_link

__all__ = [
    "NOT_ONE_NUMBER",
    "NO_DIAGNOSTICS",
    "group_diagnostics",
    "show_latex",
    "shorten_error",
    "show_activation",
    "show_facts",
    "show_numbers",
    "show_origin",
    "show_remarks",
]

NO_DIAGNOSTICS = (
    "it was not trained yet, the objective is a function of your own, or the task has diagnostics=False. "
    "A Task measures every replaced site before and after training."
)

NOT_ONE_NUMBER = "It is not drawn: it is not a function of one number."

_LATEX_LETTERS = 44  # wider ones would be cut off without a sign of it
_COMMAND = re.compile(
    r"\\(?:left|right|frac|operatorname|mathrm|,|;|!)?|[{}^_ ]"
)  # takes no width
_LATEX_LARGE = 8  # nodes; longer ones are set smaller, or they would leave their column
_INTEGRAL_ERROR = 1e-9  # a mean that is 0 by symmetry comes out of the quadrature as some 1e-17
_HALF = 200  # characters of a line of an error: what is wrong stands at its beginning, a hint at its end
_MOST_PARENTS = 8  # links that fit in a row
_MOST_PANELS = 4  # parameters side by side that can still be read
_ALL_SITES = "all sites"
_SHARE = st.column_config.NumberColumn(format="percent")

_NUMBERS: Mapping[str, Any] = {
    "dead": _SHARE,
    "zeros": _SHARE,
    "saturation": _SHARE,
    "mean": st.column_config.NumberColumn(format="%.3g"),
    "sd": st.column_config.NumberColumn(format="%.3g"),
    "gain": st.column_config.NumberColumn(format="%.3g"),
    "gradient norm": st.column_config.NumberColumn(format="%.2e"),
}


def shorten_error(error: object) -> str:
    """An error's lines, the middle of long ones left out: they may hold what somebody pasted."""
    return "\n".join(
        line if len(line) <= 2 * _HALF else f"{line[:_HALF]} … {line[-_HALF:]}"
        for line in str(error).splitlines()
    )


def parse_formula(record: ActivationRecord) -> Expression | None:
    """The formula as a tree; None where there is none in one variable."""
    try:
        return parse(record.formula)
    except ActsearchError:
        return None


def show_latex(record: ActivationRecord) -> None:
    """The formula as mathematics, unless it is too long for that."""
    tree = parse_formula(record)
    if tree is None:
        st.caption(
            "It has no formula in one variable: an output depends on more than its own input."
        )
    elif len(_COMMAND.sub("", tree.latex())) <= _LATEX_LETTERS:
        size = r"\small" if tree.size <= _LATEX_LARGE else r"\footnotesize"
        st.latex(f"{size} f(x) = {tree.latex()}")
    else:
        st.caption(
            f"{tree.size} nodes: its LaTeX would be wider than this column. Below is all of it."
        )


def _snap_to_zero(value: float | None) -> float | None:
    """Zero where only the error of an integral is left."""
    return 0.0 if value is not None and abs(value) < _INTEGRAL_ERROR else value


def show_facts(record: ActivationRecord) -> None:
    """Moments, gain and size as a small table."""
    mean, second = moments(record)
    gain = second**-0.5 if second is not None and 0 < second < math.inf else None
    tree = parse_formula(record)
    cells = (
        ("E[f(z)]", number(_snap_to_zero(mean))),
        ("E[f(z)²]", number(second)),
        ("gain", number(gain)),
        ("size", "–" if tree is None else str(tree.size)),
        ("learned", "–" if tree is None else str(len(tree.parameters))),
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
        how = shorten(say_origin(trial.candidate.operation), 40)
        st.markdown(f":gray[made by] {markdown(how)}", width="content")
        if trial.candidate.parents:
            st.markdown(":gray[from]", width="content")
        for parent in dict.fromkeys(trial.candidate.parents[:_MOST_PARENTS]):  # one may be both
            trial_link(view, parent, f"trial {parent}", f"parent {parent}")
        if trial.duplicate_of is not None:
            st.markdown(":gray[· the same function as]", width="content")
            trial_link(view, trial.duplicate_of, f"trial {trial.duplicate_of}", "original")
        st.markdown(f":gray[· {markdown(_say_end(trial))}]", width="content")


def _say_end(trial: TrialRecord) -> str:
    """When it ended; of one that is never trained, when it was proposed."""
    if trial.state in (TrialState.REJECTED, TrialState.DUPLICATE):
        return f"proposed {moment(trial.created)}, and not trained"
    if trial.completed:
        return f"ended {moment(trial.completed)}"
    return "in training" if trial.state is TrialState.RUNNING else "waiting to be trained"


def show_activation(
    view: StudyView, trial: TrialRecord, group: str, item: ActivationRecord
) -> Callable[[], None]:
    """Formula and function of one activation, on what arrived at its sites; what cannot be shown says why.

    Returns:
        Fills in what another process computes, which may first have to be started: to be called at last.
    """
    try:
        record = rebuild_activation(item)
    except (ActsearchError, ValueError, TypeError, OverflowError) as error:
        st.warning(
            "This cannot be read as an activation, and so not drawn:", icon=":material/error:"
        )
        st.code(one_line(item.formula), language=None, wrap_lines=True)
        st.code(shorten_error(error), language=None, wrap_lines=True)
        return lambda: None
    left, right = st.columns([3, 2], gap="large")
    with right:
        st.markdown("**Formula**")
        with st.container(border=True):
            show_latex(record)
        st.code(record.formula, language=None, wrap_lines=True)
        if record.name is not None:
            st.caption(f"from the catalog: {markdown(record.label)}")
        facts = st.container()
    diagnostics = first_diagnostics(trial)
    if trial.candidate.single is None:
        diagnostics = group_diagnostics(view, group, diagnostics)
    with left:
        draw_learned = _function(view, item, diagnostics, f"{trial.number} {group}")
    if diagnostics is not None and any(site.learned for site in diagnostics.start):
        _show_learned(diagnostics, f"{trial.number} {group}")

    def fill_in() -> None:
        try:
            with facts:
                show_facts(record)
            draw_learned()
        except ActsearchError as error:
            st.info(markdown(error), icon=":material/info:")

    return fill_in


def group_diagnostics(
    view: StudyView, group: str, diagnostics: Diagnostics | None
) -> Diagnostics | None:
    """What was recorded at the sites of one group."""
    if diagnostics is None:
        return None
    attrs = view.record.user_attrs.get("site_groups")
    places = attrs.get("sites", {}).get(group) if isinstance(attrs, Mapping) else None
    wanted = {str(place) for place in places} if isinstance(places, list) else {group}
    start, end = (
        tuple(site for site in sites if site.site in wanted)
        for sites in (diagnostics.start, diagnostics.end)
    )
    return Diagnostics(start, end) if start else None


def _function(
    view: StudyView, item: ActivationRecord, diagnostics: Diagnostics | None, key: str
) -> Callable[[], None]:
    """The figure; where learned parameters count, which another process has to compute, returns what draws it."""
    st.markdown("**Function and derivative**")
    inputs: Sequence[float] = ()
    learned: dict[str, list[float]] = {}
    tree = parse_formula(item)
    words = "Learned parameters at their start. " if tree is not None and tree.parameters else ""
    if diagnostics is not None and diagnostics.start:
        sites, stage = _choose_sites(diagnostics)
        inputs = pooled_histogram(sites)
        words = f"Behind it: what arrived there {stage}; the outermost bars include everything beyond. "
        if any(site.learned for site in sites):
            learned = _pool_learned(sites)
            words += "Learned parameters at their mean over these sites and their channels."
    (start,) = curves(view, [item])
    place = st.container()
    if start is None:
        place.info(NOT_ONE_NUMBER, icon=":material/info:")
        return lambda: None

    def draw() -> None:
        with place:
            (before,) = large_curves(view, [item])
            now = learned_curve(item, learned) if learned else before
            assert now is not None
            before = before if learned else None
            show_figure(figures.function(now, start=before, inputs=inputs), f"function {key}")
            st.caption(words)

    if learned or not is_faithful(start):
        return draw
    draw()
    return lambda: None


def _choose_sites(diagnostics: Diagnostics) -> tuple[list[SiteDiagnostics], str]:
    """The sites and the stage that the reader chose."""
    names = list(dict.fromkeys(site.site for site in diagnostics.start))
    left, right = st.columns([2, 1])
    options = ["after training", "before training"] if diagnostics.end else ["before training"]
    stage = left.segmented_control(
        "Inputs and parameters",
        options,
        default=options[0],
        required=True,
        key="inputs",
        bind="query-params",
        label_visibility="collapsed",
    )
    place = right.selectbox(
        "Site",
        [None, *names],
        format_func=lambda name: _ALL_SITES if name is None else one_line(name),
        key="site",
        bind="query-params",
        label_visibility="collapsed",
    )
    chosen = diagnostics.end if stage == "after training" else diagnostics.start
    return [site for site in chosen if place in (None, site.site)], str(stage)


def _pool_learned(sites: Sequence[SiteDiagnostics]) -> dict[str, list[float]]:
    return {
        name: [value for site in sites for value in site.learned.get(name, ())]
        for name in figures.parameter_names(sites)
    }


def _show_learned(diagnostics: Diagnostics, key: str) -> None:
    st.subheader("Learned parameters", anchor=False)
    start, end = diagnostics.start, diagnostics.end
    names = figures.parameter_names(start)
    chosen = names[:_MOST_PANELS]
    if len(names) > _MOST_PANELS:
        chosen = st.multiselect(
            "Parameters", names, default=chosen, max_selections=_MOST_PANELS, key=f"learned {key}"
        )
    show_figure(figures.learned_parameters(start, end, chosen), f"learned {key} figure")
    channels = max((len(v) for site in start for v in site.learned.values()), default=1)
    dots = "a dot a channel; of more than 256, so many quantiles" if channels > 1 else "one a site"
    st.caption(f"Numbered in the order in which they stand in the formula; {dots}.")


def show_remarks(diagnostics: Diagnostics) -> None:
    """What is unusual about a training, in sentences."""
    sentences = diagnostics_remarks(diagnostics)
    for sentence in sentences:
        st.markdown(f":orange[:material/warning:] {markdown(sentence)}")
    if not sentences:
        st.markdown(
            ":green[:material/check:] Nothing unusual: gradients neither vanish nor explode, few units are dead, "
            "few inputs saturate."
        )
    if not diagnostics.end:
        st.caption("Training did not finish, so that nothing was recorded after it.")


def show_numbers(diagnostics: Diagnostics, key: str) -> None:
    """Everything that was recorded, a row a site and stage."""
    st.dataframe(
        _numbers_table(diagnostics),
        hide_index=True,
        column_config=_NUMBERS,
        placeholder="",
        key=f"numbers {key}",
    )


def _numbers_table(diagnostics: Diagnostics) -> pd.DataFrame:
    """What was recorded, a row a site and stage."""
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
            for stage, sites in (("before", diagnostics.start), ("after", diagnostics.end))
            for site in sites
        ]
    )
