"""The one reader of trials: as columns, from which records, tables and pages are made; inside a transaction.

A study reads every trial it has when it starts, and a page those of very many: column by column, as rows of objects
would take longer to make than to read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.orm import Session

from actsearch.records import SHARED, CandidateRecord, EvaluationRecord, TrialRecord, TrialState
from actsearch.storage import convert, tolerant
from actsearch.storage.diagnostics_rows import diagnostics_record, read_rows
from actsearch.storage.environment import all_versions
from actsearch.storage.tables import Base, EpochRow, EvaluationRow, TrialRow

__all__ = [
    "FIELDS",
    "TrialColumns",
    "count_trials",
    "derive_cells",
    "read_columns",
    "read_trials",
]

_TRIALS = Base.metadata.tables["trials"]
_VALUES = Base.metadata.tables["trial_values"]

FIELDS = (
    "number", "state", "value", "spread", "label", "formula", "name", "operation", "parents", "groups",
    "duplicate_of", "fingerprint", "alias", "mirror", "reason", "seconds", "created", "started", "completed",
)  # fmt: skip
"""The columns of :class:`TrialColumns`; "value_1", "value_2", ... of further objectives follow."""

_MOMENTS = ("created", "started", "completed")
_TEXTS = ("label", "formula", "operation", "fingerprint", "alias", "mirror", "reason")
_STORED = (
    "id", "number", "state", "spread", "spread_nonfinite", *_TEXTS, "parents", "duplicate_of", "seconds", *_MOMENTS,
    "activations",
)  # fmt: skip
_DETAILS = ("warnings", "user_attrs", "proposed_in", "trained_in")  # that only records have
_JSON = ("activations", "parents", "warnings", "user_attrs")
_TOGETHER = 1000  # JSON texts that are read in one go
_MOST_OBJECTIVES = 1000  # no study has as many; a larger number, which another program wrote, would fill the memory

_OF_STUDY = _TRIALS.c.study_id == bindparam("of_study")
_SINCE = _TRIALS.c.number >= bindparam("since")


def _select(names: Sequence[str], as_stored: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    """Columns of the trials of a study with their value in the first objective; JSON as text."""
    columns = (
        sa.type_coerce(_TRIALS.c[name], sa.Text).label(name)  # as the database gives it
        if name in as_stored
        else sa.cast(_TRIALS.c[name], sa.Text).label(name)
        if name in _JSON
        else _TRIALS.c[name]
        for name in names
    )
    return (
        sa.select(*columns, _VALUES.c.value, _VALUES.c.nonfinite.label("value_nonfinite"))
        .outerjoin(_VALUES, (_VALUES.c.trial_id == _TRIALS.c.id) & (_VALUES.c.objective == 0))
        .where(_OF_STUDY)
        .order_by(_TRIALS.c.number)
    )


_READ_COLUMNS = _select(_STORED, _MOMENTS)
_READ_RECORDS = _select(_STORED + _DETAILS, ())
_READ_OTHERS = (
    sa.select(_VALUES.c.trial_id, _VALUES.c.objective, _VALUES.c.value, _VALUES.c.nonfinite)
    .join(_TRIALS, _VALUES.c.trial_id == _TRIALS.c.id)
    .where(_OF_STUDY, _VALUES.c.objective > 0)
    .order_by(_VALUES.c.trial_id, _VALUES.c.objective)
)

_Cells = dict[str, list[Any]]
_Stored = Mapping[str, Sequence[Any]]


class TrialColumns(NamedTuple):
    """Some trials, and how the whole study stood at the same moment.

    Attributes:
        cells: by name, in order of number; a duplicate has no value of its own, and moments are in UTC as the database
            gives them, as texts or naive.
        total: how many trials there are in each state, those that were not read included.
    """

    cells: _Cells
    total: dict[str, int]


def read_columns(
    session: Session, study_id: int, since: int, numbers: Sequence[int], objectives: int
) -> TrialColumns:
    """Trials from number ``since`` on, and those of some numbers besides."""
    wanted: sa.ColumnElement[bool] = _SINCE
    if numbers:
        wanted = wanted | _TRIALS.c.number.in_(sorted(numbers))
    bound = {"of_study": study_id, "since": since}
    counts = count_trials(session, study_id).get(study_id, {})
    with _no_collection():
        stored = _stored_columns(session, _READ_COLUMNS.where(wanted), bound)
        cells = _common_cells(stored)
        activations = [tolerant.attributes(item) for item in _json_values(stored["activations"])]
        others: dict[int, list[float | None]] = {}
        if objectives > 1:
            others = _other_values(session, _READ_OTHERS.where(wanted), bound)
        derived = derive_cells(
            [{group: _catalog_name(item) for group, item in one.items()} for one in activations],
            [others.get(key, ()) for key in stored["id"]],
            objectives,
        )
        cells = {name: (derived if name in derived else cells)[name] for name in FIELDS} | derived
    return TrialColumns(cells, {state.value: count for state, count in counts.items()})


def read_trials(
    session: Session,
    study_id: int,
    since: int = 0,
    numbers: Iterable[int] | None = None,
    *,
    epochs: bool = False,
    diagnostics: bool = False,
) -> list[TrialRecord]:
    """Trials in order of their numbers; see :meth:`actsearch.storage.Storage.trials`."""
    wanted: sa.ColumnElement[bool] = _SINCE
    if numbers is not None:
        wanted = wanted & _TRIALS.c.number.in_(sorted(set(numbers)))
    query = _READ_RECORDS.where(wanted)
    bound = {"of_study": study_id, "since": since}
    with _no_collection():
        stored = _stored_columns(session, query, bound)
        environments = all_versions(session.connection())
        evaluations: dict[int, tuple[EvaluationRecord, ...]] = {}
        if epochs or diagnostics:
            evaluations = _evaluations(session, query.params(bound), epochs, diagnostics)
        others = _other_values(session, _READ_OTHERS.where(wanted), bound)
        cells = _common_cells(stored)
        cells["state"] = [TrialState(word) for word in cells["state"]]
        activations = map(_activations, _json_values(stored["activations"]))
        parts = zip(activations, cells["operation"], cells["parents"], cells["label"], strict=True)
        cells["candidate"] = [CandidateRecord(*part) for part in parts]
        cells["warnings"] = [tolerant.texts(item) for item in _json_values(stored["warnings"])]
        attributes = _json_values(stored["user_attrs"])
        cells["user_attrs"] = [tolerant.attributes(item) for item in attributes]
        cells["evaluations"] = [evaluations.get(key, ()) for key in stored["id"]]
        for name, column in (("proposed_with", "proposed_in"), ("trained_with", "trained_in")):
            keys = stored[column]
            cells[name] = [environments.get(key, {}) if type(key) is int else {} for key in keys]
        cells["values"] = [
            (value, *others[key]) if key in others else ()
            for key, value in zip(stored["id"], cells["value"], strict=True)
        ]
        names = [field.name for field in dataclasses.fields(TrialRecord)]
        return [TrialRecord(*row) for row in zip(*(cells[name] for name in names), strict=True)]


def _stored_columns(
    session: Session, query: sa.Select[*tuple[Any, ...]], bound: Mapping[str, Any]
) -> _Stored:
    """What a query finds, by column; what another program changed so that it has no number is not a trial any more."""
    result = session.connection().execute(query, bound)
    names = list(result.keys())
    rows = [row for row in result if type(row.number) is int]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return dict(zip(names, columns, strict=True))


def _common_cells(stored: _Stored) -> _Cells:
    """The columns that tables and records have alike."""
    cells: _Cells = {name: list(stored[name]) for name in ("number", *_MOMENTS)}
    for name in _TEXTS:
        cells[name] = [text if type(text) is str else tolerant.text(text) for text in stored[name]]
    for name in ("value", "spread"):
        cells[name] = [
            value if type(value) is float else tolerant.number(value, text)
            for value, text in zip(stored[name], stored[f"{name}_nonfinite"], strict=True)
        ]
    cells["seconds"] = [tolerant.number(value) or 0.0 for value in stored["seconds"]]
    cells["duplicate_of"] = [tolerant.integer(item) for item in stored["duplicate_of"]]
    states = {word: tolerant.state(word) for word in set(stored["state"])}
    cells["state"] = [states[word][0].value for word in stored["state"]]
    for index, word in enumerate(stored["state"]):
        cells["reason"][index] = states[word][1] or cells["reason"][index]
    cells["parents"] = [tolerant.integers(item) for item in _json_values(stored["parents"])]
    return cells


def _json_values(texts: Sequence[Any]) -> Iterator[Any]:
    """Many short JSON texts as data: a thousand in one go, and each for itself where one of them is damaged or deep."""
    for first in range(0, len(texts), _TOGETHER):
        some = texts[first : first + _TOGETHER]
        values: list[Any] = []
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            if all(map(tolerant.is_surely_shallow, some)):
                values = json.loads("[" + ",".join(some) + "]")
        yield from values if len(values) == len(some) else map(tolerant.json_value, some)


def _activations(item: Any) -> dict[str, Any]:
    """Activations by group; what is stored in their place stands at all sites."""
    stored = item if isinstance(item, dict) else {SHARED: item}
    return {group: tolerant.activation(one) for group, one in stored.items()}


def derive_cells(
    names: Sequence[Mapping[str, str | None]],
    others: Sequence[Sequence[float | None]],
    objectives: int,
) -> dict[str, list[Any]]:
    """The columns that follow from others: the row that all sites share, the number of groups, further objectives.

    Args:
        names: of each trial, the names of catalog rows by group; None for a composed formula.
        others: of each trial, its values in all objectives but the first, as far as it has them.
        objectives: how many the study has.
    """
    cells: dict[str, list[Any]] = {
        "name": [(one.get(SHARED) or "") if len(one) == 1 else "" for one in names],
        "groups": [len(one) or 1 for one in names],
    }
    for index in range(objectives - 1):
        cells[f"value_{index + 1}"] = [
            values[index] if index < len(values) else None for values in others
        ]
    return cells


def _catalog_name(item: Any) -> str | None:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def _other_values(
    session: Session, query: sa.Select[*tuple[Any, ...]], bound: Mapping[str, Any]
) -> dict[int, list[float | None]]:
    """By trial id, the values in all objectives but the first, of trials that have some."""
    by_trial: dict[int, list[float | None]] = defaultdict(list)
    for trial_id, objective, value, text in session.execute(query, bound):
        if type(objective) is int and objective < _MOST_OBJECTIVES:
            values = by_trial[trial_id]
            values += [None] * (objective - 1 - len(values))  # one that is missing moves no other
            values.append(tolerant.number(value, text))
    return dict(by_trial)


def count_trials(
    session: Session, study_id: int | None = None
) -> dict[int, dict[TrialState, int]]:
    """By study id, how many trials are in each state; answered from an index."""
    query = sa.select(TrialRow.study_id, TrialRow.state, sa.func.count()).group_by(
        TrialRow.study_id, TrialRow.state
    )
    if study_id is not None:
        query = query.where(TrialRow.study_id == study_id)
    by_study: dict[int, dict[TrialState, int]] = {}
    for of_study, word, count in session.execute(query):
        by_state = by_study.setdefault(of_study, dict.fromkeys(TrialState, 0))
        by_state[tolerant.state(word)[0]] += count
    return by_study


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: it would take half of the time, looking through records that are being made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _evaluations(
    session: Session, trials: sa.Select[*tuple[Any, ...]], with_epochs: bool, diagnostics: bool
) -> dict[int, tuple[EvaluationRecord, ...]]:
    """Evaluations, by trial id, of the trials that a query selects, with their epochs and diagnostics if asked for.

    The query is a subquery here: a list of ids would meet the database's limit on parameters.
    """
    ids = trials.with_only_columns(_TRIALS.c.id).order_by(None)
    of_trials = sa.select(EvaluationRow).where(EvaluationRow.trial_id.in_(ids))
    rows = session.scalars(of_trials.order_by(EvaluationRow.id)).all()
    epochs = _epochs(session, of_trials) if with_epochs else {}
    observed = read_rows(session, of_trials) if diagnostics else {}
    records: dict[int, list[EvaluationRecord]] = defaultdict(list)
    for row in rows:
        if type(row.seed) is not int:  # another program changed it
            continue
        diagnosis = diagnostics_record(row, observed.get(row.id, ()))
        record = convert.evaluation_record(row, epochs.get(row.id, []), diagnosis)
        records[row.trial_id].append(record)
    return {trial_id: tuple(items) for trial_id, items in records.items()}


def _epochs(
    session: Session, evaluations: sa.Select[*tuple[Any, ...]]
) -> dict[int, list[EpochRow]]:
    by_training: dict[int, list[EpochRow]] = defaultdict(list)
    for epoch in session.scalars(
        sa.select(EpochRow)
        .where(EpochRow.evaluation_id.in_(evaluations.with_only_columns(EvaluationRow.id)))
        .order_by(EpochRow.evaluation_id, EpochRow.epoch)
    ):
        by_training[epoch.evaluation_id].append(epoch)
    return by_training
