"""What tests of the storage share: small records, and a look at the tables from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from actsearch.activations import describe
from actsearch.records import (
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    Score,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.storage import Lease, Storage
from actsearch.storage.tables import Base

__all__ = ["counts", "evaluation", "fill", "outside", "study_record", "waiting"]


def study_record(name: str = "s", seed: int = 0) -> StudyRecord:
    """A study that is not stored."""
    return StudyRecord(0, name, seed, "maximize", {"a": [1]}, {"name": "random", "settings": {}})


def waiting(formula: str = "x * tanh(x)", **settings: Any) -> TrialRecord:
    """A trial that is not stored."""
    candidate = CandidateRecord.shared(describe(formula), "test", (1, 2))
    return TrialRecord(-1, TrialState.WAITING, candidate, fingerprint="f", **settings)


def evaluation(seed: int = 1, epochs: tuple[EpochRecord, ...] = ()) -> EvaluationRecord:
    """One training."""
    return EvaluationRecord(seed, 0.5, {"loss": 0.5}, epochs, 0.1)


def fill(storage: Storage) -> tuple[Storage, StudyRecord, Lease]:
    """A study with one complete trial, its evaluation and epochs, a verdict, and a lease,
    and a confirmation that was interrupted.
    """
    study = storage.create_study(study_record())
    lease = storage.lease(study)
    lease.acquire()
    storage.add_trials(study.id, [waiting()], lease)
    outcome = Outcome(
        TrialState.COMPLETE, 0.5, 0.1, (evaluation(1, (EpochRecord(1, 0.1, 0.2, 0.3, 0.4),)),)
    )
    storage.finish_trials(study.id, {0: outcome}, lease)
    storage.add_confirmation(study.id, "key", {"words": []}, lease)
    storage.count_looks(study, "test data", ["a", "b", "c"], lease)
    begun = storage.begin_confirmation(study.id, "another", "cpu", lease)
    storage.add_scores(begun, {"training": Score(0.5, 0.25, False, (0.5,))}, lease)
    return storage, study, lease


@contextmanager
def outside(url: str) -> Iterator[sa.Connection]:
    """A connection that knows nothing of the product; every statement is stored at once."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA foreign_keys = ON")

    with engine.connect() as connection:
        yield connection
    engine.dispose()


def counts(url: str) -> dict[str, int]:
    """Rows by table."""
    with outside(url) as connection:
        return {
            table: int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() or 0)
            for table in Base.metadata.tables
        }
