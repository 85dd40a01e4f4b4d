"""``python -m actsearch_dashboard.server run ...``: Streamlit's own command line, with what the pages need loaded.

Streamlit runs a page's imports when the first browser asks: whoever opens the dashboard would wait for them then.
"""

from __future__ import annotations

import pandas  # noqa: F401
import plotly.graph_objects  # noqa: F401
from streamlit.web.cli import main

import actsearch.catalog
import actsearch.report  # noqa: F401

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="streamlit")
