"""What is done before anybody asks for it: reading the newest study, loading torch."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import threading
import time

from streamlit import runtime

from actsearch.errors import ActsearchError

__all__ = ["is_loaded", "load_torch", "read_newest"]

_PATIENCE = 30.0  # seconds in which the server must have begun
_DRAWING = {"actsearch.export": "to_python", "actsearch.screening": "screen"}
"""Modules that load torch, with something each of them has when it is there."""


def read_newest() -> None:
    """While the browser still loads what Streamlit sends it, read what it will ask for, in a thread."""
    threading.Thread(target=_read_newest, daemon=True).start()


def _read_newest() -> None:
    until = time.monotonic() + _PATIENCE
    while not runtime.exists():  # without it there are no caches
        if time.monotonic() > until:
            return
        time.sleep(0.05)
    importlib.import_module("actsearch_dashboard.app")
    from actsearch_dashboard.data import open_store, storage_url

    with contextlib.suppress(ActsearchError):  # the page will say what is wrong
        store = open_store(storage_url())
        store.summaries()
        if studies := store.studies():
            store.view(studies[-1].name).frame()


def is_loaded() -> bool:
    """Whether torch and what needs it are there."""
    return all(hasattr(sys.modules.get(name), part) for name, part in _DRAWING.items())


def load_torch(after: float) -> None:
    """Load what draws functions, which takes seconds, in a thread.

    Args:
        after: seconds until then; work at once would keep the page from being sent.
    """
    timer = threading.Timer(after, _load_torch)
    timer.daemon = True
    timer.start()


def _load_torch() -> None:
    for name in _DRAWING:
        importlib.import_module(name)
    # Streamlit collects garbage after each run of a page, and what torch loads would be looked through each time: that
    # took two thirds of a refresh
    gc.collect()
    gc.freeze()
