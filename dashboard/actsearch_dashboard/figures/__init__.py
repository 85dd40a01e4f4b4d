"""Figures as pure functions of records. Nothing here knows Streamlit; all text from the database is escaped."""

from actsearch_dashboard.figures.benchmark import rank_heat, rank_panels, task_correlations
from actsearch_dashboard.figures.common import is_steep, orders_of_magnitude, robust_range
from actsearch_dashboard.figures.compare import (
    best_so_far,
    best_so_far_steps,
    common_scores,
    distribution,
    functions,
    median_curves,
    paired_differences,
    verdict_scores,
)
from actsearch_dashboard.figures.curve import function, normal_histogram
from actsearch_dashboard.figures.descent import (
    Ancestry,
    ancestry,
    ancestry_figure,
    operation_shares,
    operations,
)
from actsearch_dashboard.figures.evolution import (
    batches,
    finished_generations,
    generation_values,
    generations,
    novelty,
    operator_heat,
    operator_use,
)
from actsearch_dashboard.figures.inputs import learned_parameters, parameter_names, ridges
from actsearch_dashboard.figures.inside import MEASURES, LabelledDiagnostics, by_depth, heat_strip
from actsearch_dashboard.figures.pareto import pareto_mask, tradeoff
from actsearch_dashboard.figures.progress import DRAWN, history, states
from actsearch_dashboard.figures.shape import learned_shape
from actsearch_dashboard.figures.thumbnails import thumbnail
from actsearch_dashboard.figures.training import epoch_curves
from actsearch_dashboard.figures.verdicts import verdict_intervals

__all__ = [
    "Ancestry",
    "DRAWN",
    "MEASURES",
    "LabelledDiagnostics",
    "ancestry",
    "ancestry_figure",
    "batches",
    "best_so_far",
    "by_depth",
    "is_steep",
    "orders_of_magnitude",
    "common_scores",
    "distribution",
    "novelty",
    "finished_generations",
    "epoch_curves",
    "function",
    "functions",
    "generation_values",
    "generations",
    "heat_strip",
    "history",
    "learned_parameters",
    "learned_shape",
    "median_curves",
    "normal_histogram",
    "pareto_mask",
    "operation_shares",
    "operations",
    "operator_heat",
    "operator_use",
    "paired_differences",
    "parameter_names",
    "best_so_far_steps",
    "rank_heat",
    "rank_panels",
    "ridges",
    "robust_range",
    "states",
    "task_correlations",
    "thumbnail",
    "tradeoff",
    "verdict_intervals",
    "verdict_scores",
]
