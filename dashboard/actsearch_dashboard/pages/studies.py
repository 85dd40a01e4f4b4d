"""The list of studies."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import StudySummary
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import FOUR_DECIMALS
from actsearch_dashboard.state import START, calm, go_to, store
from actsearch_dashboard.text import ago, markdown, one_line

__all__ = ["render", "table"]

_COLUMNS = {
    "best so far": st.column_config.NumberColumn(
        format=FOUR_DECIMALS,
        help="Largest of many noisy validation values (smallest, where less is better): optimistic.",
    ),
    "trained": st.column_config.NumberColumn(help="Trials trained to an end, well or badly."),
    "verdicts": st.column_config.NumberColumn(help="How often study.confirm has been called."),
}


@calm
def render() -> None:
    """Every study with how it stands; a click on a row opens it."""
    st.header("Studies", anchor=False)
    opened = store()
    summaries = opened.summaries()
    if not summaries:
        st.info("This storage holds no study yet. Start one from Python:", icon=":material/info:")
        st.code(START, language="python")
        return
    st.caption(f"In {markdown(opened.name)}. Click on a row's box to open the study.")
    newest_first = summaries[::-1]
    event = st.dataframe(
        table([(StudyView(opened, item.study), item) for item in newest_first]),
        hide_index=True,
        key="studies",
        on_select="rerun",
        selection_mode="single-row",
        column_config=_COLUMNS,
    )
    rows = event.selection.rows
    if rows and rows[0] < len(newest_first):
        go_to("study", study=newest_first[rows[0]].study.name)


def table(studies: list[tuple[StudyView, StudySummary]]) -> pd.DataFrame:
    """One row a study."""
    return pd.DataFrame(
        [
            {
                "study": one_line(item.study.name),
                "state": "running" if item.is_running else "",
                "strategy": one_line(view.strategy),
                "metric": one_line(view.metric),
                "best so far": item.best.value if item.best else None,
                "best activation": one_line(item.best.candidate.label) if item.best else "",
                "trained": sum(n for state, n in item.counts.items() if state.is_trained),
                "failed": item.counts[TrialState.FAILED],
                "verdicts": item.verdicts,
                "last trial": ago(item.last_change),
            }
            for view, item in studies
        ]
    )
