"""Between records and rows; numbers that are not finite become NULL with a text beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from actsearch.errors import StorageError
from actsearch.records import (
    Diagnostics,
    EpochRecord,
    EvaluationRecord,
    StudyRecord,
    TrialRecord,
)
from actsearch.storage import tolerant
from actsearch.storage.tables import (
    EpochRow,
    EvaluationRow,
    StudyRow,
    utc_now,
)

__all__ = [
    "EPOCH_COLUMNS",
    "epoch_row",
    "evaluation_record",
    "evaluation_row",
    "finite",
    "spread_columns",
    "study_record",
    "study_row",
    "trial_row",
    "value_row",
]

_DIRECTIONS = ("maximize", "minimize")
_EPOCH_NUMBERS = ("train_loss", "train_metric", "valid_loss", "valid_metric")


def finite(value: float | None) -> tuple[float | None, str | None]:
    """(value, None) for a finite number, (None, "nan" / "inf" / "-inf") otherwise."""
    if value is None or math.isfinite(value):
        return value, None
    return None, str(float(value))


def spread_columns(spread: float | None) -> dict[str, Any]:
    """A trial's spread as columns."""
    number, text = finite(spread)
    return {"spread": number, "spread_nonfinite": text}


def _metrics_json(metrics: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def study_record(row: StudyRow) -> StudyRecord:
    """Row to record.

    Raises:
        StorageError: its seed is not a whole number: with another one it would be another search.
    """
    name = tolerant.text(row.name)
    if type(row.seed) is not int:
        raise StorageError(
            f"study {tolerant.one_line(name)!r} cannot be read, its stored seed {tolerant.one_line(row.seed, 40)!r} "
            "is not a whole number: another program changed it; restore the database from a backup"
        )
    directions = tolerant.texts(row.directions)
    return StudyRecord(
        row.id,
        name,
        row.seed,
        row.direction if row.direction in _DIRECTIONS else None,
        tolerant.mapping(row.space),
        tolerant.mapping(row.strategy),
        tolerant.settings(row.task),
        tolerant.mapping(row.versions),
        tolerant.attributes(row.user_attrs),
        row.created,
        tolerant.settings(row.pruner),
        directions if all(direction in _DIRECTIONS for direction in directions) else (),
        tolerant.texts(row.objectives),
    )


def study_row(record: StudyRecord) -> StudyRow:
    """A new study as a row; its id is assigned by the database."""
    return StudyRow(
        name=record.name,
        seed=record.seed,
        direction=record.direction,
        space=dict(record.space),
        strategy=dict(record.strategy),
        task=None if record.task is None else dict(record.task),
        versions=dict(record.versions),
        user_attrs=dict(record.user_attrs),
        created=utc_now(),
        pruner=None if record.pruner is None else dict(record.pruner),
        directions=list(record.directions) or None,
        objectives=list(record.objectives) or None,
    )


def trial_row(study_id: int, record: TrialRecord, environment: int) -> dict[str, Any]:
    """A new trial as a mapping for a bulk insert, without its values and evaluations."""
    candidate = record.candidate
    return {
        "study_id": study_id,
        "number": record.number,
        "state": record.state.value,
        "activations": {group: item.to_json() for group, item in candidate.activations.items()},
        "formula": candidate.formula,
        "label": candidate.label,
        "operation": candidate.operation,
        "parents": list(candidate.parents),
        "fingerprint": record.fingerprint,
        "alias": record.alias,
        "mirror": record.mirror,
        "duplicate_of": record.duplicate_of,
        **spread_columns(record.spread),
        "reason": record.reason,
        "warnings": list(record.warnings),
        "user_attrs": dict(record.user_attrs),
        "seconds": record.seconds,
        "created": record.created or utc_now(),
        "started": record.started,
        "completed": record.completed,
        "proposed_in": environment,
    }


def value_row(trial_id: int, objective: int, value: float) -> dict[str, Any]:
    """One objective's value as a mapping for a bulk insert."""
    number, text = finite(value)
    return {"trial_id": trial_id, "objective": objective, "value": number, "nonfinite": text}


def evaluation_row(trial_id: int, record: EvaluationRecord) -> dict[str, Any]:
    """One seed's training as a mapping for an insert, without its epochs."""
    number, text = finite(record.value)
    return {
        "trial_id": trial_id,
        "seed": record.seed,
        "value": number,
        "nonfinite": text,
        "metrics": _metrics_json(record.metrics),
        "seconds": record.seconds,
        "reason": record.reason,
    }


def evaluation_record(
    row: EvaluationRow, epochs: list[EpochRow], diagnostics: Diagnostics | None = None
) -> EvaluationRecord:
    """Row with its epochs to record."""
    return EvaluationRecord(
        row.seed,
        tolerant.number(row.value, row.nonfinite),
        {
            name: value
            for name, item in tolerant.mapping(row.metrics).items()
            if (value := tolerant.number(item)) is not None
        },
        tuple(_epoch_record(epoch) for epoch in epochs if type(epoch.epoch) is int),
        tolerant.number(row.seconds) or 0.0,
        tolerant.text(row.reason),
        diagnostics,
    )


EPOCH_COLUMNS = ("evaluation_id", "epoch", "seconds", "nonfinite", *_EPOCH_NUMBERS)


def epoch_row(evaluation_id: int, record: EpochRecord) -> tuple[Any, ...]:
    """One epoch as the values of EPOCH_COLUMNS; there are thousands in a batch, and few that are not finite."""
    numbers = (record.train_loss, record.train_metric, record.valid_loss, record.valid_metric)
    # one test of the sum instead of four: it is finite only if all its parts are
    if None not in numbers and math.isfinite(sum(numbers)):  # type: ignore[arg-type]
        return (evaluation_id, record.epoch, record.seconds, None, *numbers)
    pairs = [finite(number) for number in numbers]
    texts = {
        name: text
        for name, (_, text) in zip(_EPOCH_NUMBERS, pairs, strict=True)
        if text is not None
    }
    kept = (number for number, _ in pairs)
    return (
        evaluation_id, record.epoch, record.seconds, json.dumps(texts) if texts else None, *kept,
    )  # fmt: skip


def _epoch_record(row: EpochRow) -> EpochRecord:
    """Row to record."""
    texts = tolerant.mapping(row.nonfinite)
    numbers = {
        name: tolerant.number(getattr(row, name), texts.get(name)) for name in _EPOCH_NUMBERS
    }
    return EpochRecord(row.epoch, seconds=tolerant.number(row.seconds) or 0.0, **numbers)
