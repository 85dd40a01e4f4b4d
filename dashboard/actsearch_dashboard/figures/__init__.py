"""Figures as pure functions of records. Nothing here knows Streamlit; all text from the database is escaped."""

from actsearch_dashboard.figures.function import function, normal_shares
from actsearch_dashboard.figures.history import DRAWN, history, robust_range, states
from actsearch_dashboard.figures.inputs import learned_numbers, parameters_of, ridges
from actsearch_dashboard.figures.inside import MEASURES, Seen, by_depth, heat_strip
from actsearch_dashboard.figures.training import epoch_curves
from actsearch_dashboard.figures.verdicts import verdict_intervals

__all__ = [
    "DRAWN",
    "MEASURES",
    "Seen",
    "by_depth",
    "epoch_curves",
    "function",
    "heat_strip",
    "history",
    "learned_numbers",
    "normal_shares",
    "parameters_of",
    "ridges",
    "robust_range",
    "states",
    "verdict_intervals",
]
