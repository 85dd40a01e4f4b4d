"""Leaderboard: what a verdict says, and below it what the search says."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from actsearch.report import Verdict
from actsearch_dashboard import figures
from actsearch_dashboard.components import (
    COLUMNS,
    FITTED,
    FITTED_SIGNED,
    OPENS,
    clickable_table,
    open_trial,
    show_failures,
    show_figure,
    show_verdict,
    study_page,
    trial_table,
    verdict_frame,
)
from actsearch_dashboard.confirming import show_confirmation
from actsearch_dashboard.data import StudyView, place_of_headline
from actsearch_dashboard.formulas import formula_facts
from actsearch_dashboard.functions import pictures
from actsearch_dashboard.state import live
from actsearch_dashboard.text import candidate_label, moment, one_line, say_origin, short_labels

__all__ = ["ranking", "render"]

TITLE, ICON = "Leaderboard", "leaderboard"

_MOST = 100  # rows, each with a picture that travels to the browser; the trial table has all
_MOST_POINTS = 300  # candidates in the figures of trade-offs: more would cover each other
_ROW_HEIGHT = 56  # pixels, for the miniature plots
_HIGH = 10  # rows that are seen without scrolling

_COST = (
    "An estimate from the operators in the formula, as a multiple of ReLU's. acs.cost(trial, shape) measures it; "
    "so does every trial of a study that has it among its objectives, in a column of its own."
)

_FRONT_FIRST = "The Pareto front comes first, then the others, each by the first objective. "

_VERDICT_COLUMNS = {
    "activation": st.column_config.TextColumn(width=120),
    "mean": st.column_config.NumberColumn(
        format=FITTED, help="Mean over the seeds, at the learning rate chosen for it."
    ),
    "difference": st.column_config.NumberColumn(
        width=80, format=FITTED_SIGNED, help="Mean paired difference to the baseline."
    ),
    "interval": st.column_config.TextColumn(
        "95 % interval", width=130, help="Simultaneous interval of the difference."
    ),
    "p": st.column_config.NumberColumn(
        format="%.3f", help="Paired t test, multiplied by the number of comparisons."
    ),
    "learning rate": st.column_config.NumberColumn(
        format="%.2g",
        help="Chosen on validation data for each seed, for the baseline likewise; the median.",
    ),
    "untuned": st.column_config.NumberColumn(
        format=FITTED, help="Mean at the learning rate of the search."
    ),
}

_COLUMNS = {
    **COLUMNS,
    "rank": st.column_config.NumberColumn(width=50),
    "front": st.column_config.TextColumn(
        width=60,
        help="On the Pareto front: no other one is as good in every objective and better in one.",
    ),
    "trial": st.column_config.NumberColumn(width=60),
    "activation": st.column_config.TextColumn(width=185),
    "size": st.column_config.NumberColumn(width=50, help="Nodes of the formula."),
    "cost": st.column_config.NumberColumn("cost, estimate", format="%.1f", help=_COST),
    "verdict": st.column_config.TextColumn(width=130, help="What the verdict says of this trial."),
    "tuning": st.column_config.NumberColumn(
        "tuning gained",
        format=FITTED_SIGNED,
        help="What the learning rate chosen for it in the verdict gained over the task's own. "
        "Above 0 it is better for it; near 0 it does well without tuning.",
    ),
}


@study_page
def render(view: StudyView) -> None:
    """The leaderboard page."""
    headline = show_verdict(view)
    if headline is not None:
        _verdict(view)
    st.subheader("Best of the search", anchor=False)
    live(view, functools.partial(_search, view, headline[1] if headline else None))


def _verdict(view: StudyView) -> None:
    """The verdict's interval figure and table; earlier ones can be chosen."""
    verdicts = view.verdicts()[::-1]
    index = start = place_of_headline(verdicts)
    if len(verdicts) > 1:
        index = st.selectbox(
            "Verdict",
            range(len(verdicts)),
            index=start,
            format_func=lambda i: (
                f"{moment(verdicts[i][0])}, {verdicts[i][1].spent}"
                + (" (latest)" if i == 0 else "")
            ),
        )
    verdict = verdicts[index][1]
    if index != start:
        st.text(verdict.sentence)
    show_figure(figures.verdict_intervals(verdict), "intervals")
    table = verdict_frame(verdict)
    row = clickable_table(table, "verdict rows", _VERDICT_COLUMNS)
    if row is not None and not pd.isna(table["trial"].iloc[row]):
        open_trial(int(table["trial"].iloc[row]))


def _search(view: StudyView, verdict: Verdict | None) -> None:
    show_confirmation(view)
    ranked = view.ranked()
    if ranked.empty:
        if not show_failures(view):
            st.info("No trial is complete yet: call study.optimize first.", icon=":material/info:")
            st.code("study.optimize(task, n_trials=100)", language="python")
        return
    st.caption(
        "Values on validation data with the search's own seeds; the first of many noisy numbers is optimistic. "
        + (_FRONT_FIRST if "front" in ranked else "")
        + OPENS
        + (f" The best {_MOST} of {len(ranked)}." if len(ranked) > _MOST else "")
    )
    shown = ranked.head(_MOST)
    numbers = [int(number) for number in shown["number"]]
    value = one_line(view.metric)
    trials = view.store.reader.trials(view.record, numbers)
    images = pictures(view, [trial.candidate for trial in trials])
    drawn = {trial.number: image for trial, image in zip(trials, images, strict=True)}
    table = ranking(shown, value, verdict, drawn, _objectives(view))
    columns = {**_COLUMNS, value: COLUMNS["value"]}
    trial_table(table, numbers, "leaderboard", columns, _ROW_HEIGHT, _HIGH)
    _fronts(view, ranked)


def _objectives(view: StudyView) -> dict[str, str]:
    """Names of the objectives besides the first by their column."""
    return {f"value_{index}": name for index, name in enumerate(view.objectives) if index}


def ranking(
    ranked: pd.DataFrame,
    value: str,
    verdict: Verdict | None,
    pictures: Mapping[int, str],
    objectives: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One row a complete trial, best first, with its picture, what it costs, and what a verdict says of it.

    Args:
        ranked: rows of trials, best first.
        value: name of the metric.
        verdict: the latest one.
        pictures: data URIs by number of the trial.
        objectives: names of further objectives by their column.
    """
    known = [formula_facts(text) for text in ranked["formula"]]
    numbers = [int(number) for number in ranked["number"]]
    rows = [verdict.row(number) if verdict is not None else None for number in numbers]
    table: dict[str, Any] = {
        "rank": range(1, len(ranked) + 1),
        "trial": numbers,
        **(
            {"front": ["front" if on else "" for on in ranked["front"]]}
            if "front" in ranked
            else {}
        ),
        "function": [pictures.get(number, "") for number in numbers],
        "activation": short_labels([candidate_label(label) for label in ranked["label"]]),
        value: ranked["value"].to_numpy(),
        "spread": ranked["spread"].to_numpy(),
        **{
            name: ranked[column].to_numpy()
            for column, name in (objectives or {}).items()
            if column in ranked and name != value
        },
        "size": pd.array([item.size if item else None for item in known], dtype="Int64"),
        "cost": pd.array([item.cost if item else None for item in known], "Float64"),
    }
    if verdict is not None:
        table["verdict"] = [row.verdict if row else "" for row in rows]
        sign = -1.0 if verdict.direction == "minimize" else 1.0  # a gain is what became better
        gains = [sign * row.tuning_gain if row else None for row in rows]
        table["tuning"] = pd.array(gains, "Float64")
    table |= {
        "made by": [say_origin(word) for word in ranked["operation"]],
        "formula": [one_line(text) for text in ranked["formula"]],
    }
    return pd.DataFrame(table)


def _fronts(view: StudyView, ranked: pd.DataFrame) -> None:
    """What cannot all be had at once: the study's own objectives, and score, size and cost."""
    st.subheader("Trade-offs", anchor=False)
    st.caption(
        "On the Pareto front: candidates to which no other one is equal in everything shown and superior in something."
        + (f" The best {_MOST_POINTS} of {len(ranked)}." if len(ranked) > _MOST_POINTS else "")
    )
    names, directions = view.objectives, view.record.directions
    labels = ["Score, size and cost"]
    columns = ["value", *(f"value_{index}" for index in range(1, len(names)))]
    if len(names) > 1 and set(columns) <= set(ranked):
        labels.insert(0, "Objectives")
    label = labels[0]
    if len(labels) > 1:  # not tabs: see Figures of the page Study
        label = st.segmented_control(
            "Trade-off",
            labels,
            default=labels[0],
            required=True,
            key="tradeoff",
            bind="query-params",
            label_visibility="collapsed",
        )
    if label == "Objectives":
        show_figure(
            figures.tradeoff(
                ranked.head(_MOST_POINTS),
                dict(zip(columns, directions, strict=True)),
                dict(zip(columns, names, strict=True)),
            ),
            "objectives front",
        )
        st.caption(_where_is_good(directions))
    else:
        _score_size_cost(view, ranked.head(_MOST_POINTS))


def _score_size_cost(view: StudyView, ranked: pd.DataFrame) -> None:
    known = [formula_facts(text) for text in ranked["formula"]]
    points = ranked.assign(
        size=[item.size if item else np.nan for item in known],
        cost=[item.cost if item else np.nan for item in known],
    )
    if not points["size"].notna().any():
        st.caption("No formula here can be read, and so none has a size.")
        return
    directions = {
        "value": view.record.direction or "maximize",
        "size": "minimize",
        "cost": "minimize",
    }
    names = {
        "value": f"{view.metric} (validation)",
        "size": "size (nodes)",
        "cost": "cost (ReLU = 1)",
    }
    show_figure(figures.tradeoff(points, directions, names), "score size cost")
    st.caption(_where_is_good(list(directions.values())))


def _where_is_good(directions: Sequence[str]) -> str:
    """Where in a figure of trade-offs the good candidates are; the first objective points upwards."""
    up, *across = ("high" if direction == "maximize" else "low" for direction in directions)
    sides = {"high": "right", "low": "left"}
    place = {"high": "top", "low": "bottom"}[up]
    if len(set(across)) == 1:
        return f"Good ones are at the {place} {sides[across[0]]}."
    where = ", ".join(f"{sides[side]} in panel {n}" for n, side in enumerate(across, 1))
    return f"Good ones are at the {place}: {where}."
