"""Getting ready for the first browser before it asks: the newest study, and the process that loads torch."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time

from streamlit import runtime

from actsearch.errors import ActsearchError
from actsearch_dashboard import function_client
from actsearch_dashboard.arguments import requested_storage_url

__all__ = ["get_ready"]

_PATIENCE = 30.0  # seconds in which the server must have begun, however busy the machine is


def get_ready() -> None:
    """Do what takes time while the browser still starts and loads what Streamlit sends it; returns at once."""
    function_client.start()
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
