"""An activation as a function of one number."""

from __future__ import annotations

import plotly.graph_objects as go

from actsearch.records import ActivationRecord
from actsearch_dashboard.figures.common import laid_out
from actsearch_dashboard.palette import GREY

__all__ = ["function"]


def function(record: ActivationRecord, low: float = -6.0, high: float = 6.0) -> go.Figure:
    """The activation with its derivative; loads torch.

    Raises:
        ActsearchError: it cannot be read, or is not a function of one number.
    """
    from actsearch.export import plot

    drawn = plot(record, low, high)
    figure = go.Figure(drawn.data)  # without its template and title: ours follow the page's theme
    laid_out(figure, "x", "", 380)
    figure.add_hline(y=0, line_width=1, line_color=GREY)
    figure.add_vline(x=0, line_width=1, line_color=GREY)
    return figure
