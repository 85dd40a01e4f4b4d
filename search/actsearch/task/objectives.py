"""What a task can be optimised for besides its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actsearch.checks import check_known
from actsearch.errors import TaskError
from actsearch.task.metrics import METRICS, Direction, Metric

__all__ = ["DIAGNOSED", "MEASURED", "check_objectives", "direction_of"]

MEASURED: dict[str, Direction | None] = {
    "latency": "minimize",
    "size": "minimize",
    "parameters": "minimize",
    "sparsity": None,
    "gradient_ratio": "maximize",
}
"""Objectives that are no metric, with their own direction.

latency: time of the placed activations, forward and backward, as a multiple of ReLU's at the same shapes. size: nodes
of the formulas. parameters: learned numbers added to the model. sparsity: share of zeros after training.
gradient_ratio: the smaller of first / last and last / first gradient norm after training: 1 where they are even.
"""

DIAGNOSED = ("latency", "sparsity", "gradient_ratio")
"""Those that need the task's diagnostics."""


def check_objectives(
    objectives: Any, metric: Metric, *, has_evaluate: bool, diagnostics: bool
) -> tuple[str, ...]:
    """The names of a task's objectives.

    Raises:
        TaskError: they are no names, repeat each other, cannot be measured, or do not begin with the metric.
    """
    if isinstance(objectives, str) or not isinstance(objectives, Sequence) or not objectives:
        raise TaskError(
            f"objectives must be names, as ({metric.name!r}, 'latency'), not {objectives!r}"
        )
    names = tuple(objectives)
    known = {*METRICS, *MEASURED, metric.name}
    for name in names:
        if not isinstance(name, str) or (name not in known and not has_evaluate):
            check_known("objective", name, known, TaskError)
    if len(set(names)) < len(names):
        raise TaskError(f"objectives name one twice: {', '.join(names)}")
    if names[0] != metric.name:
        raise TaskError(
            f"the first objective is the one that is confirmed, and must be the metric {metric.name}, "
            f"not {names[0]}; say metric={names[0]!r}, or put {metric.name} first"
        )
    needing = [name for name in names if name in DIAGNOSED]
    if needing and not diagnostics:
        raise TaskError(f"objective {needing[0]!r} is measured by diagnostics: leave them on")
    return names


def direction_of(name: str) -> Direction | None:
    """An objective's own direction; None where the user has to say it."""
    return (
        MEASURED[name]
        if name in MEASURED
        else METRICS[name].direction
        if name in METRICS
        else None
    )
