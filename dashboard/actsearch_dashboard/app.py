"""The pages, and the study they share. Started by ``launch`` through ``entry/serve.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from actsearch.errors import ActsearchError
from actsearch_dashboard import state
from actsearch_dashboard.pages import (
    activation,
    compare,
    evolution,
    inside,
    leaderboard,
    playground,
    studies,
    study,
    trials,
)
from actsearch_dashboard.text import markdown

__all__ = ["main"]

_BOX = "study_box"
_FIRST = "studies"  # is at the bare address
_ICON = str(Path(__file__).with_name("icon.svg"))  # a named icon would be fetched from the net

_PAGES: dict[str, tuple[str, str, Callable[[], None]]] = {
    "studies": ("Studies", ":material/list:", studies.render),
    "study": ("Study", ":material/monitoring:", study.render),
    "leaderboard": ("Leaderboard", ":material/leaderboard:", leaderboard.render),
    "evolution": ("Evolution", ":material/account_tree:", evolution.render),
    "compare": ("Compare", ":material/compare_arrows:", compare.render),
    "trials": ("Trials", ":material/table:", trials.render),
    "activation": ("Activation", ":material/function:", activation.render),
    "inside": ("Inside the network", ":material/layers:", inside.render),
    "playground": ("Playground", ":material/science:", playground.render),
}


def main() -> None:
    """Draw the navigation, the box of studies, and the page that was asked for."""
    st.set_page_config(page_title="actsearch", page_icon=_ICON, layout="wide")
    pages = {
        path: st.Page(
            render,
            title=title,
            icon=icon,
            url_path=path if path != _FIRST else "",
            default=path == _FIRST,
        )
        for path, (title, icon, render) in _PAGES.items()
    }
    st.session_state[state.PAGES] = pages
    others = [
        st.Page(_candidate, title="Candidate", url_path="candidate", visibility="hidden"),
        st.Page(_studies, title="Studies", url_path="studies", visibility="hidden"),
    ]
    page = st.navigation([*pages.values(), *others])
    _study_box()
    page.run()


def _candidate() -> None:
    """Links to candidates that were kept lead on to where they are shown now."""
    state.go_to("activation", **{name: st.query_params[name] for name in st.query_params})


def _studies() -> None:
    """The first page has no name in the address, which people type nevertheless."""
    state.go_to("studies", **{name: st.query_params[name] for name in st.query_params})


def _study_box() -> None:
    """The study that all pages show. The page itself says what is wrong with the storage, if anything is."""
    try:
        opened = state.store()
        names = [item.name for item in opened.studies()]
    except ActsearchError:
        return
    if not names:
        return
    st.session_state[_BOX] = state.chosen_study(names)
    st.sidebar.selectbox("Study", names, key=_BOX, on_change=_take_box)
    st.sidebar.caption(f"{markdown(opened.name)}, read only")


def _take_box() -> None:
    state.remember_study(str(st.session_state[_BOX]))


if __name__ == "__main__":
    main()
