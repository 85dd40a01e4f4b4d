"""A trial's values where there are several objectives."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from actsearch.activations import build_expression
from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.product_measures import int8_error, most_hinges, saved_bytes
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.evaluation.timing import relative_cost
from actsearch.records import (
    CandidateRecord,
    Diagnostics,
    EvaluationRecord,
    Outcome,
    SiteDiagnostics,
    TrialState,
)
from actsearch.task.objectives import MEASURED

__all__ = ["Objectives"]


@dataclass(frozen=True)
class Objectives:
    """What is read out of an outcome.

    Attributes:
        count: of the objectives, two or more.
        names: theirs; empty for a callable of which the first so many entries count.
    """

    count: int
    names: tuple[str, ...] = ()

    def read(
        self, outcome: Outcome, record: CandidateRecord, analysis: TaskAnalysis | None = None
    ) -> Outcome:
        """The outcome with its values; FAILED where one of them could not be had.

        Args:
            outcome: of the trainings.
            record: what was trained.
            analysis: of the task; None for an objective of the user's own, which measures everything itself.
        """
        if outcome.state is not TrialState.COMPLETE:
            return outcome
        try:
            evaluations = outcome.evaluations
            if analysis is not None:
                evaluations = tuple(self._add_measures(evaluations, record, analysis))
            values = self._values(evaluations)
        except Exception as error:  # building the model once more may fail like the first time
            reason = f"{type(error).__name__}: {error}"
            return dataclasses.replace(
                outcome, state=TrialState.FAILED, value=None, spread=None, reason=reason
            )
        return dataclasses.replace(
            outcome, evaluations=evaluations, value=values[0], values=values
        )

    def _values(self, evaluations: tuple[EvaluationRecord, ...]) -> tuple[float, ...]:
        names = self.names or tuple(evaluations[0].metrics)[: self.count]
        if len(names) < self.count:
            raise TaskError(
                f"the objective returned {len(names)} values ({', '.join(names)}) where {self.count} directions are "
                "given; return a mapping with one for each"
            )
        for name in names:
            if any(name not in item.metrics for item in evaluations):
                given = ", ".join(evaluations[0].metrics)
                raise TaskError(f"objective {name!r} was not measured, only {given}")
        values = tuple(
            statistics.fmean(item.metrics[name] for item in evaluations) for name in names
        )
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value):
                raise TaskError(f"objective {name!r} is {value}")
        return values

    def _add_measures(
        self,
        evaluations: Sequence[EvaluationRecord],
        record: CandidateRecord,
        analysis: TaskAnalysis,
    ) -> Iterator[EvaluationRecord]:
        """The trainings with what is not a metric beside their metrics."""
        rows = [MEASURED[name] for name in self.names if name in MEASURED]
        first = _Trained(record, analysis, evaluations[0])
        shared = {row.name: row.measure(first) for row in rows if not row.per_seed}
        for evaluation in evaluations:
            trained = _Trained(record, analysis, evaluation)
            own = {row.name: row.measure(trained) for row in rows if row.per_seed}
            values = {n: v for n, v in {**shared, **own}.items() if v is not None}
            yield dataclasses.replace(evaluation, metrics={**evaluation.metrics, **values})


@dataclass(frozen=True)
class _Trained:
    """One training, as :class:`actsearch.task.objectives.TrainedCandidate`."""

    record: CandidateRecord
    analysis: TaskAnalysis
    evaluation: EvaluationRecord

    @property
    def diagnostics(self) -> Diagnostics | None:
        return self.evaluation.diagnostics

    @property
    def formula_size(self) -> int:
        if self.record.is_baseline:
            raise TaskError("the model unchanged has no formula, and so no size")
        return sum(build_expression(item).size for item in self.record.activations.values())

    @property
    def relative_latency(self) -> float:
        sites = self._sites("latency")
        return relative_cost(
            ((module, site.shape) for module, site in sites), self.analysis.device
        )

    @property
    def int8_error(self) -> float:
        return int8_error(self._sites("int8_error"))

    @property
    def hinges(self) -> float:
        return most_hinges(self._sites("hinges"))

    @property
    def saved_bytes(self) -> float:
        return saved_bytes(self._sites("saved_bytes"), self.analysis.device)

    def _sites(self, name: str) -> list[tuple[nn.Module, SiteDiagnostics]]:
        """The activations as they stand in the model, built anew, and what was seen there."""
        if self.diagnostics is None:
            raise TaskError(
                f"{name} needs what arrives at the sites, and this model allows no diagnostics"
            )
        model = self.model().train()
        return [(model.get_submodule(site.site), site) for site in self.diagnostics.newest]

    def model(self) -> nn.Module:
        placed = self.analysis.place(Candidate(self.record), self.evaluation.seed)
        return placed.model.to(self.analysis.device)
