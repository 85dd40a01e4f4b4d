"""A click anywhere on a row of a table takes the row, as one on its box does.

Streamlit (1.67 and before) selects a row by its box alone. Its selection of cells does not help: a cell is selected by
every arrow key as well, and by a hit of the table's search, so that nobody could walk through a table by keyboard or
copy a cell. So a component without anything to see hands a click of the pointer on to the box of its row.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import streamlit as st

__all__ = ["watch"]

_SCRIPT = """
const BOXES = 36, HEADER = 36;  // pixels at the left and at the top of a table

export default function ({ data }) {
    const take = event => {
        if (!event.isTrusted || event.detail !== 1 || event.button !== 0) return;
        const cells = event.target.closest('.dvn-scroller');  // and not a button or the search above them
        const canvas = cells && cells.closest('.' + CSS.escape(data.table))?.querySelector('canvas');
        if (!canvas) return;
        const place = canvas.getBoundingClientRect();
        if (event.clientX - place.left < BOXES || event.clientY - place.top < HEADER) return;
        const at = {bubbles: true, cancelable: true, composed: true, view: window, button: 0, detail: 1, pointerId: 1,
                    pointerType: 'mouse', isPrimary: true, clientX: place.left + BOXES / 2, clientY: event.clientY};
        setTimeout(() => {  // when the table has done what it does with the click itself
            for (const name of ['pointermove', 'pointerdown', 'pointerup', 'click'])
                event.target.dispatchEvent(new PointerEvent(name, {...at, buttons: Number(name === 'pointerdown')}));
        }, 0);
    };
    document.addEventListener('click', take);
    return () => document.removeEventListener('click', take);
}
"""


@functools.cache
def _component() -> Any:
    return st.components.v2.component("actsearch_row_clicks", js=_SCRIPT)


def watch(key: str) -> None:
    """Hand clicks on.

    Args:
        key: of the table.
    """
    name = "st-key-" + re.sub(
        r"[^a-zA-Z0-9_-]", "-", key
    )  # the class that Streamlit gives its element
    _component()(key=f"clicks on {key}", height=1, data={"table": name})
