"""Diagnostics as rows: one for each training, stage and site."""

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

__all__ = ["add", "evaluation_columns", "read", "record"]

_ROWS = Base.metadata.tables["diagnostics"]
_STAGES = ("start", "end")


def evaluation_columns(seen: Diagnostics | None) -> dict[str, Any]:
    """What is kept beside a training itself."""
    gap = None if seen is None else finite(seen.loss_gap)[0]
    return {"parameters_added": seen and seen.parameters_added, "loss_gap": gap}


def add(connection: Connection, found: Sequence[tuple[int, Diagnostics | None]]) -> None:
    """Insert what was seen in trainings, each with its id."""
    rows = [
        _row(key, stage, position, site)
        for key, seen in found
        if seen is not None
        for stage in _STAGES
        for position, site in enumerate(getattr(seen, stage))
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
    """A number of few digits, more would be rounding; a text where JSON has none for it."""
    return float(f"{value:.7g}") if math.isfinite(value) else str(value)


def read(
    session: Session, evaluations: sa.Select[*tuple[Any, ...]]
) -> dict[int, list[DiagnosticsRow]]:
    """By id of training, the rows of those that a query selects."""
    found: dict[int, list[DiagnosticsRow]] = defaultdict(list)
    ids = evaluations.with_only_columns(EvaluationRow.id).order_by(None)
    query = sa.select(DiagnosticsRow).where(DiagnosticsRow.evaluation_id.in_(ids))
    for row in session.scalars(
        query.order_by(DiagnosticsRow.evaluation_id, DiagnosticsRow.position)
    ):
        found[row.evaluation_id].append(row)
    return found


def record(row: EvaluationRow, rows: Sequence[DiagnosticsRow]) -> Diagnostics | None:
    """Rows of a training to record; None where it was not looked at."""
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
