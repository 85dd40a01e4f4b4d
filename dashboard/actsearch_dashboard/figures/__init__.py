"""Figures as pure functions of records. Nothing here knows Streamlit; all text from the database is escaped."""

from actsearch_dashboard.figures.common import robust_range
from actsearch_dashboard.figures.compare import (
    best_over,
    common_scores,
    distribution,
    functions,
    median_curves,
    paired,
    progress,
    verdict_scores,
)
from actsearch_dashboard.figures.descent import (
    Ancestor,
    Ancestry,
    ancestry,
    ancestry_figure,
    operation_shares,
    operations,
)
from actsearch_dashboard.figures.function import function, normal_shares
from actsearch_dashboard.figures.generations import (
    batches,
    diversity,
    ended,
    generation_values,
    generations,
    operator_heat,
    operator_use,
)
from actsearch_dashboard.figures.history import DRAWN, history, states
from actsearch_dashboard.figures.inputs import learned_numbers, parameters_of, ridges
from actsearch_dashboard.figures.inside import MEASURES, LabelledDiagnostics, by_depth, heat_strip
from actsearch_dashboard.figures.thumbnails import thumbnail
from actsearch_dashboard.figures.tradeoff import on_front, tradeoff
from actsearch_dashboard.figures.training import epoch_curves
from actsearch_dashboard.figures.verdicts import verdict_intervals

__all__ = [
    "Ancestor",
    "Ancestry",
    "DRAWN",
    "MEASURES",
    "LabelledDiagnostics",
    "ancestry",
    "ancestry_figure",
    "batches",
    "best_over",
    "by_depth",
    "common_scores",
    "distribution",
    "diversity",
    "ended",
    "epoch_curves",
    "function",
    "functions",
    "generation_values",
    "generations",
    "heat_strip",
    "history",
    "learned_numbers",
    "median_curves",
    "normal_shares",
    "on_front",
    "operation_shares",
    "operations",
    "operator_heat",
    "operator_use",
    "paired",
    "parameters_of",
    "progress",
    "ridges",
    "robust_range",
    "states",
    "thumbnail",
    "tradeoff",
    "verdict_intervals",
    "verdict_scores",
]
