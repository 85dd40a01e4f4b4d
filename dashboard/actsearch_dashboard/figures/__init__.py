"""Figures as pure functions of records. Nothing here knows Streamlit; all text from the database is escaped."""

from actsearch_dashboard.figures.function import function
from actsearch_dashboard.figures.history import DRAWN, history, robust_range, states
from actsearch_dashboard.figures.training import epoch_curves
from actsearch_dashboard.figures.verdicts import verdict_intervals

__all__ = [
    "DRAWN",
    "epoch_curves",
    "function",
    "history",
    "robust_range",
    "states",
    "verdict_intervals",
]
