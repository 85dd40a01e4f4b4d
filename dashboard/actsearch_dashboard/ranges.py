"""Boxes for the ends of ranges of numbers, kept in the address, and the same trials on another page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from actsearch_dashboard.filters import Range, setting_column, settings_of
from actsearch_dashboard.text import column_format, markdown, shorten

__all__ = ["SETTING", "choose_range", "choose_settings", "range_query"]

SETTING = "set_"
"""Begins the names of ranges of hyperparameters in the address of the page Trials, as in ``?set_alpha_low=0.5``."""


def choose_range(
    place: st.delta_generator.DeltaGenerator,
    label: str,
    values: np.ndarray,
    key: str,
    integers: bool = False,
) -> Range | None:
    """Two boxes for the ends of a range; None while nothing is asked for."""
    if not len(values) or values.min() == values.max():
        return None
    low, high = values.min().item(), values.max().item()
    first, second = place.columns(2, vertical_alignment="bottom")
    kind = {"step": 1} if integers else {"format": column_format(values)}
    least = first.number_input(
        markdown(label), value=None, placeholder=f"{low:.4g}", key=f"{key}_low", bind="query-params", **kind
    )  # fmt: skip
    most = second.number_input(
        "and", value=None, placeholder=f"{high:.4g}", key=f"{key}_high", bind="query-params", **kind
    )  # fmt: skip
    if least is None and most is None:
        return None
    return (-np.inf if least is None else least, np.inf if most is None else most)


def choose_settings(
    places: Sequence[st.delta_generator.DeltaGenerator],
    trials: pd.DataFrame,
    prefix: str,
    names: Sequence[str] | None = None,
) -> dict[str, Range]:
    """The ranges of hyperparameters, by the names of their columns.

    Args:
        places: where the boxes stand, in turn.
        trials: of the study.
        prefix: of the keys.
        names: of the hyperparameters; None for all.
    """
    chosen = {}
    found = settings_of(trials)
    for at, name in enumerate(map(str, found) if names is None else names):
        values = found[name].dropna().to_numpy()
        place = places[at % len(places)]
        column = setting_column(name)
        label = f"{shorten(column, 20)} between"
        if (bounds := choose_range(place, label, values, f"{prefix}{name}")) is not None:
            chosen[column] = bounds
    return chosen


def range_query(key: str, bounds: Range | None) -> Mapping[str, str]:
    """What an address says of a range, so that the boxes of :func:`choose_range` show it."""
    ends = zip(("low", "high"), bounds or (), strict=False)
    return {f"{key}_{end}": repr(float(value)) for end, value in ends if np.isfinite(value)}
