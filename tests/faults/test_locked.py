"""Another program holds the database: the search waits, loses nothing, and says so if it takes too long."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driven import check_file, search

import actsearch as acs
from actsearch.report import Reader
from actsearch.storage import sqlite

Objective = Callable[[acs.Candidate, acs.Run], float]

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("HELD", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@contextmanager
def _held(path: Path, seconds: float) -> Iterator[None]:
    """Another process holds an exclusive lock for so long, from when this begins."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "HELD\n"
        yield
        process.kill()


@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_the_run_goes_on_when_the_lock_is_gone(
    tmp_path: Path, distance: Objective, seconds: float
) -> None:
    """Invariant: nothing is lost or trained twice, and readers are not kept out meanwhile."""
    path = tmp_path / "study.db"
    waited: list[float] = []
    reported: list[int] = []

    def lock(study: acs.Study, trial: acs.Trial) -> None:
        reported.append(trial.number)
        if len(reported) == 5:
            held = _held(path, seconds)
            held.__enter__()
            waited.append(time.monotonic())
            reader = Reader(f"sqlite:///{path}")
            assert len(reader.trials(reader.study("s"))) >= 5
            reader.close()
        elif len(reported) == 6:
            waited.append(time.monotonic())

    study = search(path, distance, 12, lock)
    assert waited[1] - waited[0] > 0.8 * seconds
    unbroken = search(tmp_path / "unbroken.db", distance, 12)
    assert [(t.number, t.state, t.value) for t in study.trials] == [
        (t.number, t.state, t.value) for t in unbroken.trials
    ]
    assert len(reported) == len(set(reported)) == 12
    check_file(path)


def test_so_do_opening_and_resuming(tmp_path: Path, distance: Objective) -> None:
    path = tmp_path / "study.db"
    search(path, distance, 12)._storage.database.close()
    with _held(path, 0.5):
        study = acs.load_study(study_name="s", storage=f"sqlite:///{path}")
        study.optimize(distance, total_trials=13, show_progress_bar=False)
    assert sum(trial.state.is_trained for trial in study.trials) == 13


def test_a_lock_that_stays_ends_the_run_with_a_sentence(
    tmp_path: Path, distance: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: what was reported is kept, and once the lock is gone the search goes on in the same process."""
    path = tmp_path / "study.db"
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    reported: list[int] = []
    held = _held(path, 60)

    def lock(study: acs.Study, trial: acs.Trial) -> None:
        reported.append(trial.number)
        if len(reported) == 5:
            held.__enter__()

    with pytest.raises(
        acs.StorageError, match="locked; another program has held it for 0.2 s, end that"
    ):
        search(path, distance, 12, lock)
    held.__exit__(None, None, None)
    study = search(path, distance, 12, lock)
    assert [t.number for t in study.trials if t.state.is_trained] == reported
    assert len(set(reported)) == 12
