"""Reading the newest study before the first browser asks for it."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time

from streamlit import runtime

from actsearch.errors import ActsearchError
from actsearch_dashboard.arguments import requested_storage_url

__all__ = ["read_newest"]

_PATIENCE = 30.0  # seconds in which the server must have begun, however busy the machine is


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
    from actsearch_dashboard.data import open_store

    with contextlib.suppress(ActsearchError):  # the page will say what is wrong
        store = open_store(requested_storage_url())
        store.summaries()
        if studies := store.studies():
            store.view(studies[-1].name).frame()
