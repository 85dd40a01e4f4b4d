"""Many open a database at the same moment, in threads and processes: none fails, and nothing is damaged."""

from __future__ import annotations

import json
import runpy
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from driven import Child, Launcher, check_file

import actsearch as acs
from actsearch.storage import Storage
from actsearch.storage.database import SCHEMA

DATA = Path(__file__).parents[1] / "data"
MAKE = runpy.run_path(str(DATA / "make_databases.py"))
OLD: list[str] = [revision for revision in MAKE["revisions"]() if revision != SCHEMA]
THREADS = 20


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each of some calls returned or raised, made in threads that set off together."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _open(path: Path, create: bool = False) -> Callable[[], None]:
    return lambda: Storage(f"sqlite:///{path}", create=create).database.close()


def _old(revision: str, path: Path) -> Path:
    return Path(shutil.copy(DATA / f"schema_{revision}.db", path))


def _contents(path: Path) -> list[str]:
    """Every table and row; the file is whole and in WAL mode."""
    check_file(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        return sorted(connection.iterdump())


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[str | None], list[str]]:
    """What a database holds that one thread brought up to date, or made."""

    def contents(revision: str | None) -> list[str]:
        path = tmp_path / f"alone_{revision}.db"
        if revision is not None:
            _old(revision, path)
        _open(path, create=revision is None)()
        return _contents(path)

    return contents


Alone = Callable[[str | None], list[str]]


def _check_round(
    folder: Path, revision: str | None, expected: list[str], shared: bool, threads: int
) -> None:
    """Many threads open one file each, or all the same."""
    folder.mkdir()
    paths = [folder / f"{0 if shared else number}.db" for number in range(threads)]
    for path in set(paths) if revision is not None else ():
        _old(str(revision), path)
    assert at_once([_open(path, revision is None) for path in paths]) == [None] * threads
    for path in set(paths):
        assert _contents(path) == expected


@pytest.mark.parametrize("shared", [False, True], ids=["a file each", "one file"])
@pytest.mark.parametrize("revision", [OLD[0], OLD[-1], None])
def test_threads_open_databases(
    tmp_path: Path, alone: Alone, revision: str | None, shared: bool
) -> None:
    """Invariant: every open succeeds, and each database is what one thread makes of it, to the last row."""
    _check_round(tmp_path / "round", revision, alone(revision), shared, threads=6)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["a file each", "one file"])
@pytest.mark.parametrize("revision", [*OLD, None])
def test_they_do_so_ten_times(
    tmp_path: Path, alone: Alone, revision: str | None, shared: bool
) -> None:
    for number in range(10):
        _check_round(tmp_path / str(number), revision, alone(revision), shared, threads=THREADS)


FIRST_USE = """
import sys, threading
from actsearch.storage import Storage
assert "alembic" not in sys.modules
barrier, failed = threading.Barrier(len(sys.argv) - 1), []
def opened(path):
    barrier.wait()
    try:
        Storage("sqlite:///" + path)
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=opened, args=(path,)) for path in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit("; ".join(failed) or 0)
"""


@pytest.mark.slow
def test_it_may_be_the_first_thing_that_a_process_does(tmp_path: Path, alone: Alone) -> None:
    """Alembic is imported when it is first needed, here by every thread at once."""
    paths = [_old(OLD[0], tmp_path / f"{number}.db") for number in range(6)]
    result = subprocess.run(
        [sys.executable, "-c", FIRST_USE, *map(str, paths)], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert all(_contents(path) == alone(OLD[0]) for path in paths)


def test_another_library_may_migrate_meanwhile(tmp_path: Path, alone: Alone) -> None:
    """Optuna makes its databases through Alembic as well, whose module globals are one for the whole process."""
    paths = [_old(OLD[0], tmp_path / f"{number}.db") for number in range(3)]

    def optuna_storages() -> None:
        for number in range(2):
            optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna_{number}.db").engine.dispose()

    results = at_once([optuna_storages, *(_open(path) for path in paths)])
    assert results == [None] * (1 + len(paths))
    assert all(_contents(path) == alone(OLD[0]) for path in paths)


@pytest.mark.parametrize("revision", [OLD[0], None])
def test_threads_open_a_database_of_a_server(postgresql_url: str, revision: str | None) -> None:
    if revision is not None:
        engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            MAKE["fill"](connection, revision)
    opened = at_once([lambda: Storage(postgresql_url, create=revision is None)] * 8)
    assert [type(item) for item in opened] == [Storage] * 8
    assert [len(item.studies()) for item in opened] == [int(revision is not None)] * 8
    for item in opened:
        item.database.close()


MANY = """
import json, os, sys, threading, time
import actsearch as acs

go, url, threads, settings, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
barrier = threading.Barrier(threads + 1)

def create(index):
    barrier.wait()
    try:
        given = {"study_name": "s", **json.loads(settings)}
        if given.get("seed") == "either":
            given["seed"] = (number + index) % 2
        study = acs.create_study(storage=url, **given)
        text = f"OK {study.record.id} {study.record.seed} {study.direction}"
        study._storage.database.close()
    except acs.ActsearchError as error:
        text = "REFUSED " + " ".join(str(error).split())
    except BaseException as error:
        text = "RAISED " + repr(error)
    print(text + "\\n", end="", flush=True)

workers = [threading.Thread(target=create, args=(index,)) for index in range(threads)]
for worker in workers: worker.start()
print("READY", flush=True)
while not os.path.exists(go):
    time.sleep(0.005)
barrier.wait()
for worker in workers: worker.join()
"""
"""Threads of several processes that make one study."""


def _create_at_once(
    launcher: Launcher,
    url: str,
    folder: Path,
    settings: dict[str, Any],
    processes: int,
    threads: int,
) -> list[str]:
    """What became of each call of ``create_study``."""
    go = folder / "go"
    children: list[Child] = [
        launcher.start(MANY, go, url, threads, json.dumps(settings), number * threads)
        for number in range(processes)
    ]
    for child in children:
        assert child.read(1) == ["READY"], child.errors
    go.touch()
    for child in children:
        assert child.wait() == 0, child.errors
    go.unlink()
    said = [line for child in children for line in child.lines[1:] if line]
    assert len(said) == processes * threads
    return said


_MANY = {"sqlite": (8, 12), "postgresql": (4, 6)}
"""Processes, and threads of each: a server of the tests takes 60 connections."""


def _nested(url: str) -> str:
    """A file in folders that are not there yet."""
    return url.replace("study.db", "new/folders/study.db")


@pytest.mark.parametrize(
    ("database_url", "processes", "threads"),
    [
        ("sqlite", 2, 4),
        ("postgresql", 2, 4),
        *(pytest.param(kind, *many, marks=pytest.mark.slow) for kind, many in _MANY.items()),
    ],
    indirect=["database_url"],
)
def test_one_study_is_made_of_many_calls(
    launcher: Launcher, database_url: str, tmp_path: Path, processes: int, threads: int
) -> None:
    """Invariant: of many calls that begin with nothing, each returns the study, and it is there once."""
    url = _nested(database_url)
    settings = {"load_if_exists": True, "seed": 3, "direction": "maximize"}
    said = _create_at_once(launcher, url, tmp_path, settings, processes, threads)
    assert set(said) == {"OK 1 3 maximize"}
    assert [study.name for study in Storage(url).studies()] == ["s"]


def test_calls_with_other_settings_are_told_so(
    launcher: Launcher, database_url: str, tmp_path: Path
) -> None:
    url = _nested(database_url)
    processes, threads = 2, 4
    settings = {"load_if_exists": True, "seed": "either"}
    said = _create_at_once(launcher, url, tmp_path, settings, processes, threads)
    seed = acs.load_study(study_name="s", storage=url).record.seed
    half = processes * threads // 2
    assert said.count(f"OK 1 {seed} None") == half
    refused = (
        "REFUSED study 's' was made with other settings; give those, or another study_name: "
        f"seed: {1 - seed}, stored {seed}"
    )
    assert said.count(refused) == half


def test_of_calls_that_would_make_it_anew_one_does(
    launcher: Launcher, database_url: str, tmp_path: Path
) -> None:
    url = _nested(database_url)
    said = _create_at_once(launcher, url, tmp_path, {}, 2, 4)
    assert said.count("OK 1 0 None") == 1
    assert (
        sum(line.startswith("REFUSED there is a study 's' in") for line in said) == len(said) - 1
    )


def test_many_give_a_study_the_direction_that_it_lacks(
    launcher: Launcher, database_url: str, tmp_path: Path
) -> None:
    acs.create_study(study_name="s", storage=database_url)._storage.database.close()
    settings = {"load_if_exists": True, "direction": "minimize"}
    said = _create_at_once(launcher, database_url, tmp_path, settings, 2, 4)
    assert set(said) == {"OK 1 0 minimize"}


def test_nobody_gives_a_direction_to_a_study_that_is_being_run(database_url: str) -> None:
    """Its driver is about to ask the metric, which may say the other one."""
    study = acs.create_study(study_name="s", storage=database_url)
    lease = study._storage.lease(study.record)
    lease.acquire()
    again = {"study_name": "s", "storage": database_url, "load_if_exists": True}
    with pytest.raises(acs.StudyError, match="is being run by"):
        acs.create_study(**again, direction="maximize")  # type: ignore[arg-type]
    lease.release()
    acs.create_study(**again, direction="maximize")  # type: ignore[arg-type]
    with pytest.raises(acs.StudyError, match="direction: 'minimize', stored 'maximize'"):
        acs.create_study(**again, direction="minimize")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("revision", "processes", "threads"),
    [
        (OLD[0], 2, 4),
        *(pytest.param(old, 4, 12, marks=pytest.mark.slow) for old in (OLD[0], OLD[-1])),
    ],
)
def test_processes_open_one_old_database(
    launcher: Launcher,
    tmp_path: Path,
    alone: Alone,
    revision: str,
    processes: int,
    threads: int,
) -> None:
    path = _old(revision, tmp_path / "study.db")
    settings = {"load_if_exists": True, "study_name": "frozen"}
    expected = alone(revision)
    script_url = f"sqlite:///{path}"
    said = _create_at_once(launcher, script_url, tmp_path, settings, processes, threads)
    assert {line.split()[0] for line in said} == {"OK"}
    assert _contents(path) == expected


class TestOneStorageInThreads:
    """One object that many threads use: a connection for each, or turns where there is only one."""

    @pytest.mark.parametrize("kind", ["file", "memory"])
    def test_all_write_and_read(self, sqlite_url: str, kind: str) -> None:
        url = sqlite_url if kind == "file" else "sqlite://"
        study = acs.create_study(study_name="s", storage=url)

        def use() -> int:
            for _ in range(2):
                study.enqueue_trial("x * tanh(x)")
                assert len(study.trials) > 0
            return len(study.trials)

        counts = at_once([use] * THREADS)
        assert all(isinstance(count, int) for count in counts), counts
        assert max(counts) == len(study.trials) == 2 * THREADS
        assert [trial.number for trial in study.trials] == list(range(2 * THREADS))
