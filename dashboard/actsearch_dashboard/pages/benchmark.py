"""Benchmark: what is known of hundreds of activations before a study begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from actsearch.records import ActivationRecord
from actsearch_dashboard import benchmark_tables as tables
from actsearch_dashboard import figures
from actsearch_dashboard.activation_panel import NOT_ONE_NUMBER, show_latex
from actsearch_dashboard.components import COLUMNS, show_figure, table_height
from actsearch_dashboard.formulas import formula_curve
from actsearch_dashboard.functions import miniature
from actsearch_dashboard.state import go_to, show_errors
from actsearch_dashboard.text import markdown, seconds, shorten

if TYPE_CHECKING:
    from actsearch.benchmark import Benchmark

__all__ = ["render"]

TITLE, ICON = "Benchmark", "grid_on"

_NAME = "activation"  # in the address
_KEPT = "benchmark_activation"  # in the session: what was looked at last
_BOX, _WORDS, _ALL, _RATE = "benchmark_box", "benchmark_words", "benchmark_all", "benchmark_rate"
_MOST = 40  # rows that are seen without much scrolling
_BEST, _OWN = "best", "own"
_RATES = {_BEST: "each at its best learning rate", _OWN: "at the task's own learning rate"}
_ROW_HEIGHT = 56  # pixels, for the miniature plots
_FUNCTION_WIDTH, _PANELS_WIDTH = 350, 500  # pixels
_RESULT_ROWS = 18  # that are seen without scrolling

_RESULT = st.column_config.NumberColumn(
    format="%.4g", help="Mean over the seeds that came to an end."
)
_RESULTS = {
    "rate": st.column_config.TextColumn(help="Multiple of the task's own learning rate."),
    "metric": st.column_config.TextColumn(help="↑: larger is better, ↓: smaller is better."),
    "value": _RESULT,
    "ReLU": _RESULT,
}  # fmt: skip
_TASKS = {
    "stands for": st.column_config.TextColumn(width="large"),
    "metric": st.column_config.TextColumn(help="↑: larger is better, ↓: smaller is better."),
    "parameters": st.column_config.NumberColumn(format="localized", help="Of the network."),
    "learning rate": st.column_config.NumberColumn(
        format="%g", help="The one that is called 1 ×."
    ),
    "steps": st.column_config.NumberColumn(help="Of the optimizer."),
}
_PORTFOLIO = {
    "order": st.column_config.NumberColumn(width="small"),
    "activation": st.column_config.TextColumn(width="medium"),
    "best of the list on": st.column_config.TextColumn(width="medium"),
    "function": COLUMNS["function"],
    "formula": st.column_config.TextColumn(width="large"),
}


@show_errors
def render() -> None:
    """The page; it needs no study."""
    from actsearch.benchmark import load  # here, as scipy.stats takes half a second to load

    st.header("Benchmark", anchor=False)
    table = load()
    _introduce(table)
    reference = table.position(tables.REFERENCE)
    cells = tables.read_cells(table)
    asked = st.query_params.get(_NAME) or st.session_state.get(_KEPT)
    chosen = tables.mean_order(cells)[0] if asked is None else table.position(asked)
    _ranks(table, chosen, reference)
    _activation(table, chosen, reference, asked)
    _portfolio(table)
    _tasks(table)


def _introduce(table: Benchmark) -> None:
    sizes = [task.parameters for task in table.tasks]
    trained = seconds(float(np.median(table.seconds)))
    st.markdown(
        f"{len(table.functions)} activations, each trained in small networks on {len(table.tasks)} tasks of many "
        "kinds. Strategies begin a study with a portfolio from this table, of functions that its space holds."
    )
    st.caption(
        "It does not say which is best in your network: these have "
        f"{min(sizes):,} to {max(sizes):,} parameters and were trained for {trained} (median), with "
        f"{len(table.seeds)} seeds, so that neighbours in rank often differ by chance alone."
    )


def _ranks(table: Benchmark, chosen: int | None, reference: int | None) -> None:
    """The heat map, and what is shown in it."""
    st.subheader("Activations by task", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Filter", key=_WORDS, placeholder="words in a name or formula", width=260
        )
        which = _BEST
        if len(table.rates) > 1:
            which = st.selectbox(
                "Learning rate", list(_RATES), format_func=_RATES.__getitem__, key=_RATE, width=300
            )
        show_all = st.toggle(f"show all {len(table.functions)}", key=_ALL)
    cells = tables.read_cells(table, table.rates.index(1.0) if which == _OWN else None)
    order = tables.mean_order(cells)
    always = set() if words else {place for place in (chosen, reference) if place is not None}
    places = tables.select_places(table, order, words, None if show_all else _MOST, always)
    if not places:
        st.info("No activation matches.", icon=":material/filter_alt_off:")
        return
    rows = tables.rank_rows(table, cells, order, places, chosen)
    names = [task.name for task in table.tasks]
    show_figure(figures.rank_heat(names, rows), "benchmark ranks")
    shown = len(places)
    st.caption(
        "Colour: the share of the other activations that this one beats on the task, by its mean over the seeds. "
        "Sorted by the mean of these shares; beside each name its place among all. A cross: a seed diverged, "
        f"which counts as worst. {shown} of {len(table.functions)} are shown"
        + ("." if words or show_all else ", ReLU and the one chosen below in any case.")
    )


def _activation(
    table: Benchmark, chosen: int | None, reference: int | None, asked: str | None
) -> None:
    """One activation: what it is, and how it did on each task."""
    st.subheader("One activation", anchor=False)
    if chosen is None:
        st.warning(
            f"There is no {markdown(shorten(asked, 40))} in the benchmark: choose one below.",
            icon=":material/search_off:",
        )
    st.session_state[_BOX] = chosen
    st.selectbox(
        "Activation",
        range(len(table.functions)),
        format_func=lambda place: shorten(table.functions[place].label, 80),
        index=None,
        key=_BOX,
        placeholder="choose an activation",
        on_change=_apply_choice,
        args=([function.label for function in table.functions],),
    )
    if chosen is None:
        return
    function = table.functions[chosen]
    _remember(function.label)
    beside = st.container(horizontal=True, gap="medium")  # unlike columns, it wraps
    with beside.container(width=_FUNCTION_WIDTH):
        _function(
            ActivationRecord(
                function.formula, function.name, function.hyperparameters, function.label
            )
        )
    with beside.container(width=_PANELS_WIDTH):
        st.markdown("**Share of the others that it beats, in percent**")
        panels = tables.rate_panels(table, chosen, reference)
        names = [task.name for task in table.tasks]
        show_figure(figures.rank_panels(function.label, "ReLU", names, panels), "benchmark row")
        at = (
            ""
            if len(table.rates) == 1
            else "A panel for each multiple of the task's own learning rate. "
        )
        st.caption(f"{at}A cross: a seed diverged.")
    rows = tables.activation_table(table, chosen, reference)
    st.dataframe(
        rows,
        hide_index=True,
        column_config=_RESULTS,
        placeholder="",
        height=table_height(min(len(rows), _RESULT_ROWS)),
        key="benchmark results",
    )
    st.caption(
        f"Ranks are those among {len(table.functions)} activations at the same learning rate, 1 for the best; "
        "those with a seed that diverged share the last one."
    )


def _apply_choice(labels: list[str]) -> None:
    place = st.session_state.get(_BOX)
    if place is not None:
        _remember(labels[place])


def _remember(label: str) -> None:
    """Put an activation into the address and the session."""
    st.session_state[_KEPT] = label
    if st.query_params.get(_NAME) != label:
        st.query_params[_NAME] = label


def _function(record: ActivationRecord) -> None:
    """Formula and curve."""
    with st.container(border=True):
        show_latex(record)
    st.code(record.formula, language=None, wrap_lines=True)
    curve = formula_curve(record.formula)
    if curve is None:
        st.info(NOT_ONE_NUMBER, icon=":material/info:")
    else:
        show_figure(figures.function(curve), "benchmark function")
    if st.button("Open in the Playground", icon=":material/science:", type="tertiary"):
        go_to("playground", formula=record.formula)


def _portfolio(table: Benchmark) -> None:
    """What strategies begin with."""
    st.subheader("Portfolio", anchor=False)
    places = table.portfolio()
    images = [miniature([formula_curve(table.functions[place].formula)]) for place in places]
    st.dataframe(
        tables.portfolio_table(table, places, images),
        hide_index=True,
        column_config=_PORTFOLIO,
        row_height=_ROW_HEIGHT,
        height=table_height(len(places), _ROW_HEIGHT),
        key="benchmark portfolio",
    )
    st.caption(
        "A short list in which every task finds something good, in the order in which it was chosen. An activation "
        "counts by its ranks at all learning rates."
    )


def _tasks(table: Benchmark) -> None:
    """What the tasks are, and which of them agree."""
    st.subheader("Tasks", anchor=False)
    st.dataframe(
        tables.task_table(table),
        hide_index=True,
        column_config=_TASKS,
        height=table_height(len(table.tasks)),
        key="benchmark tasks",
    )
    st.markdown("**Which tasks agree**")
    names = [task.name for task in table.tasks]
    show_figure(figures.task_correlations(names, table.correlations), "benchmark correlations")
    st.caption(
        "Spearman's rank correlation of the activations on two tasks, each at its best learning rate: 1 where both "
        "rank them alike, 0 where one says nothing of the other. Tasks that agree most with the others come first."
    )
