"""What is looked at: kept in the address (``?study=...&trial=...``), so that links can be shared and reloaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec

import streamlit as st

from actsearch.errors import ActsearchError
from actsearch_dashboard import zoom
from actsearch_dashboard.arguments import requested_storage_url
from actsearch_dashboard.data import Store, StudyView, open_store
from actsearch_dashboard.text import markdown, shorten

__all__ = [
    "PAGES",
    "START",
    "requested_trial",
    "show_errors",
    "select_study",
    "current_study",
    "go_to",
    "live",
    "open_page",
    "live_list",
    "remember_study",
    "remember_trial",
    "store",
]

_STUDY, _TRIAL = "study", "trial"  # in the address and in the session
_LIVE = "is_live"  # in the session
_EVERY = 2.0  # seconds between two refreshes of a running study; drawing it takes a part of them
PAGES = "pages"
"""Key of the session under which the app keeps its pages."""

Arguments = ParamSpec("Arguments")


def show_errors(body: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Show an error of ours as a message that says what to do, not as a traceback."""

    @functools.wraps(body)
    def show(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            body(*args, **kwargs)
        except ActsearchError as error:
            st.error(markdown(error), icon=":material/error:")
            st.caption("Then reload this page.")

    return show


def store() -> Store:
    """The storage named on the command line; StorageError if it cannot be read."""
    return open_store(requested_storage_url())


def select_study(names: Sequence[str]) -> str | None:
    """The study asked for in the address or looked at last, else the newest.

    None if there is none, and where the address asks for one that is not there: what else it asks for, as a trial, is
    of that study and of no other.
    """
    asked = st.query_params.get(_STUDY)
    if asked:
        return asked if asked in names else None
    last = st.session_state.get(_STUDY)
    if last in names:
        return str(last)
    return names[-1] if names else None


def remember_study(name: str) -> None:
    """Put a study into the address and the session; another study's trial is forgotten."""
    if st.session_state.get(_STUDY, name) != name:
        st.session_state.pop(_TRIAL, None)
        st.query_params.pop(_TRIAL, None)
    st.session_state[_STUDY] = name
    if st.query_params.get(_STUDY) != name:
        st.query_params[_STUDY] = name


def requested_trial() -> str | None:
    """The trial asked for in the address or looked at last, as it was written."""
    text = st.query_params.get(_TRIAL) or st.session_state.get(_TRIAL)
    return None if text is None else str(text)


def remember_trial(number: int) -> None:
    """Put a trial into the address and the session."""
    st.session_state[_TRIAL] = str(number)
    if st.query_params.get(_TRIAL) != str(number):
        st.query_params[_TRIAL] = str(number)


def current_study() -> StudyView | None:
    """The study a page shows; without one, says what to do and returns None."""
    opened = store()
    names = [study.name for study in opened.studies()]
    if not names:
        st.info("This storage holds no study yet. Start one from Python:", icon=":material/info:")
        st.code(START, language="python")
        return None
    name = select_study(names)
    if name is None:
        st.header("No such study", anchor=False)
        asked = markdown(shorten(st.query_params[_STUDY]))
        st.warning(
            f"There is no study {asked} in {markdown(opened.name)}: it was deleted, or the link is of another storage. "
            "Choose one of those that are there.",
            icon=":material/search_off:",
        )
        return None
    remember_study(name)
    return opened.view(name)


START = """\
import actsearch as acs

study = acs.create_study(study_name="first", storage="sqlite:///studies/actsearch.db")
study.optimize(task, n_trials=100)  # task = acs.Task(model=..., train=..., valid=..., ...)
"""


def go_to(page: str, **query: str) -> None:
    """Switch to another page; where no page is registered, only the address changes."""
    pages = st.session_state.get(PAGES, {})
    st.session_state.update(query)
    if page in pages:
        st.switch_page(pages[page], query_params=query)
    st.query_params.update(query)


def open_page(page: str, query: Mapping[str, str | list[str]]) -> None:
    """Switch to another page with settings of its widgets in the address; the session is left to these."""
    pages = st.session_state.get(PAGES, {})
    if page in pages:
        st.switch_page(pages[page], query_params=dict(query))
    st.query_params.update(query)


def live(view: StudyView, body: Callable[[], None]) -> None:
    """Draw a page's body; while the study runs, again and again, until it is over or the reader switches it off."""
    _refresh(view.store, lambda: view.is_running, body)


def live_list(opened: Store, body: Callable[[], None]) -> None:
    """Draw the list of studies; while one of them runs, again and again."""
    _refresh(opened, lambda: any(item.is_running for item in opened.summaries()), body)


def _refresh(opened: Store, is_running: Callable[[], bool], body: Callable[[], None]) -> None:
    if not (is_running() and opened.reader.is_live):
        zoom.watch(live=False)
        body()
        return
    # what a widget says is forgotten with its page, and a reader means all of them
    st.session_state[_LIVE] = switched_on = st.toggle(
        "Refresh live", value=st.session_state.get(_LIVE, True), key="live"
    )

    @show_errors
    def again() -> None:
        if not is_running():
            st.rerun()  # the whole page, once: over
        zoom.watch(live=True)
        body()

    st.fragment(again, run_every=_EVERY if switched_on else None)()
