"""A trial's values where there are several objectives."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from actsearch.activation import expression_of
from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.cost import relative_cost
from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.evaluation.run import prepared
from actsearch.records import CandidateRecord, EvaluationRecord, Outcome, TrialState
from actsearch.task import Task
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
        self, outcome: Outcome, objective: ObjectiveCallable, record: CandidateRecord
    ) -> Outcome:
        """The outcome with its values; FAILED where one of them could not be had."""
        if outcome.state is not TrialState.COMPLETE:
            return outcome
        try:
            evaluations = outcome.evaluations
            if isinstance(objective, Task):
                evaluations = tuple(self._measured(outcome, objective, record))
            values = self._values(evaluations)
        except (
            Exception
        ) as error:  # building the model again to time it may fail like the first time
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

    def _measured(
        self, outcome: Outcome, task: Task, record: CandidateRecord
    ) -> Iterator[EvaluationRecord]:
        """The trainings with what is no metric beside their metrics."""
        shared: dict[str, float] = {}
        if "size" in self.names:
            shared["size"] = float(sum(expression_of(a).size for a in record.activations.values()))
        if "latency" in self.names:
            shared["latency"] = _latency(outcome, task, record)
        for item in outcome.evaluations:
            own = {name: value for name in self.names if (value := _seen(item, name)) is not None}
            yield dataclasses.replace(item, metrics={**item.metrics, **shared, **own})


def _seen(item: EvaluationRecord, name: str) -> float | None:
    """What the diagnostics of a training give for an objective."""
    seen = item.diagnostics
    if seen is None or name not in MEASURED:
        return None
    if name == "parameters":
        return None if seen.parameters_added is None else float(seen.parameters_added)
    if name == "sparsity":
        return seen.sparsity
    if name == "gradient_ratio" and (ratio := seen.gradient_ratio) is not None:
        return 0.0 if ratio == 0 else min(ratio, 1 / ratio)
    return None


def _latency(outcome: Outcome, task: Task, record: CandidateRecord) -> float:
    """Of the activations as they stand in the model, outside of any training."""
    seen = outcome.evaluations[0].diagnostics
    if seen is None:
        raise TaskError(
            "latency needs the shapes at the sites, and this model allows no diagnostics"
        )
    placed = prepared(task, Candidate(record), outcome.evaluations[0].seed)
    device = task.torch_device()
    model: nn.Module = placed.model.to(device).train()
    return relative_cost(
        ((model.get_submodule(site.site), site.shape) for site in seen.start), device
    )
