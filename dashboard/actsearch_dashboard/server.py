"""The Streamlit server, with what the pages need loaded, and with no settings but ours.

Streamlit runs a page's imports when the first browser asks: its reader would wait for them then.
"""

from __future__ import annotations

import gc
import inspect
import os
from pathlib import Path
from typing import Any

import pandas  # noqa: F401
import plotly.graph_objects  # noqa: F401
from streamlit import config, net_util
from streamlit.components.v2 import manifest_scanner
from streamlit.web import bootstrap

import actsearch.activation_catalog
import actsearch.report  # noqa: F401
from actsearch_dashboard import (
    figures,  # noqa: F401
    optuna_figures,  # noqa: F401
    preload,
    same_origin,
)
from actsearch_dashboard.palette import ACCENT

__all__ = ["serve", "settings"]

_SCRIPT = str(Path(__file__).parent / "entry" / "serve.py")


def settings(address: str, port: int, open_browser: bool, base_path: str = "") -> dict[str, Any]:
    """What is set of Streamlit's options; each of them matters even if it is the default of some version."""
    return {
        "server.address": address,
        "server.port": port,
        "server.baseUrlPath": base_path,
        "server.headless": not open_browser,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.corsAllowedOrigins": [],
        "server.allowedHosts": [address, "localhost"],  # against DNS rebinding
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.disableDataExport": True,  # its CSV does not escape what a spreadsheet takes for a formula, ours does
        "logger.hideWelcomeMessage": True,  # and an advertisement over the right corner of each page
        "runner.magicEnabled": False,
        "theme.light.primaryColor": ACCENT[
            "light"
        ],  # Streamlit's red would be a colour without a meaning
        "theme.dark.primaryColor": ACCENT["dark"],
    }


def serve(
    storage_url: str, address: str, port: int, open_browser: bool, base_path: str = ""
) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code. Only in the main thread.

    Args:
        storage_url: what to show.
        address: where to listen.
        port: likewise.
        open_browser: open a browser window.
        base_path: serve below this path.
    """
    _close_doors()
    chosen = settings(address, port, open_browser, base_path)
    same_origin.install(chosen["server.allowedHosts"])
    known = getattr(config, "_config_options_template", chosen)  # an older Streamlit lacks some
    bootstrap.load_config_options({name: chosen[name] for name in chosen if name in known})
    # With the first element of all, Streamlit inspects the stack: half a second, unless the modules' paths are known.
    inspect.stack()
    gc.freeze()  # or all that was loaded is looked through for garbage after each run of a page
    preload.read_newest()
    try:
        bootstrap.run(_SCRIPT, False, [storage_url], {})
    except SystemExit as ended:  # the port is taken: said by Streamlit
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _close_doors() -> None:
    """Ignore settings and components for other Streamlit apps, and ask no server outside for this machine's address.

    A user's setting may load fonts or a theme from elsewhere, switch usage statistics on, or let other origins in.
    Streamlit compares a foreign Origin with the addresses of this machine, and asks a server outside for one of them.
    It reads the metadata of all installed packages for components, whose files it would serve: a quarter of a second.
    """
    for name in [name for name in os.environ if name.startswith("STREAMLIT_")]:
        del os.environ[name]
    vars(config).update(get_config_files=lambda _name: [])
    vars(net_util).update(get_internal_ip=lambda: None, get_external_ip=lambda: None)
    vars(manifest_scanner).update(scan_component_manifests=lambda: [])
