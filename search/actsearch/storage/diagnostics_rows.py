"""Rows of diagnostics: one for each training, stage and site."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from actsearch.records import Diagnostics, SiteDiagnostics
from actsearch.storage import tolerant
from actsearch.storage.convert import finite
from actsearch.storage.tables import DIAGNOSED, Base, DiagnosticsRow, EvaluationRow

__all__ = ["diagnostics_record", "evaluation_columns", "insert_rows", "read_rows"]

_ROWS = Base.metadata.tables["diagnostics"]
_STAGES = ("start", "end")


def evaluation_columns(diagnostics: Diagnostics | None) -> dict[str, Any]:
    """The columns of an evaluation that belong to its diagnostics."""
    gap = None if diagnostics is None else finite(diagnostics.loss_gap)[0]
    return {"parameters_added": diagnostics and diagnostics.parameters_added, "loss_gap": gap}


def insert_rows(
    connection: Connection, trainings: Sequence[tuple[int, Diagnostics | None]]
) -> None:
    """Insert the diagnostics of trainings, each with its id."""
    rows = [
        _row(key, stage, position, site)
        for key, diagnostics in trainings
        if diagnostics is not None
        for stage in _STAGES
        for position, site in enumerate(getattr(diagnostics, stage))
    ]
    if rows:
        connection.execute(_ROWS.insert(), rows)


def _row(key: int, stage: str, position: int, site: SiteDiagnostics) -> dict[str, Any]:
    numbers = {name: finite(getattr(site, name)) for name in DIAGNOSED}
    texts = {name: text for name, (_, text) in numbers.items() if text is not None}
    return {
        "evaluation_id": key,
        "stage": stage,
        "position": position,
        "site": site.site,
        "shape": list(site.shape),
        "histogram": [_jsonable(share) for share in site.histogram],
        "learned": {
            name: [_jsonable(value) for value in values] for name, values in site.learned.items()
        },
        "nonfinite": texts or None,
        **{name: value for name, (value, _) in numbers.items()},
    }


def _jsonable(value: float) -> float | str:
    """A number of 7 digits, the precision of float32 in which it was measured; a text where JSON has no number."""
    return float(f"{value:.7g}") if math.isfinite(value) else str(value)


def read_rows(
    session: Session, evaluations: sa.Select[*tuple[Any, ...]]
) -> dict[int, list[DiagnosticsRow]]:
    """By id of training, the rows of those that a query selects."""
    by_training: dict[int, list[DiagnosticsRow]] = defaultdict(list)
    ids = evaluations.with_only_columns(EvaluationRow.id).order_by(None)
    query = sa.select(DiagnosticsRow).where(DiagnosticsRow.evaluation_id.in_(ids))
    for row in session.scalars(
        query.order_by(DiagnosticsRow.evaluation_id, DiagnosticsRow.position)
    ):
        by_training[row.evaluation_id].append(row)
    return by_training


def diagnostics_record(row: EvaluationRow, rows: Sequence[DiagnosticsRow]) -> Diagnostics | None:
    """Rows of a training to record; None where it was not diagnosed."""
    if not rows:
        return None
    start, end = (tuple(_site(item) for item in rows if item.stage == stage) for stage in _STAGES)
    added = tolerant.integer(row.parameters_added)
    return Diagnostics(start, end, added, tolerant.number(row.loss_gap))


def _site(row: DiagnosticsRow) -> SiteDiagnostics:
    texts = tolerant.mapping(row.nonfinite)
    numbers = {name: tolerant.number(getattr(row, name), texts.get(name)) for name in DIAGNOSED}
    learned: Mapping[str, Any] = tolerant.mapping(row.learned)
    return SiteDiagnostics(
        tolerant.text(row.site),
        tolerant.integers(row.shape),
        histogram=_numbers(row.histogram),
        learned={name: _numbers(values) for name, values in learned.items()},
        **numbers,
    )


def _numbers(values: Any) -> tuple[float, ...]:
    items = values if isinstance(values, list) else []
    return tuple(number for item in items if (number := tolerant.number(item)) is not None)
