"""How well a model answers: metrics by name, a user's own, and how outputs and targets are read."""

from actsearch.task.metrics.convention import PLAIN, Convention
from actsearch.task.metrics.metric import Accumulator, Direction, Metric
from actsearch.task.metrics.table import METRICS, is_known_metric, named_metric, resolve_metric

__all__ = [
    "METRICS",
    "PLAIN",
    "Accumulator",
    "Convention",
    "Direction",
    "Metric",
    "is_known_metric",
    "named_metric",
    "resolve_metric",
]
