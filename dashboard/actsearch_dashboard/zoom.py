"""What a reader zoomed in on stays so while the figures of a running study are drawn anew.

Plotly keeps the reader's view as long as a figure's ``uirevision`` is the same, but Streamlit (1.67 and before) makes
the identity of a chart from its data, whatever its ``key``: with each new trial it throws the old chart away and mounts
another, which knows of no view. So a component without anything to see tells the views to the page's script, and where
the data have changed the figure is drawn with them. Where they have not, it is the same chart, and stays as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import streamlit as st

__all__ = ["keep_view", "revision", "watch"]

_KEY, _STATE = "watched_views", "views"  # of the component
_VIEWS, _DRAWN = "reader_views", "drawn_figures"  # in the session
_AXIS = re.compile(r"[xy]axis\d*").fullmatch

_SCRIPT = """
const views = {};
const watched = new WeakSet();
let tell = () => {};

const range = axis => [...((axis && axis.range) || [])];

function watch(graph) {
    const name = graph.layout.uirevision;
    const first = {};
    for (const axis of Object.keys(graph.layout))
        if (/^[xy]axis[0-9]*$/.test(axis)) first[axis] = String(range(graph.layout[axis]));
    graph.on('plotly_relayout', changes => {
        const axes = new Set();
        for (const change of Object.keys(changes)) {
            const found = /^([xy]axis[0-9]*)[.](range|autorange)/.exec(change);
            if (found) axes.add(found[1]);
        }
        if (!axes.size) return;
        const view = {...(views[name] || {})};
        for (const axis of axes) {
            const now = range(graph.layout[axis]);
            if (changes[axis + '.autorange'] || String(now) === first[axis]) delete view[axis];
            else view[axis] = now;
        }
        if (Object.keys(view).length) views[name] = view;
        else delete views[name];
        tell();
    });
}

export default function ({ setStateValue }) {
    tell = () => setStateValue('views', {...views});
    const look = () => {
        for (const graph of document.querySelectorAll('.js-plotly-plot'))
            if (!watched.has(graph) && graph.on && graph.layout && graph.layout.uirevision) {
                watched.add(graph);
                watch(graph);
            }
    };
    const timer = setInterval(look, 200);
    return () => clearInterval(timer);
}
"""


@functools.cache
def _component() -> Any:
    return st.components.v2.component("actsearch_views", js=_SCRIPT)


def watch(*, live: bool) -> None:
    """Learn what the reader zooms in on; called before figures, where a study runs or has run before the reader's eyes.

    Args:
        live: whether the page refreshes by itself.
    """
    if not live and _DRAWN not in st.session_state:
        return
    st.session_state.setdefault(_DRAWN, {})
    told = _component()(key=_KEY, height=1, on_views_change=lambda: None)
    if (views := told.get(_STATE)) is not None:
        st.session_state[_VIEWS] = views


def revision(figure: Any, key: str) -> str:
    """The name of what a figure shows, the same after each refresh: of another study, or on other axes, another."""
    study = st.session_state.get("study", "")
    kinds = [figure.layout[axis].type or "" for axis in figure.layout if _AXIS(axis)]
    return " ".join(filter(None, [key, str(study), *kinds]))


def keep_view(figure: Any, key: str) -> None:
    """Draw a figure as the reader looked at it, if it has other data than before."""
    name = revision(figure, key)
    figure.update_layout(uirevision=name)
    drawn = st.session_state.get(_DRAWN)
    if drawn is None:
        return
    views = st.session_state.get(_VIEWS)
    view = views.get(name) if isinstance(views, Mapping) else None
    data = hash(figure.to_json())
    data_before, view_before = drawn.get(name, (None, None))
    if data == data_before and not (view_before and not view):
        view = view_before  # what is on the screen stays, and with it a text beside the pointer
    drawn[name] = data, view
    for axis, ends in (view or {}).items():
        if _AXIS(str(axis)) and axis in figure.layout and _is_range(ends):
            figure.layout[axis].update(range=list(ends), autorange=False)


def _is_range(ends: Any) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and all(map(_is_place, ends))


def _is_place(end: Any) -> bool:
    return isinstance(end, str | int | float)
