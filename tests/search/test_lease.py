"""The lease on both kinds of database: when it is renewed, taken over, broken open, and what it says."""

from __future__ import annotations

import ast
import inspect
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from driven import Launcher
from storage_cases import outside, study_record, waiting

import actsearch as acs
from actsearch.records import StudyRecord
from actsearch.storage import Storage
from actsearch.storage.process import is_running_process, process_mark
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
    monkeypatch.setattr("actsearch.storage.lease._WATCH_SECONDS", 0.2)
    storage.lease(study).acquire()
    _set(database_url, host="elsewhere", renewed=datetime.now(UTC) - timedelta(minutes=minutes))
    if taken:
        storage.lease(study).acquire()
    else:
        with pytest.raises(acs.StudyError, match="elsewhere"):
            storage.lease(study).acquire()


def _living() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def _mark(process: subprocess.Popen[bytes]) -> list[str]:
    """What a lease of that process says of it: boot, start, and namespaces."""
    boot, _, namespaces = process_mark().split(" ", 2)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return [boot, fields[19], namespaces]


OTHER_BOOT = "12345678-1234-1234-1234-123456789012"
OTHER_NAMESPACES = "pid:[1],time:[1]"

ELSEWHERE: dict[str, Callable[[str, str, str], list[str]]] = {
    "another namespace": lambda boot, start, spaces: [boot, start, OTHER_NAMESPACES],
    "another machine of that name": lambda boot, start, spaces: [OTHER_BOOT, start, spaces],
    "without /proc": lambda boot, start, spaces: [],
    "of an older version": lambda boot, start, spaces: [boot, start],
}


@pytest.mark.parametrize("where", ELSEWHERE)
@pytest.mark.parametrize("is_silent", [False, True])
def test_that_of_a_process_that_cannot_be_seen_is_judged_by_its_signs_of_life(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    is_silent: bool,
) -> None:
    """The host name is ours, and no process here has its number."""
    monkeypatch.setattr("actsearch.storage.lease._WATCH_SECONDS", 0.2)
    storage.lease(study).acquire()
    gone = _living()
    process = " ".join(ELSEWHERE[where](*_mark(gone)))
    gone.kill()
    gone.wait()
    renewed = datetime.now(UTC) - timedelta(minutes=15 if is_silent else 0)
    _set(database_url, pid=gone.pid, process=process, renewed=renewed, token="theirs")
    if is_silent:
        storage.lease(study).acquire()
    else:
        with pytest.raises(acs.StudyError, match=f"process {gone.pid}"):
            storage.lease(study).acquire()


@pytest.mark.parametrize("parts", [2, 3], ids=["of an older version", "of this version"])
def test_that_of_a_process_that_is_seen_stays_without_any_sign_of_life(
    storage: Storage, study: StudyRecord, database_url: str, parts: int
) -> None:
    storage.lease(study).acquire()
    living = _living()
    try:
        process = " ".join(_mark(living)[:parts])
        _set(database_url, pid=living.pid, process=process, renewed=LONG_AGO, token="theirs")
        with pytest.raises(acs.StudyError, match=f"process {living.pid}"):
            storage.lease(study).acquire()
    finally:
        living.kill()
        living.wait()


@pytest.mark.parametrize("beats", [False, True])
def test_of_this_machine_before_it_was_started_anew(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    beats: bool,
) -> None:
    """It need not be ten minutes ago; but a machine of the same name that lives is seen to beat."""
    monkeypatch.setattr("actsearch.storage.lease._WATCH_SECONDS", 2 if beats else 0.2)
    began = datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
    monkeypatch.setattr(
        "actsearch.storage.lease._STALE_AFTER", datetime.now(UTC) - began + timedelta(days=1)
    )
    storage.lease(study).acquire()
    before = began - timedelta(seconds=60)
    _set(
        database_url, process=f"{OTHER_BOOT} 1 {OTHER_NAMESPACES}", renewed=before, token="theirs"
    )
    if not beats:
        storage.lease(study).acquire()
        return
    beat = threading.Timer(0.3, _set, [database_url], {"renewed": before + timedelta(seconds=15)})
    beat.start()
    with pytest.raises(acs.StudyError, match="is being run by"):
        storage.lease(study).acquire()
    beat.join()


def test_one_that_beats_when_it_would_be_taken_over_keeps_it(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the last look and the takeover; its clock is years behind."""
    storage.lease(study).acquire()
    _set(database_url, host="elsewhere", renewed=LONG_AGO)
    lease = storage.lease(study)
    monkeypatch.setattr(
        lease, "_watch", lambda _: _set(database_url, renewed=LONG_AGO + timedelta(seconds=15))
    )
    with pytest.raises(acs.StudyError, match="elsewhere"):
        lease.acquire()


RUNS = """
import ctypes, subprocess, sys
if ctypes.CDLL(None).unshare(0x20000) != 0:  # CLONE_NEWNS
    sys.exit("nothing can be mounted here")
for command in (["--make-rprivate", "/"], ["-t", "tmpfs", "none", f"/proc/{sys.argv[2]}"]):
    if subprocess.run(["mount", *command]).returncode != 0:
        sys.exit("nothing can be mounted here")
from actsearch.storage.process import is_running_process
print(is_running_process(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def test_a_process_that_runs_but_cannot_be_read_lives(launcher: Launcher) -> None:
    """As one of another user, where /proc hides those."""
    living = _living()
    asked = [socket.gethostname(), str(living.pid), " ".join(_mark(living))]
    try:
        child = launcher.start(RUNS, *asked)
        child.wait()
        if "nothing can be mounted here" in child.errors:
            pytest.skip(f"nothing can be mounted here: {child.errors}")
        assert child.lines == ["True"], child.errors
    finally:
        living.kill()
        living.wait()
    assert is_running_process(asked[0], living.pid, asked[2]) is False


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_a_number_that_no_process_has_is_of_none_that_runs(pid: int) -> None:
    assert is_running_process(socket.gethostname(), pid, process_mark()) is False


def test_a_link_to_the_database_leads_to_the_same_lease(tmp_path: Path) -> None:
    storage = Storage(f"sqlite:///{tmp_path}/study.db", create=True)
    study = storage.create_study(study_record())
    (tmp_path / "link.db").symlink_to("study.db")
    storage.lease(study).acquire()
    linked = Storage(f"sqlite:///{tmp_path}/link.db")
    with pytest.raises(acs.StudyError, match="is being run by"):
        linked.lease(study).acquire()


def test_another_machines_stays_while_it_gives_signs_of_life(
    storage: Storage,
    study: StudyRecord,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its clock is years behind, and it lives."""
    monkeypatch.setattr("actsearch.storage.lease._WATCH_SECONDS", 3)
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
    monkeypatch.setattr("actsearch.storage.lease._HEARTBEAT_SECONDS", 0.05)
    lease = storage.lease(study)
    lease.acquire()
    _set(database_url, renewed=LONG_AGO)
    until = time.monotonic() + 20
    while _renewed(database_url) == LONG_AGO and time.monotonic() < until:
        time.sleep(0.02)
    assert _renewed(database_url) > LONG_AGO
    lease.release()
    assert lease.holder() is None
    assert not lease.heartbeat()  # nothing comes back to life


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
    for word in ("'s'", "alice", socket.gethostname(), f"process {os.getpid()}", "for 3.0 h",
                 "last heartbeat 0 s ago", "actsearch unlock"):  # fmt: skip
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_open_it_is_lost(storage: Storage, study: StudyRecord) -> None:
    lease = storage.lease(study)
    lease.acquire()
    holder = lease.holder()
    assert holder is not None
    assert lease.force_release(holder)
    assert not lease.force_release(holder)
    with pytest.raises(acs.StudyError, match="held by nobody"):
        storage.add_trials(study.id, [waiting()], lease)
    second = storage.lease(study)
    second.acquire()
    assert not lease.force_release(holder)  # that of another is left alone
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
        item
        for part in Storage.__mro__[:-1]
        for item in ast.walk(ast.parse(inspect.getsource(part)))
        if isinstance(item, ast.FunctionDef)
    ]
    writing = {item.name: text for item in methods if "writing(" in (text := ast.unparse(item))}
    checked = "lease.check(session)" in writing.pop("_writing")
    unchecked = {name for name, text in writing.items() if "self._writing(lease)" not in text}
    assert checked
    assert unchecked == {"create_study", "set_direction"}
    assert len(writing) >= 8


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive(launcher: Launcher) -> None:
    """A zombie keeps its number, and some parents, as the first process of a container, never ask for its end."""
    script = "from actsearch.storage.process import process_mark; print(process_mark(), flush=True); input()"
    child = launcher.start(script)
    (mark,) = child.read(1)
    assert is_running_process(socket.gethostname(), child.pid, mark) is True
    child.kill()
    until = time.monotonic() + 30
    while is_running_process(socket.gethostname(), child.pid, mark) and time.monotonic() < until:
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}/stat").exists()  # it was not waited for
    assert is_running_process(socket.gethostname(), child.pid, mark) is False
    child.wait()
