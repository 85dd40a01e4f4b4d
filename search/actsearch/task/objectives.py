"""What a task can be optimised for besides its metrics: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from torch import nn

from actsearch.checks import check_known
from actsearch.errors import TaskError
from actsearch.records import CandidateRecord, Diagnostics
from actsearch.task.metrics import METRICS, Direction, Metric, is_known_metric, named_metric

__all__ = [
    "MEASURED",
    "TrainedCandidate",
    "check_objectives",
    "default_direction",
]


class TrainedCandidate(Protocol):
    """What an objective can be measured on, once a candidate was trained under one seed."""

    @property
    def record(self) -> CandidateRecord:
        """The candidate."""

    @property
    def diagnostics(self) -> Diagnostics | None:
        """What was seen inside of its training; None where the model allows none."""

    @property
    def formula_size(self) -> int:
        """Nodes of its formulas."""

    @property
    def relative_latency(self) -> float:
        """Time of its activations as they stand in the model, forward and backward, as a multiple of ReLU's."""

    @property
    def int8_error(self) -> float:
        """Largest error of its int8 tables on the recorded inputs, in output codes."""

    @property
    def hinges(self) -> float:
        """Hinges with an error of at most .01 on the recorded inputs; 33 where 32 are not enough."""

    @property
    def saved_bytes(self) -> float:
        """Bytes that autograd keeps of its activations for the backward pass, as they stand in the model."""

    def model(self) -> nn.Module:
        """The task's model with its activations, built anew: not trained, on the task's device."""


@dataclass(frozen=True)
class MeasuredObjective:
    """One row: an objective that is not a metric of the validation data.

    Attributes:
        name: as in ``Task(objectives=...)``.
        direction: its own; None where the user has to set it.
        measure: its value for a trained candidate; None where it cannot be had.
        per_seed: whether each training has its own value; else the first one's serves for all.
        needs_diagnostics: whether the task's diagnostics have to be on.
        is_timed: whether it measures time, so that another run does not come to the same trials.
    """

    name: str
    direction: Direction | None
    measure: Callable[[TrainedCandidate], float | None]
    per_seed: bool = False
    needs_diagnostics: bool = False
    is_timed: bool = False


def _parameters(trained: TrainedCandidate) -> float | None:
    """Learned numbers added to the model."""
    added = None if trained.diagnostics is None else trained.diagnostics.parameters_added
    return None if added is None else float(added)


def _sparsity(trained: TrainedCandidate) -> float | None:
    """Share of zeros after training; some want few, some many."""
    return None if trained.diagnostics is None else trained.diagnostics.sparsity


def _evenness(trained: TrainedCandidate) -> float | None:
    """The smaller of first / last and last / first gradient norm after training: 1 where they are even."""
    ratio = None if trained.diagnostics is None else trained.diagnostics.gradient_ratio
    return ratio if not ratio else min(ratio, 1 / ratio)


MEASURED: Mapping[str, MeasuredObjective] = MappingProxyType(
    {
        row.name: row
        for row in (
            MeasuredObjective(
                "latency", "minimize", lambda trained: trained.relative_latency,
                needs_diagnostics=True, is_timed=True,
            ),
            MeasuredObjective("size", "minimize", lambda trained: float(trained.formula_size)),
            MeasuredObjective(
                "parameters", "minimize", _parameters, per_seed=True, needs_diagnostics=True
            ),
            MeasuredObjective(
                "int8_error", "minimize", lambda trained: trained.int8_error,
                per_seed=True, needs_diagnostics=True,
            ),
            MeasuredObjective(
                "hinges", "minimize", lambda trained: trained.hinges,
                per_seed=True, needs_diagnostics=True,
            ),
            MeasuredObjective(
                "saved_bytes", "minimize", lambda trained: trained.saved_bytes,
                needs_diagnostics=True,
            ),
            MeasuredObjective(
                "sparsity", None, _sparsity, per_seed=True, needs_diagnostics=True
            ),
            MeasuredObjective(
                "gradient_ratio", "maximize", _evenness, per_seed=True, needs_diagnostics=True
            ),
        )
    }
)  # fmt: skip
"""Objectives that are not metrics, by name."""


def check_objectives(
    objectives: Any, metric: Metric, *, has_evaluate: bool, diagnostics: bool
) -> tuple[str, ...]:
    """The names of a task's objectives.

    Raises:
        TaskError: they are not names, repeat each other, cannot be measured, or do not begin with the metric.
    """
    if isinstance(objectives, str) or not isinstance(objectives, Sequence) or not objectives:
        raise TaskError(
            f"objectives must be names, as ({metric.name!r}, 'latency'), not {objectives!r}"
        )
    names = tuple(objectives)
    known = {*METRICS, *MEASURED, metric.name}
    for name in names:
        if not isinstance(name, str) or (
            name not in known and not is_known_metric(name) and not has_evaluate
        ):
            check_known("objective", name, known, TaskError)
    if len(set(names)) < len(names):
        raise TaskError(f"objectives name one twice: {', '.join(names)}")
    if names[0] != metric.name:
        raise TaskError(
            f"the first objective is the one that is confirmed, and must be the metric {metric.name}, "
            f"not {names[0]}; say metric={names[0]!r}, or put {metric.name} first"
        )
    needing = [name for name in names if name in MEASURED and MEASURED[name].needs_diagnostics]
    if needing and not diagnostics:
        raise TaskError(f"objective {needing[0]!r} is measured by diagnostics: leave them on")
    return names


def default_direction(name: str) -> Direction | None:
    """An objective's own direction; None where the user has to set it."""
    if name in MEASURED:
        return MEASURED[name].direction
    return named_metric(name).direction if is_known_metric(name) else None
