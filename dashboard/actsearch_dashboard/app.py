"""The pages, and the study they share. Started by ``launch`` through ``entry/serve.py``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from actsearch.errors import ActsearchError
from actsearch_dashboard import state
from actsearch_dashboard.text import markdown, one_line

__all__ = ["PAGES", "main"]

_BOX = "study_box"
_ICON = str(Path(__file__).with_name("icon.svg"))  # a named icon would be fetched from the net
_STYLE = """<style>
[data-testid="stButtonGroup"] button:is([data-selected], [kind$="Active"]) {
    color: inherit !important;
    font-weight: 600;
}
[data-testid="stCode"] .token:is(.comment, .punctuation, .string, .triple-quoted-string, .class-name, .operator) {
    color: inherit;
}
@media print, (max-width: 1000px) {
    .modebar-container { display: none; }
}
@media (max-width: 1000px) {
    [data-testid="stColumn"] { min-width: calc(100% - 1.5rem); }
}
@media print {
    [data-testid="stSidebar"] { display: none; }
    [data-testid="stMain"] { zoom: var(--on-paper, 0.5); }
}
</style>
<script>
if (!window.fitsPaper) {
    window.fitsPaper = true;
    addEventListener('beforeprint', () => {
        const main = document.querySelector('[data-testid=stMainBlockContainer]');
        const root = document.documentElement.style;
        if (main) root.setProperty('--on-paper', Math.min(1, PAPER / main.clientWidth));
    });
}
</script>""".replace("PAPER", "700")
"""Where Streamlit's colours for text have a contrast below 4.5, the page's own is taken. Plotly's buttons would cover
the legend of a narrow figure, and columns beside the sidebar leave none its width. Figures are as wide as the window,
and would be cut off where paper is narrower: 700 pixels are A4 and Letter without margins."""

_WITHOUT_STUDY = ("studies", "benchmark")
_ELSEWHERE = {"candidate": "activation", "studies": "studies"}
"""Addresses that are not pages, and the pages they lead to: an old name, and that of the page at the bare address."""

PAGES = (
    "studies",
    "study",
    "leaderboard",
    "evolution",
    "compare",
    "trials",
    "activation",
    "inside",
    "playground",
    "benchmark",
)
"""Modules in ``pages/`` in the order of the navigation, each with ``TITLE``, ``ICON`` and ``render``."""


def main() -> None:
    """Draw the navigation, the box of studies, and the page that was asked for."""
    st.set_page_config(page_title="actsearch", page_icon=_ICON, layout="wide")
    pages = {name: _page(name) for name in PAGES}
    st.session_state[state.PAGES] = pages
    hidden = [
        st.Page(_redirect(page), title=name, url_path=name, visibility="hidden")
        for name, page in _ELSEWHERE.items()
    ]
    st.html(_STYLE, unsafe_allow_javascript=True)
    page = st.navigation([*pages.values(), *hidden], position="hidden")
    # before the box: what it changes is known in the next run, which its own callback begins
    study = _study()
    for name, shown in pages.items():
        query = {} if study is None or name in _WITHOUT_STUDY else {"study": study}
        st.sidebar.page_link(shown, query_params=query)
    st.sidebar.space("small")
    _study_box(study)
    words = (
        [page.title] if study is None or page == pages[PAGES[0]] else [page.title, one_line(study)]
    )
    st.set_page_config(page_title=" · ".join([*words, "actsearch"]))
    page.run()


def _page(name: str) -> Any:
    module: Any = importlib.import_module(f"actsearch_dashboard.pages.{name}")
    is_first = name == PAGES[0]
    return st.Page(
        module.render,
        title=module.TITLE,
        icon=f":material/{module.ICON}:",
        url_path="" if is_first else name,
        default=is_first,
    )


def _redirect(page: str) -> Callable[[], None]:
    return lambda: state.go_to(page, **st.query_params.to_dict())


def _study() -> str | None:
    """The study that all pages show: links carry it, so that a new tab shows the same."""
    try:
        return state.select_study([item.name for item in state.store().studies()])
    except ActsearchError:
        return None


def _study_box(study: str | None) -> None:
    """Where another study is chosen. The page itself says what is wrong with the storage, if anything is."""
    try:
        opened = state.store()
        names = [item.name for item in opened.studies()]
    except ActsearchError:
        return
    if not names:
        return
    st.session_state[_BOX] = study
    st.sidebar.selectbox(
        "Study",
        names,
        index=None if study is None else 0,
        key=_BOX,
        on_change=_apply_choice,
        placeholder="choose a study",
    )
    st.sidebar.caption(f"{markdown(opened.name)}, read only")


def _apply_choice() -> None:
    if st.session_state[_BOX]:
        state.remember_study(str(st.session_state[_BOX]))


if __name__ == "__main__":
    main()
