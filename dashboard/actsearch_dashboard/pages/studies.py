"""The list of studies."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import StudySummary
from actsearch_dashboard.components import FITTED, FITTED_SIGNED, OPENS, clickable_table
from actsearch_dashboard.data import Store, StudyView
from actsearch_dashboard.palette import ORANGE
from actsearch_dashboard.state import START, go_to, live_list, show_errors, store
from actsearch_dashboard.text import ago, markdown, one_line, short_label

__all__ = ["render"]

TITLE, ICON = "Studies", "list"

_STAGES = {
    "running": "a process drives it now",
    "interrupted": "its process ended during a trial; call study.optimize again to continue",
    "failed": "all its trials failed: its page says why",
    "resumable": "trials are proposed and none is trained yet; call study.optimize to continue",
    "searched": "it has trained trials; study.confirm tells whether the best one beats your model",
    "confirmed": "it has a verdict",
    "empty": "no trial yet; call study.optimize to start",
}
_COLUMNS = {
    "state": st.column_config.TextColumn(
        help="  \n".join(f"**{name}**: {text}" for name, text in _STAGES.items())
    ),
    "best so far": st.column_config.NumberColumn(
        format=FITTED,
        help="Largest of many noisy validation values (smallest, where less is better): optimistic.",
    ),
    "history": st.column_config.LineChartColumn(
        help="Best so far, from the first trial to the last.", width="small", color=ORANGE
    ),
    "beats yours": st.column_config.TextColumn(
        width=130,
        help="What the verdict says to use; nothing, where it says to keep what you have.",
    ),
    "difference": st.column_config.NumberColumn(
        format=FITTED_SIGNED, help="Its mean paired difference to your model, on test data."
    ),
    "trained": st.column_config.NumberColumn(
        format="localized", width=65, help="Trials trained to an end, well or badly."
    ),
    "failed": st.column_config.NumberColumn(format="localized"),
    "verdicts": st.column_config.NumberColumn(
        width=70, help="How often study.confirm has been called."
    ),
    "best activation": st.column_config.TextColumn(width=150),
}


@show_errors
def render() -> None:
    """Every study with how it stands; a click on a row opens it."""
    st.header("Studies", anchor=False)
    opened = store()
    summaries = opened.summaries()
    if not summaries:
        st.info("This storage holds no study yet. Start one from Python:", icon=":material/info:")
        st.code(START, language="python")
        return
    if not opened.reader.is_live:
        st.caption(
            "Read from a folder that cannot be written: refresh is off, later changes are not seen."
        )
    stages: list[str] = []
    words = ""
    if len(summaries) > 1:
        left, right = st.columns(2)
        stages = left.multiselect(
            "State",
            [name for name in _STAGES],
            placeholder="any state",
            key="stages",
            bind="query-params",
        )
        words = right.text_input(
            "Contains",
            placeholder="part of a name, a strategy, a formula",
            icon=":material/search:",
            key="study_words",
            bind="query-params",
        )
    live_list(opened, lambda: _list(opened, stages, words))


def _list(opened: Store, stages: Sequence[str], words: str) -> None:
    newest_first = opened.summaries()[::-1]
    shown = [
        (view, item)
        for view, item in ((StudyView(opened, item.study), item) for item in newest_first)
        if _is_shown(view, item, stages, words)
    ]
    count = f"{len(shown)} of {len(newest_first)} studies"
    if len(shown) == len(newest_first):
        count = "All studies"
    st.caption(f"{count} in {markdown(opened.name)}. {OPENS}")
    if not shown:
        st.info("No study matches: take away a state or a word.", icon=":material/filter_alt_off:")
        return
    row = clickable_table(_table(shown), "studies", _COLUMNS)
    if row is not None:
        go_to("study", study=shown[row][1].study.name)


def _is_shown(view: StudyView, item: StudySummary, stages: Sequence[str], words: str) -> bool:
    """Whether a study is in one of the states (any, if none is named) and some text of it contains ``words``."""
    best = item.best.candidate if item.best else None
    texts = [item.study.name, view.strategy, view.metric, *view.objectives]
    texts += [best.label, best.formula] if best else []
    contains = any(words.strip().lower() in text.lower() for text in texts)
    return contains and (not stages or item.stage in stages)


def _answer(view: StudyView, item: StudySummary) -> dict[str, object]:
    """Did anything beat what the user has? The verdict's winner, and by how much."""
    headline = view.headline() if item.verdicts else None
    if headline is None:
        return {"beats yours": "", "difference": None}
    verdict = headline[1]
    winner = verdict.winner
    if winner is not verdict.baseline:
        word = short_label(one_line(winner.label))
        return {"beats yours": word, "difference": winner.difference}
    return {"beats yours": "nothing" if verdict.is_decided else "undecided", "difference": None}


def _table(studies: Sequence[tuple[StudyView, StudySummary]]) -> pd.DataFrame:
    """One row a study."""
    return pd.DataFrame(
        [
            {
                "study": one_line(item.study.name),
                **_answer(view, item),  # first, where a narrow screen shows it
                "state": item.stage,
                "last trial": ago(item.last_change),
                "strategy": one_line(view.strategy),
                "metric": ", ".join(view.objectives) or one_line(view.metric),
                "best so far": item.best.value if item.best else None,
                "history": [value for value in item.line if value is not None],
                "best activation": short_label(one_line(item.best.candidate.label))
                if item.best
                else "",
                "trained": sum(n for state, n in item.counts.items() if state.is_trained),
                "failed": item.counts[TrialState.FAILED],
                "verdicts": item.verdicts,
            }
            for view, item in studies
        ]
    )
