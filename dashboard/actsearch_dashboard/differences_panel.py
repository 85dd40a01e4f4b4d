"""Paired differences of the candidates that are compared, and why some cannot be paired."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from actsearch.report import Verdict
from actsearch_dashboard import figures
from actsearch_dashboard.compared import Compared
from actsearch_dashboard.components import show_figure
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.text import candidate_label, markdown, moment, shorten

__all__ = ["pair_across", "show_differences"]

_FEWEST_SEEDS = 2  # of which an interval can be had
_NOT_SAID = ("seeds", "values", "train", "valid", "model")  # of a task, where two are told apart


def show_differences(items: Sequence[Compared], are_comparable: bool) -> None:
    """Differences to the first candidate, within its study and across studies.

    Args:
        items: the candidates.
        are_comparable: whether values of their studies are of one kind.
    """
    first = items[0]
    own = [item for item in items if item.study == first.study]
    others = [item for item in items if item.study != first.study]
    if len(own) < 2 and not are_comparable:
        return
    st.subheader("Paired differences", anchor=False)
    if len(own) > 1:
        _within(own)
    if others and are_comparable:
        _across(first, others)


def _within(items: Sequence[Compared]) -> None:
    """Of trials of one study: of a verdict that compared all of them, else of the search."""
    view = items[0].view
    trials = [item.trial for item in items]
    numbers = [trial.number for trial in trials]
    labels = {trial.number: candidate_label(trial.candidate.label) for trial in trials}
    direction = view.record.direction
    for when, verdict in view.ordered_verdicts():
        scores = figures.verdict_scores(verdict, numbers)
        if scores is None:
            continue
        differences = figures.paired_differences(
            scores, labels, verdict.metric, direction, verdict.comparisons, verdict.looks
        )
        where = "validation data" if verdict.validation_only else "test data"
        words = f"Confirmed together on {moment(when)}: fresh seeds, {where}."
        count = f"{len(next(iter(scores.values())))} seeds"
        _show(differences, words, count, "paired differences")
        return
    scores = figures.common_scores({trial.number: trial.evaluations for trial in trials})
    differences = figures.paired_differences(scores, labels, view.metric, direction)
    _show(
        differences,
        "**Search, optimistic:** validation data and the search's own seeds. These were not confirmed together: "
        "study.confirm(task) does that.",
        f"{len(next(iter(scores.values())))} common seeds",
        "paired differences",
    )


def _across(first: Compared, others: Sequence[Compared]) -> None:
    """Of the first and trials of other studies, as far as they trained alike."""
    paired, reasons = pair_across(first, others)
    for item, reason in reasons:
        st.caption(f"{markdown(shorten(item.name))} is not paired with the first one: {reason}.")
    if not paired:
        return
    together = [first, *paired]
    evaluations = {place: item.trial.evaluations for place, item in enumerate(together)}
    names = {place: item.name for place, item in enumerate(together)}
    scores = figures.common_scores(evaluations)
    view = first.view
    differences = figures.paired_differences(
        scores, names, view.metric, view.record.direction, are_numbers=False
    )
    words = (
        "**Search, optimistic:** validation data and the seeds that these studies have in common. No verdict compares "
        "trials of two studies."
    )
    if unlike := sorted({key for item in paired for key in _unlike_settings(view, item.view)}):
        words += (
            f" Their tasks differ in more than the activation: {markdown(', '.join(unlike[:6]))}."
        )
    count = f"{len(scores[0])} common seeds"
    _show(differences, words, count, "paired differences across studies")


def pair_across(
    first: Compared, others: Sequence[Compared]
) -> tuple[list[Compared], list[tuple[Compared, str]]]:
    """Which trials of other studies can be paired with the first one, and of the rest why not.

    Two studies trained alike where both kept the same descriptions of training and validation data and the trials have
    seeds in common: equal seeds draw equal weights and mini-batches.
    """
    paired: list[Compared] = []
    reasons: list[tuple[Compared, str]] = []
    common = _seeds(first)
    for item in others:
        one, other = _data(first.view), _data(item.view)
        seeds = common & _seeds(item)
        if one is None or other is None:
            reasons.append(
                (item, "which data its study or that of the first one trained on is not stored")
            )
        elif one != other:
            reasons.append((item, "their studies trained on different data"))
        elif len(seeds) < _FEWEST_SEEDS:
            count = "no seed" if not seeds else "a single seed"
            reasons.append((item, f"they have {count} in common, and an interval needs two"))
        else:
            paired.append(item)
            common = seeds
    return paired, reasons


def _seeds(item: Compared) -> set[int]:
    return {evaluation.seed for evaluation in item.trial.evaluations}


def _data(view: StudyView) -> tuple[str, str] | None:
    """Digests of training and validation data; None where a study has none, as with a function of the user's own."""
    task = view.record.task or {}
    train, valid = (str(task.get(name) or "") for name in ("train", "valid"))
    return (train, valid) if train and valid else None


def _unlike_settings(view: StudyView, other: StudyView) -> set[str]:
    """Names of the settings in which two tasks differ."""
    one, two = view.record.task or {}, other.record.task or {}
    names = {str(key) for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
    model = {"the model"} if one.get("model") != two.get("model") else set()
    return names.difference(_NOT_SAID) | model


def _show(differences: Verdict | None, words: str, count: str, key: str) -> None:
    if differences is None:
        st.caption(
            f"{words} There are {count} with values: an interval needs two. Task(seeds=3) trains each trial "
            "under three."
        )
        return
    st.caption(f"{words} {count}; intervals hold for all of these comparisons together.")
    show_figure(figures.verdict_intervals(differences), key)
