"""Every trial in a table: filter, page through, download, open."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import mirrors
from actsearch_dashboard.components import (
    COLUMNS,
    OPENS,
    SECONDS,
    failure_reasons,
    study_page,
    trial_table,
)
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.filters import (
    FRAME,
    TABLE,
    Filters,
    Range,
    all_orders,
    hyperparameters,
    setting_column,
    sort_trials,
    values_by_frequency,
    with_settings,
)
from actsearch_dashboard.ranges import SETTING, choose_range, choose_settings
from actsearch_dashboard.state import live
from actsearch_dashboard.text import (
    csv_text,
    file_stem,
    markdown,
    one_line,
    say_count,
    say_origin,
    shorten,
)

__all__ = ["ROWS", "render", "trials_csv"]

TITLE, ICON = "Trials", "table"

ROWS = 500
"""The browser gets so many rows at a time: all of a large study's would take seconds to travel."""
_HIGH = 20  # rows that are seen without scrolling: a screen of them

_COLUMNS = {
    **COLUMNS,
    "number": st.column_config.NumberColumn("trial", width="small"),
    "activation": st.column_config.TextColumn(width="medium"),
    "size": st.column_config.NumberColumn(help="Nodes of the formula."),
    "operation": st.column_config.TextColumn("made by"),
    "formula": st.column_config.TextColumn(width=260),
    "parents": st.column_config.TextColumn(help="The trials it was made from."),
    "duplicate_of": st.column_config.NumberColumn("duplicate of"),
    "mirror_of": st.column_config.NumberColumn(
        "mirror of", help="f(-x), -f(x) or -f(-x) of that trial's f"
    ),
    "seconds": st.column_config.NumberColumn("time", format=SECONDS),
    "started": st.column_config.DatetimeColumn("started"),
    "completed": st.column_config.DatetimeColumn("ended"),
}
_SHOWN = TABLE
_TEXTS = ["activation", "formula", "reason"]
_FRAME = FRAME
_MOST_REASONS = 20  # the rest are mostly single messages


@study_page
def render(view: StudyView) -> None:
    """The trial table."""
    filters, order = _choose_filters(view)
    live(view, functools.partial(_table, view, filters, order))


def _choose_filters(view: StudyView) -> tuple[Filters, str]:
    """What the boxes over the table say."""
    frame, contents = view.frame(), view.formula_contents()
    left, right, last = st.columns([2, 2, 1.2])
    order = last.selectbox(
        "Order", list(all_orders(_settings(frame))), key="order", bind="query-params"
    )
    states = left.multiselect(
        "States", [state.value for state in TrialState], placeholder="all states", key="states", bind="query-params",
        format_func=str.lower,
    )  # fmt: skip
    words = right.text_input(
        "Contains",
        placeholder="part of a formula, an activation, a reason",
        icon=":material/search:",
        key="words",
        bind="query-params",
    )
    with st.expander("More filters", icon=":material/filter_list:"):
        left, right = st.columns(2)
        operations = left.multiselect(
            "Made by", values_by_frequency(frame["operation"]), placeholder="anything", key="operations",
            bind="query-params",
            format_func=lambda text: shorten(say_origin(text), 40),
            help="How the strategy made the candidate.",
        )  # fmt: skip
        operators = right.multiselect(
            "With operators", sorted(frozenset().union(*set(contents.operators))), key="operators", bind="query-params",
            placeholder="any operators", help="Formulas that hold all of these.",
        )  # fmt: skip
        sizes = contents.sizes[contents.sizes > 0]
        size_range = choose_range(left, "Size of the formula", sizes, "sizes", integers=True)
        finite = frame["value"].to_numpy()
        finite = finite[np.isfinite(finite)]
        value_range = choose_range(right, f"{shorten(view.metric, 20)} between", finite, "values")
        settings = choose_settings((left, right), frame, SETTING)
    _clear_settings(settings)
    return (
        Filters(states, words, operations, operators, size_range, value_range, settings),
        order,
    )


def _clear_settings(settings: Mapping[str, Range]) -> None:
    """The ranges of hyperparameters that are asked for, where they are seen though their boxes are folded away."""
    if not settings:
        return
    said = ", ".join(f"{markdown(name)} {_say_range(*ends)}" for name, ends in settings.items())
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(f":material/filter_list: Only trials with {said}.")
    right.button("Clear these ranges", on_click=_forget_settings, type="tertiary", key="clear")


def _say_range(low: float, high: float) -> str:
    if not np.isfinite(high):
        return f"from {low:.4g}"
    return f"up to {high:.4g}" if not np.isfinite(low) else f"from {low:.4g} to {high:.4g}"


def _forget_settings() -> None:
    for key in list(st.session_state):
        if str(key).startswith(SETTING):
            st.session_state[key] = None


def _table(view: StudyView, filters: Filters, order: str) -> None:
    everything = view.frame()
    matching = _filter(view, filters, order)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.caption(f"{len(matching):,} of {len(everything):,} trials. {OPENS}")
    right.download_button(
        "Download CSV",
        functools.partial(trials_csv, view, filters, order),
        file_name=f"{file_stem(view.record.name)}-trials.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        help="All trials that the filters leave, on every page. Text that a spreadsheet would take for a formula "
        "begins with a quote (').",
    )
    if matching.empty:
        st.info("No trial matches: take away a state or a word.", icon=":material/filter_alt_off:")
    else:
        page = _page(len(matching))
        rows = _columns(view, matching.iloc[page * ROWS : (page + 1) * ROWS])
        shown = rows.assign(
            state=rows["state"].str.lower(),
            **{name: rows[name].map(one_line) for name in _TEXTS},
            operation=rows["operation"].map(say_origin),
        )
        numbers = [int(number) for number in rows["number"]]
        fitted = {_objective_column(name): COLUMNS["value"] for name in view.objectives}
        columns = {**_COLUMNS, **fitted, "value": {**COLUMNS["value"], "label": view.metric}}
        trial_table(shown, numbers, "trials", columns, most_rows=_HIGH)
    _reasons(everything)


def _filter(view: StudyView, filters: Filters, order: str) -> pd.DataFrame:
    """The trials that are asked for, with the sizes of their formulas."""
    frame, contents = view.frame(), view.formula_contents()
    sizes = np.where(contents.sizes > 0, contents.sizes, np.nan)
    frame = with_settings(frame.assign(size=sizes))
    mask = filters.mask(frame, contents.operators)
    return sort_trials(frame[mask], order, view.record.direction)


def trials_csv(view: StudyView, filters: Filters, order: str) -> str:
    """All that is asked for as CSV, whatever page is looked at."""
    return csv_text(_columns(view, _filter(view, filters, order)))


def _page(count: int) -> int:
    """The page that is looked at, from 0; the box for it stands there only if there are several."""
    pages = -(-count // ROWS)
    if pages < 2:
        return 0
    st.session_state["page"] = min(st.session_state.get("page", 1), pages)
    return int(
        st.number_input(
            f"Page, of {pages:,} with {ROWS} trials each", 1, pages, key="page", width=260
        )
        - 1
    )


def _settings(frame: pd.DataFrame) -> list[str]:
    return [setting_column(str(name)) for name in hyperparameters(frame)]


def _objective_column(name: str) -> str:
    """A further objective's column: "size" is one of the formula's already."""
    return f"{name} (objective)" if name in _SHOWN else name


def _columns(view: StudyView, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the frame as they are shown and downloaded."""
    more = {
        _objective_column(name): rows[f"value_{index}"]
        for index, name in enumerate(view.objectives)
        if index and f"value_{index}" in rows
    }
    table = rows.assign(
        activation=rows["label"],
        parents=[", ".join(map(str, numbers)) for numbers in rows["parents"]],
        mirror_of=mirrors(view.frame()).reindex(rows.index),
        size=rows["size"].astype("Int64"),
        **more,
    )
    position, after = _SHOWN.index("value") + 1, _SHOWN.index("activation") + 1
    settings = [name for name in rows if name not in _FRAME and name not in _SHOWN]
    settings = [name for name in settings if name not in more and rows[name].notna().any()]
    return table[[*_SHOWN[:position], *more, *_SHOWN[position:after], *settings, *_SHOWN[after:]]]


def _reasons(frame: pd.DataFrame) -> None:
    """Why trials were refused or failed, counted."""
    bad = frame[frame["state"].isin([TrialState.REJECTED.value, TrialState.FAILED.value])]
    if bad.empty:
        return
    counted = sorted(
        (
            (state, reason, count)
            for state in (TrialState.REJECTED.value, TrialState.FAILED.value)
            for reason, count in failure_reasons(bad[bad["state"] == state])
        ),
        key=lambda row: -row[2],
    )
    with st.expander(
        f"Why {say_count(len(bad), 'trial was', 'trials were')} refused or failed",
        icon=":material/block:",
    ):
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "state": state.lower(),
                        "reason": one_line(reason),
                        "trials": count,
                    }
                    for state, reason, count in counted[:_MOST_REASONS]
                ]
            ),
            hide_index=True,
            key="reasons",
        )
        if len(counted) > _MOST_REASONS:
            st.caption(f"The {_MOST_REASONS} most frequent of {len(counted):,} reasons.")
