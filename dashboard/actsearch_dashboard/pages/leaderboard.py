"""Leaderboard: what a verdict says, and below it what the search says."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from actsearch.records import TrialRecord
from actsearch.report import Verdict, leaderboard
from actsearch_dashboard import figures
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.parts import (
    FOUR_DECIMALS,
    heading,
    show_figure,
    trial_table,
    verdict_frame,
    verdict_words,
)
from actsearch_dashboard.state import calm, current_study, live
from actsearch_dashboard.text import moment, one_line

__all__ = ["ranking", "render"]

_MOST = 200  # rows; the trial table has all

_VERDICT_COLUMNS = {
    "activation": st.column_config.TextColumn(width="large"),
    "mean": st.column_config.NumberColumn(
        format=FOUR_DECIMALS, help="Mean over the seeds, at the learning rate chosen for it."
    ),
    "difference": st.column_config.NumberColumn(
        format="%+.4f", help="Mean paired difference to the baseline."
    ),
    "low": st.column_config.NumberColumn(
        format="%+.4f", help="Lower end of the simultaneous 95 % interval of the difference."
    ),
    "high": st.column_config.NumberColumn(format="%+.4f", help="Its upper end."),
    "p": st.column_config.NumberColumn(
        format="%.3f", help="Paired t test, multiplied by the number of comparisons."
    ),
    "learning rate": st.column_config.NumberColumn(
        format="%.2g", help="Chosen on validation data, for the baseline likewise."
    ),
    "as given": st.column_config.NumberColumn(
        format=FOUR_DECIMALS, help="Mean at the task's own learning rate."
    ),
}

_COLUMNS = {
    "rank": st.column_config.NumberColumn(width="small"),
    "trial": st.column_config.NumberColumn(width="small"),
    "activation": st.column_config.TextColumn(width="large"),
    "spread": st.column_config.NumberColumn(
        format=FOUR_DECIMALS,
        help="Standard deviation over the seeds; with one seed, over its last epochs.",
    ),
    "verdict": st.column_config.TextColumn(
        width="medium", help="What the latest verdict says of this trial."
    ),
}


@calm
def render() -> None:
    """The leaderboard page."""
    view = current_study()
    if view is None:
        return
    heading(view)
    latest = verdict_words(view)
    if latest is not None:
        _verdict(view)
    st.subheader("Best of the search", anchor=False)
    live(view, functools.partial(_search, view, latest[1] if latest else None))


def _verdict(view: StudyView) -> None:
    """The verdict's interval figure and table; earlier ones can be chosen."""
    verdicts = view.verdicts()[::-1]
    index = 0
    if len(verdicts) > 1:
        index = st.selectbox(
            "Verdict",
            range(len(verdicts)),
            format_func=lambda i: moment(verdicts[i][0]) + (" (latest)" if i == 0 else ""),
        )
    verdict = verdicts[index][1]
    if index:
        st.text(verdict.sentence)
    show_figure(figures.verdict_intervals(verdict), "intervals")
    st.dataframe(
        verdict_frame(verdict), hide_index=True, column_config=_VERDICT_COLUMNS, placeholder=""
    )


def _search(view: StudyView, verdict: Verdict | None) -> None:
    ranked = leaderboard(view.trials(), view.record.direction)[:_MOST]
    if not ranked:
        st.info("No trial is complete yet: call study.optimize first.", icon=":material/info:")
        st.code("study.optimize(task, n_trials=100)", language="python")
        return
    st.caption(
        "Values on validation data with the search's own seeds; the first of many noisy numbers is optimistic. "
        "Click on a row's box to open the candidate."
    )
    value = one_line(view.metric)
    columns = {**_COLUMNS, value: st.column_config.NumberColumn(format=FOUR_DECIMALS)}
    frame = ranking(ranked, value, verdict)
    trial_table(frame, [trial.number for trial in ranked], "leaderboard", columns)


def ranking(ranked: list[TrialRecord], value: str, verdict: Verdict | None) -> pd.DataFrame:
    """One row a complete trial, best first, with what a verdict says of it."""
    words = {row.number: row.verdict for row in verdict.rows} if verdict is not None else {}
    return pd.DataFrame(
        [
            {
                "rank": rank,
                "trial": trial.number,
                "activation": one_line(trial.candidate.label or "your model unchanged"),
                value: trial.value,
                "spread": trial.spread,
                "verdict": words.get(trial.number, ""),
                "made by": one_line(trial.candidate.operation),
                "formula": one_line(trial.candidate.formula),
            }
            for rank, trial in enumerate(ranked, 1)
        ]
    )
