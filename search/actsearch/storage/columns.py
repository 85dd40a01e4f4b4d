"""The trials of a study without what is large, for tables and figures of very many."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.orm import Session

from actsearch.records import SHARED
from actsearch.storage import tolerant
from actsearch.storage.overview import count_trials
from actsearch.storage.tables import Base
from actsearch.storage.trial_reader import no_collection

__all__ = ["FIELDS", "Columns", "read"]

_TRIALS = Base.metadata.tables["trials"]
_VALUES = Base.metadata.tables["trial_values"]

_STORED = (
    "number", "state", "spread", "spread_nonfinite", "label", "formula", "operation", "parents", "duplicate_of",
    "fingerprint", "alias", "mirror", "reason", "seconds", "created", "started", "completed", "activations",
)  # fmt: skip

FIELDS = (
    "number", "state", "value", "spread", "label", "formula", "name", "operation", "parents", "groups",
    "duplicate_of", "fingerprint", "alias", "mirror", "reason", "seconds", "created", "started", "completed",
)  # fmt: skip
"""The columns of :class:`Columns`; "value_1", "value_2", ... of further objectives follow."""

_MOMENTS = ("created", "started", "completed")
_NUMBERS = ("value", "spread")
_TEXTS = ("label", "formula", "operation", "fingerprint", "alias", "mirror", "reason")
_TOGETHER = 1000  # JSON texts that are read in one go

_OF_STUDY = _TRIALS.c.study_id == bindparam("of_study")
_READ = (
    sa.select(
        _TRIALS.c.id,
        *(
            sa.type_coerce(_TRIALS.c[name], sa.Text).label(name)  # as the database gives it
            if name in _MOMENTS
            else sa.cast(_TRIALS.c[name], sa.Text).label(name)
            if name in ("activations", "parents")
            else _TRIALS.c[name]
            for name in _STORED
        ),
        _VALUES.c.value,
        _VALUES.c.nonfinite.label("value_nonfinite"),
    )
    .outerjoin(_VALUES, (_VALUES.c.trial_id == _TRIALS.c.id) & (_VALUES.c.objective == 0))
    .where(_OF_STUDY)
    .order_by(_TRIALS.c.number)
)
_OTHERS = (
    sa.select(_VALUES.c.trial_id, _VALUES.c.objective, _VALUES.c.value, _VALUES.c.nonfinite)
    .join(_TRIALS, _VALUES.c.trial_id == _TRIALS.c.id)
    .where(_OF_STUDY, _VALUES.c.objective > 0)
)


class Columns(NamedTuple):
    """Some trials, and how the whole study stood at the same moment.

    Attributes:
        cells: by name, in order of number; a duplicate has no value of its own, and moments are in UTC as the database
            gives them, as texts or naive.
        total: how many trials there are in each state, those that were not read included.
    """

    cells: dict[str, list[Any]]
    total: dict[str, int]


def read(
    session: Session, study_id: int, since: int, numbers: Sequence[int], objectives: int
) -> Columns:
    """Trials from number ``since`` on, and those of some numbers besides."""
    wanted: sa.ColumnElement[bool] = _TRIALS.c.number >= bindparam("since")
    bound: dict[str, Any] = {"of_study": study_id, "since": since}
    if numbers:
        wanted = wanted | _TRIALS.c.number.in_(sorted(numbers))
    found = count_trials(session, study_id).get(study_id, {})
    with no_collection():
        result = session.connection().execute(_READ.where(wanted), bound)
        names = list(result.keys())
        rows = [row for row in result if type(row.number) is int]  # as trials are read
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        stored: dict[str, Sequence[Any]] = dict(zip(names, columns, strict=True))
        cells = _cells(stored)
        if objectives > 1:
            cells |= _others(session, wanted, bound, objectives, stored["id"])
    return Columns(cells, {state.value: count for state, count in found.items()})


def _others(
    session: Session,
    wanted: sa.ColumnElement[bool],
    bound: dict[str, Any],
    objectives: int,
    ids: Sequence[int],
) -> dict[str, list[Any]]:
    """The values in all objectives but the first."""
    cells: list[list[float | None]] = [[None] * len(ids) for _ in range(objectives)]
    place = {trial_id: at for at, trial_id in enumerate(ids)}
    for trial_id, objective, value, text in session.execute(_OTHERS.where(wanted), bound):
        if trial_id in place and type(objective) is int and objective < objectives:
            cells[objective][place[trial_id]] = tolerant.number(value, text)
    return {f"value_{at}": cells[at] for at in range(1, objectives)}


def _cells(stored: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Stored columns as :data:`FIELDS`; column by column, as there may be very many rows."""
    cells: dict[str, list[Any]] = {name: list(stored[name]) for name in ("number", *_MOMENTS)}
    for name in _TEXTS:
        cells[name] = [text if type(text) is str else str(text) for text in stored[name]]
    for name in _NUMBERS:
        cells[name] = [
            value if type(value) is float else tolerant.number(value, text)
            for value, text in zip(stored[name], stored[f"{name}_nonfinite"], strict=True)
        ]
    cells["seconds"] = [tolerant.number(value) or 0.0 for value in stored["seconds"]]
    cells["duplicate_of"] = [
        item if type(item) is int else None for item in stored["duplicate_of"]
    ]
    states = {word: tolerant.state(word) for word in set(stored["state"])}
    cells["state"] = [states[word][0].value for word in stored["state"]]
    for at, word in enumerate(stored["state"]):
        cells["reason"][at] = states[word][1] or cells["reason"][at]
    cells["parents"] = [tolerant.integers(item) for item in _json(stored["parents"])]
    placed = [tolerant.attributes(item) for item in _json(stored["activations"])]
    cells["name"] = [_name(item.get(SHARED)) for item in placed]
    cells["groups"] = [len(item) or 1 for item in placed]
    return {name: cells[name] for name in FIELDS}


def _json(texts: Sequence[Any]) -> Iterator[Any]:
    """Many short JSON texts as data: a thousand in one go, and each for itself where one of them is damaged."""
    for first in range(0, len(texts), _TOGETHER):
        some = texts[first : first + _TOGETHER]
        try:
            found = json.loads("[" + ",".join(some) + "]")
        except (ValueError, TypeError, RecursionError):
            found = []
        yield from found if len(found) == len(some) else map(tolerant.json_value, some)


def _name(item: Any) -> str:
    """The catalog name of what all sites share, else ""."""
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""
