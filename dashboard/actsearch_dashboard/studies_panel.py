"""Two to six studies side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np
import pandas as pd
import streamlit as st

from actsearch.errors import StudyError
from actsearch.records import CandidateRecord
from actsearch.report import Verdict, leaders
from actsearch_dashboard import figures
from actsearch_dashboard.compare_address import (
    FEWEST,
    MOST,
    STUDIES,
    keep_names,
    pick_known,
    requested_names,
)
from actsearch_dashboard.components import (
    COLUMNS,
    FITTED,
    FITTED_SIGNED,
    fit_formats,
    log_axis,
    show_figure,
)
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.functions import pictures
from actsearch_dashboard.state import store
from actsearch_dashboard.text import (
    candidate_label,
    markdown,
    number,
    one_line,
    short_label,
    short_labels,
    shorten,
)

__all__ = ["are_comparable", "name_test_data", "show_studies"]

_FAR = 1e3  # times larger than others: no difference of strategies makes that
_VERDICTS = {
    "difference": st.column_config.NumberColumn(format=FITTED_SIGNED),
    "its mean": st.column_config.NumberColumn(format=FITTED),
    "test data": st.column_config.TextColumn(
        help="One letter for the same test rows. Unknown: the rows cannot be read twice alike, or the verdict was "
        "stored by an earlier version."
    ),
}
_BEST = 5  # formulas of each study
_UNKNOWN = "unknown"


def show_studies() -> None:
    """The studies that are chosen."""
    st.header("Studies side by side", anchor=False)
    opened = store()
    names = [study.name for study in opened.studies()]
    if len(names) < FEWEST:
        st.info("This storage holds fewer than two studies.", icon=":material/info:")
        return
    asked = pick_known(requested_names(STUDIES), names, "study")
    start = asked if STUDIES in st.query_params else names[:-4:-1]
    chosen = st.multiselect(
        "Studies",
        names[::-1],
        default=start,
        max_selections=MOST,
        format_func=shorten,
        key="chosen studies",
    )
    keep_names(STUDIES, chosen)
    if len(chosen) < FEWEST:
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
    letters = name_test_data([verdict for _, verdict in found])
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
                "test data": letter,
                "seeds": verdict.seeds,
            }
            for (view, verdict), letter in zip(found, letters, strict=True)
        ]
    )
    st.dataframe(
        table, hide_index=True, column_config=fit_formats(table, _VERDICTS), placeholder=""
    )
    st.caption(
        "Differences that have the same letter under test data were measured on the same rows and can be compared; "
        "those with different letters, or with unknown data, cannot."
    )


def name_test_data(verdicts: Sequence[Verdict]) -> list[str]:
    """A letter for the test data of each verdict, the same for the same data; "unknown" where it did not keep which."""
    digests = [verdict.test_data for verdict in verdicts]
    known = dict.fromkeys(digest for digest in digests if digest is not None)
    letters = dict(zip(known, ascii_uppercase, strict=False))
    return [_UNKNOWN if digest is None else letters[digest] for digest in digests]


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
            "activation": short_labels([candidate_label(label) for label in rows["label"]]),
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
