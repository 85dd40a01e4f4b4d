"""Ranges beside the parallel coordinates: they narrow the figure, and open the same trials as a table.

Dragging ranges along the axes ("brushing") is not used: Optuna 5 draws the figure as plain lines, which have no such
ranges; Plotly's own parallel coordinates, which older versions of Optuna use, have them, but tell of them by a restyle,
and Streamlit (1.67) hands on chosen points, boxes and lassos alone. What is brushed never reaches Python. Boxes say the
same, to the digit and from the keyboard too, and the address keeps them.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from actsearch_dashboard.data import StudyView
from actsearch_dashboard.filters import (
    TRAINED,
    Filters,
    setting_column,
    settings_of,
    with_settings,
)
from actsearch_dashboard.ranges import SETTING, choose_range, choose_settings, range_query
from actsearch_dashboard.state import open_page
from actsearch_dashboard.text import say_count, shorten

__all__ = ["narrow"]

_MOST = 8  # hyperparameters, as many as the figure has axes for
_PREFIX = "only_"


def narrow(view: StudyView, objective: int) -> tuple[int, ...] | None:
    """Ranges of the value and of hyperparameters, and a way to the page Trials; the trials left, or None for all.

    Args:
        view: of the study.
        objective: which one the figure shows; ranges of values are of the first, as those of the page Trials.
    """
    frame = view.frame()
    trained = frame[frame["state"].isin(TRAINED)]
    settings = settings_of(trained)
    names = [
        str(name) for name in settings.count().sort_values(ascending=False, kind="stable").index
    ]
    finite = trained["value"].to_numpy()
    finite = finite[np.isfinite(finite)]
    with st.expander("Only trials with", icon=":material/filter_list:"):
        places = st.columns(2)
        values = None
        if not objective:
            label = f"{shorten(view.metric, 20)} between"
            values = choose_range(places[0], label, finite, f"{_PREFIX}values")
        chosen = choose_settings(places[::-1], trained, _PREFIX + SETTING, names[:_MOST])
    if values is None and not chosen:
        return None
    filters = Filters(TRAINED, values=values, settings=chosen)
    left = trained["number"][filters.mask(with_settings(trained), ())]
    query = {"study": view.record.name, **range_query("values", values)}
    for name in names[:_MOST]:
        query.update(range_query(SETTING + name, chosen.get(setting_column(name))))
    if st.button(
        f"Show {'this' if len(left) == 1 else 'these'} {say_count(len(left), 'trial')}",
        icon=":material/table:",
        key="show narrowed",
    ):
        open_page("trials", {**query, "states": [*TRAINED]})
    return tuple(int(number) for number in left)
