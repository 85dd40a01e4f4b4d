"""Studies of known values, written through the storage's own functions: no training, so there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import actsearch as acs
from actsearch.records import (
    SHARED,
    ActivationRecord,
    CandidateRecord,
    Outcome,
    TrialRecord,
    TrialState,
)
from actsearch.storage import Lease, Storage

__all__ = ["add_trials", "write_study"]


def write_study(
    path: Path,
    name: str,
    values: Sequence[float | tuple[float, ...] | Outcome],
    *,
    directions: Sequence[str] | dict[str, str] = ("maximize",),
    task: dict[str, Any] | None = None,
    formulas: Sequence[str] = ("x * tanh(x)",),
) -> Path:
    """A study whose trials have ended with these values, or these outcomes; returns the path.

    Args:
        path: of the database, made if it is missing.
        name: of the study.
        values: one a trial; several objectives as a tuple.
        directions: of its objectives, by name where they have names.
        task: what is stored of the task, as ``{"metric": "loss"}``.
        formulas: of the trials, in turn.
    """
    url = f"sqlite:///{path}"
    several: Any = directions if len(directions) > 1 else None
    one: Any = None if several else next(iter(directions))
    acs.create_study(
        study_name=name, storage=url, strategy="random", direction=one, directions=several
    )
    storage = Storage(url)
    study = storage.study(name)
    lease = storage.lease(study)
    lease.acquire()
    if task is not None:
        storage.update_study(study.id, lease, task=task)
    add_trials(storage, name, lease, values, formulas)
    lease.release()
    storage.database.close()
    return path


def add_trials(
    storage: Storage,
    name: str,
    lease: Lease,
    values: Sequence[float | tuple[float, ...] | Outcome],
    formulas: Sequence[str] = ("x * tanh(x)",),
) -> None:
    """Trials that have ended with these values come to a study whose lease is held."""
    study = storage.study(name)
    first = len(storage.trials(study.id))
    numbers = range(first, first + len(values))
    records = [_record(number, formulas[number % len(formulas)]) for number in numbers]
    storage.add_trials(study.id, records, lease)
    storage.start_trials(study.id, list(numbers), lease)
    outcomes = {number: _outcome(value) for number, value in zip(numbers, values, strict=True)}
    storage.finish_trials(study.id, outcomes, lease)


def _record(number: int, formula: str) -> TrialRecord:
    candidate = CandidateRecord({SHARED: ActivationRecord(formula, None, {}, formula)}, "mutation")
    return TrialRecord(-1, TrialState.WAITING, candidate, fingerprint=str(number))


def _outcome(value: float | tuple[float, ...] | Outcome) -> Outcome:
    if isinstance(value, Outcome):
        return value
    if isinstance(value, tuple):
        return Outcome(TrialState.COMPLETE, value[0], seconds=1.0, values=value)
    return Outcome(TrialState.COMPLETE, value, seconds=1.0)
