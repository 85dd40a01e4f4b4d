"""Which trials of very many a table shows, and in which order. Knows nothing of Streamlit."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from actsearch.records import TrialState
from actsearch.report import COLUMNS

__all__ = [
    "FRAME",
    "OPEN",
    "ORDERS",
    "Range",
    "TABLE",
    "TRAINED",
    "Filters",
    "all_orders",
    "hyperparameters",
    "setting_column",
    "settings_of",
    "sort_trials",
    "values_by_frequency",
    "with_settings",
]

Range = tuple[float, float]
"""Least and most."""

TRAINED = tuple(state.value for state in TrialState if state.is_trained)
"""States, as tables name them, of trials that were trained to an end."""

OPEN = tuple(state.value for state in TrialState if state.is_open)
"""Those of trials that are still to be trained."""

_SETTING = re.compile(r"(\w+)=([-+.\w]+)")
_ENDS = ("largest", "smallest")
_SEARCHED = ("label", "formula", "operation", "reason")

TABLE = [
    "number", "state", "value", "spread", "activation", "formula", "size", "operation", "parents", "duplicate_of",
    "mirror_of", "reason", "seconds", "started", "completed",
]  # fmt: skip
"""Columns of the page Trials."""

FRAME = {*COLUMNS, *(f"value_{index}" for index in range(1, 20))}
"""Columns that a frame of trials may have; further ones are hyperparameters'."""

_TAKEN = FRAME.union(TABLE)

ORDERS: dict[str, tuple[str, bool | None]] = {
    "trial": ("number", False),
    "newest first": ("number", True),
    "best value first": ("value", None),
    "longest time first": ("seconds", True),
    "smallest formula first": ("size", False),
}
"""Column, and whether the largest comes first; None leaves that to the study's direction."""


@dataclass(frozen=True)
class Filters:
    """What is asked for; what is empty asks for nothing.

    Attributes:
        states: any of these.
        words: in a label, formula, operation or reason, whatever the case.
        operations: any of these made the candidate.
        operators: all of these are in the formula.
        sizes: least and most nodes.
        values: least and most value.
        settings: least and most of hyperparameters, by their columns; trials without one are left out.
    """

    states: Sequence[str] = ()
    words: str = ""
    operations: Sequence[str] = ()
    operators: Sequence[str] = ()
    sizes: tuple[float, float] | None = None
    values: tuple[float, float] | None = None
    settings: Mapping[str, Range] = field(default_factory=dict)

    def mask(self, trials: pd.DataFrame, operators: Sequence[frozenset[str]]) -> np.ndarray:
        """Which rows are asked for.

        Args:
            trials: as :data:`actsearch.report.COLUMNS`, with "size", where sizes are asked for, and a column for each
                hyperparameter that is.
            operators: those in the formula of each row.
        """
        kept = np.ones(len(trials), dtype=bool)
        for name, wanted in (("state", self.states), ("operation", self.operations)):
            if wanted:
                kept &= trials[name].isin(list(wanted)).to_numpy()
        ranges = {"size": self.sizes, "value": self.values, **self.settings}
        for name, bounds in ranges.items():
            if bounds is not None:
                kept &= trials[name].between(*bounds).to_numpy()
        if self.operators:
            needed = frozenset(self.operators)
            kept &= np.fromiter((needed <= used for used in operators), bool, len(trials))
        words = self.words.strip().lower()
        if words:
            contains = np.zeros(len(trials), dtype=bool)
            for name in _SEARCHED:
                contains |= np.fromiter((words in text.lower() for text in trials[name]), bool)
            kept &= contains
        return kept


def sort_trials(trials: pd.DataFrame, order: str, direction: str | None) -> pd.DataFrame:
    """Rows in one of :func:`all_orders`; those without what orders them last, of equal ones the earlier first."""
    names = [str(name) for name in trials.columns]
    name, descending = all_orders(names).get(order, ORDERS["trial"])
    if descending is None:
        descending = direction != "minimize"
    if order == "trial":
        return trials
    return trials.sort_values(name, ascending=not descending, kind="stable", na_position="last")


def hyperparameters(trials: pd.DataFrame) -> pd.DataFrame:
    """Numbers that rows of the catalog were set to, a column each by name; missing where a trial has none."""
    labels = trials["label"].where((trials["name"] != "") & (trials["groups"] == 1), "")
    found = pd.DataFrame({label: _read_settings(label) for label in labels.unique()}, dtype=float)
    return found.T.reindex(labels).set_axis(trials.index)


def setting_column(name: str) -> str:
    """A hyperparameter's column: a name may be one of the table's own."""
    return f"{name} (set)" if name in _TAKEN else name


def settings_of(trials: pd.DataFrame) -> pd.DataFrame:
    """:func:`hyperparameters`, without those that no trial is set to."""
    return hyperparameters(trials).dropna(axis="columns", how="all")


def with_settings(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with a column for each hyperparameter, see :func:`setting_column`."""
    return trials.join(hyperparameters(trials).rename(columns=setting_column))


@functools.lru_cache(maxsize=50_000)
def _read_settings(label: str) -> dict[str, float]:
    settings = {}
    for name, text in _SETTING.findall(label):
        with contextlib.suppress(ValueError):
            settings[name] = float(text)
    return settings


def all_orders(names: Sequence[str]) -> dict[str, tuple[str, bool | None]]:
    """:data:`ORDERS`, and by each of these hyperparameters."""
    more = {f"{name}, {end} first": (name, end == "largest") for name in names for end in _ENDS}
    return {**ORDERS, **more}


def values_by_frequency(column: pd.Series) -> list[str]:
    """The different texts of a column, the most frequent first."""
    return [str(text) for text in column.value_counts().index]
