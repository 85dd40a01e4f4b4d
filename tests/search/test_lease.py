"""The lease on both kinds of database: when it is renewed, taken over, broken open, and what it says."""

from __future__ import annotations

import ast
import inspect
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from storage_cases import outside, study_record, waiting

import actsearch as acs
from actsearch.records import StudyRecord
from actsearch.storage import Storage
from actsearch.storage.tables import LeaseRow

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    opened = Storage(database_url, create=True)
    yield opened
    opened.database.close()


@pytest.fixture
def study(storage: Storage) -> StudyRecord:
    return storage.create_study(study_record())


def _set(url: str, **columns: Any) -> None:
    with outside(url) as connection:
        connection.execute(sa.update(LeaseRow).values(**columns))


def _renewed(url: str) -> datetime:
    with outside(url) as connection:
        found: datetime = connection.execute(sa.select(LeaseRow.renewed)).scalar_one()
        return found


@pytest.mark.parametrize(
    ("minutes", "taken"),
    [(5, False), (15, True), (-5, False), (-60 * 24 * 400, True)],
    ids=["recent", "stale", "its clock is ahead", "a clock was set back by a year"],
)
def test_another_machines_is_taken_over_once_it_is_stale(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    taken: bool,
) -> None:
    monkeypatch.setattr("actsearch.storage.lease._WATCH", 0.2)
    storage.lease(study).acquire()
    _set(database_url, host="elsewhere", renewed=datetime.now(UTC) - timedelta(minutes=minutes))
    if taken:
        storage.lease(study).acquire()
    else:
        with pytest.raises(acs.StudyError, match="elsewhere"):
            storage.lease(study).acquire()


def test_another_machines_stays_while_it_gives_signs_of_life(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its clock is years behind, and it lives."""
    monkeypatch.setattr("actsearch.storage.lease._WATCH", 3)
    storage.lease(study).acquire()
    _set(database_url, host="elsewhere", renewed=LONG_AGO)
    later = {"renewed": LONG_AGO + timedelta(seconds=15)}
    beat = threading.Timer(0.3, _set, [database_url], later)
    beat.start()
    with pytest.raises(acs.StudyError, match="elsewhere"):
        storage.lease(study).acquire()
    beat.join()


def test_it_is_renewed_however_long_a_trial_takes(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actsearch.storage.lease._BEAT", 0.05)
    lease = storage.lease(study)
    lease.acquire()
    _set(database_url, renewed=LONG_AGO)
    until = time.monotonic() + 20
    while _renewed(database_url) == LONG_AGO and time.monotonic() < until:
        time.sleep(0.02)
    assert _renewed(database_url) > LONG_AGO
    lease.release()
    assert lease.holder() is None
    assert not lease.beat()  # nothing comes back to life


def test_of_many_who_find_none_one_gets_it(
    storage: Storage, study: StudyRecord, database_url: str
) -> None:
    refused: list[str] = []

    def take() -> None:
        try:
            Storage(database_url).lease(study).acquire()
        except acs.StudyError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) == 5
    assert all("is being run by" in text for text in refused)


def test_the_message_says_who_where_and_since_when(
    storage: Storage, study: StudyRecord, database_url: str
) -> None:
    storage.lease(study).acquire()
    _set(database_url, owner="alice\n", acquired=datetime.now(UTC) - timedelta(hours=3))
    with pytest.raises(acs.StudyError) as caught:
        storage.lease(study).acquire()
    for word in ("'s'", "alice", socket.gethostname(), f"process {os.getpid()}", "since 3.0 h",
                 "last sign of life 0 s ago", "actsearch unlock"):  # fmt: skip
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_open_it_is_lost(storage: Storage, study: StudyRecord) -> None:
    lease = storage.lease(study)
    lease.acquire()
    holder = lease.holder()
    assert holder is not None
    assert lease.break_open(holder)
    assert not lease.break_open(holder)
    with pytest.raises(acs.StudyError, match="held by nobody"):
        storage.add_trials(study.id, [waiting()], lease)
    second = storage.lease(study)
    second.acquire()
    assert not lease.break_open(holder)  # that of another is left alone
    with pytest.raises(acs.StudyError, match="no longer ours"):
        storage.add_trials(study.id, [waiting()], lease)


def test_a_study_that_was_deleted_can_not_be_leased(storage: Storage, study: StudyRecord) -> None:
    storage.delete_study("s")
    with pytest.raises(acs.StudyError, match="deleted"):
        storage.lease(study).acquire()


def test_every_method_that_writes_checks_it_or_is_known_not_to() -> None:
    """New studies belong to nobody yet; a direction is set without one only where none lies on the study; trials
    that a user enqueues are added without a lease."""
    methods = [
        item for item in ast.walk(ast.parse(inspect.getsource(Storage)))
        if isinstance(item, ast.FunctionDef)
    ]  # fmt: skip
    writing = {item.name: text for item in methods if "writing()" in (text := ast.unparse(item))}
    unchecked = {name for name, text in writing.items() if "lease.check(session)" not in text}
    assert unchecked == {"create_study", "set_direction"}
    assert len(writing) >= 8
