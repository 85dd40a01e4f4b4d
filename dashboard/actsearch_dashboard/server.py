"""``python -m actsearch_dashboard.server run ...``: Streamlit's own command line, with what the pages need loaded.

Streamlit runs a page's imports when the first browser asks: whoever opens the dashboard would wait for them then.
"""

from __future__ import annotations

import gc
import inspect

import pandas  # noqa: F401
import plotly.graph_objects  # noqa: F401
from streamlit.web.cli import main

import actsearch.catalog
import actsearch.report  # noqa: F401
from actsearch_dashboard import ahead, figures, optuna_figures  # noqa: F401

__all__ = ["main"]

if __name__ == "__main__":
    # With the first element of all, Streamlit asks who called it: half a second, unless the modules' paths are known.
    inspect.stack()
    gc.freeze()  # or all that was loaded is looked through for garbage after each run of a page
    ahead.read_newest()
    main(prog_name="streamlit")
