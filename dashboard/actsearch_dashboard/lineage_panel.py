"""What a candidate changed in the formulas of its parents."""

from __future__ import annotations

import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.expression import Expression, find_difference, parse
from actsearch.records import ActivationRecord, TrialRecord
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.text import markdown, shorten

__all__ = ["describe_changes", "show_changes"]

_MOST_PARENTS = 4
_HALF = 0.5  # of a formula: were more marked, nothing would stand out
_LONG = 60  # characters that are the same as before; of more, the ends are shown


def show_changes(view: StudyView, trial: TrialRecord) -> None:
    """The formula with what is new in it marked, a line for each parent."""
    numbers = list(dict.fromkeys(trial.candidate.parents))[:_MOST_PARENTS]
    if not numbers:
        return
    read = {parent.number: parent for parent in view.store.reader.trials(view.record, numbers)}
    parents = [read[number] for number in numbers if number in read]
    for line in (line for parent in parents for line in describe_changes(trial, parent)):
        st.markdown(line)


def describe_changes(trial: TrialRecord, parent: TrialRecord) -> list[str]:
    """In markdown, how a trial's formulas differ from a parent's; of several groups of sites those that differ."""
    items = trial.candidate.activations
    lines = []
    for group, item in items.items():
        before = parent.candidate.activations.get(group)
        text = "" if before is None else _describe(before, item)
        where = f" at {markdown(shorten(group, 40))}" if len(items) > 1 else ""
        if text:
            lines.append(f":gray[against trial {parent.number}{where}:] {text}")
    return lines


def _describe(before: ActivationRecord, after: ActivationRecord) -> str:
    """What differs; "" where nothing differs or one of the two has no formula that can be read."""
    parent, child = _parse(before), _parse(after)
    if parent is None or child is None:
        return ""
    difference = find_difference(parent, child)
    if not difference.share:
        return ""
    if difference.share <= _HALF:
        return "".join(_show_piece(piece, changed) for piece, changed in difference.parts)
    if difference.holds_parent:
        return "its whole formula, inside of a larger one."
    if difference.is_part:
        return "a part of its formula."
    return "more than half of the formula differs."


def _parse(item: ActivationRecord) -> Expression | None:
    try:
        return parse(item.formula)
    except ActsearchError:
        return None


def _show_piece(piece: str, changed: bool) -> str:
    """A piece of a formula as markdown, with the spaces at its ends."""
    if changed:
        return f":orange-background[**{markdown(piece)}**]"
    text = piece
    if len(piece) > _LONG:
        text = f"{piece[: _LONG // 2]} … {piece[-_LONG // 2 :]}"
    before, after = (" " * text.startswith(" ")), (" " * text.endswith(" "))
    return f"{before}{markdown(text)}{after}"
