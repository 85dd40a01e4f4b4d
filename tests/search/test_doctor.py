"""``actsearch doctor``: is a storage whole, and what could each study go on with."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from storage_cases import outside

import actsearch as acs
from actsearch.cli import main
from actsearch.report.doctor import examine
from actsearch.storage import Storage
from actsearch.storage.tables import LeaseRow

Objective = Callable[[acs.Candidate, acs.Run], float]


def _study(url: str, objective: Objective, name: str = "s") -> acs.Study:
    study = acs.create_study(study_name=name, storage=url, strategy="random", direction="minimize")
    study.optimize(objective, n_trials=4, show_progress_bar=False)
    return study


def _findings(url: str) -> list[str]:
    return [f"{line.what}: {line.text}" for line in examine(url) if line.is_finding]


def test_a_healthy_storage(
    database_url: str, distance: Objective, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(database_url, distance)
    study.enqueue_trial("x*tanh(x)*3")
    assert main(["doctor", database_url]) == 0
    said = capsys.readouterr().out
    for words in (
        "integrity: ok",
        "foreign keys: ok",
        "trials: ok",
        "4 trained trials",
        "healthy",
    ):
        assert words in said
    assert "optimize goes on with 0 interrupted and" in said


def test_what_was_interrupted(sqlite_url: str, distance: Objective) -> None:
    study = _study(sqlite_url, distance)

    def interrupted(candidate: acs.Candidate, run: acs.Run) -> float:
        raise KeyboardInterrupt

    interrupted.__qualname__ = "distance.<locals>.objective"
    study.enqueue_trial("x*tanh(x)*3")
    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted, n_trials=1, show_progress_bar=False, task_changed="accept")
    assert any("with 1 interrupted and" in line.text for line in examine(sqlite_url))
    assert _findings(sqlite_url) == []


def test_a_confirmation_that_was_interrupted(database_url: str) -> None:
    left = [6]

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return float(run.seed % 97)

    study = _study(database_url, objective)
    with pytest.raises(KeyboardInterrupt):
        study.confirm(objective, top_k=1, seeds=2, show_progress_bar=False)
    (line,) = [line.text for line in examine(database_url) if "stored trainings" in line.text]
    assert line == "confirm, called as before, goes on with 2 stored trainings"
    assert _findings(database_url) == []


def test_a_lease(database_url: str, distance: Objective) -> None:
    study = _study(database_url, distance)
    Storage(database_url).lease(study.record).acquire()
    assert _findings(database_url) == []  # its process lives
    assert any(f"process {os.getpid()}" in line.text for line in examine(database_url))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with outside(database_url) as connection:
        connection.execute(sa.update(LeaseRow).values(pid=dead.pid))
    (finding,) = _findings(database_url)
    assert f"process {dead.pid}" in finding
    assert "the next optimize takes it over" in finding


def _change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            base.execute(statement)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM studies", "rows of trials belong to studies that do not exist"),
        ("DELETE FROM trials WHERE number = 3", "rows of evaluations belong to trials"),
        ("DELETE FROM trials WHERE number = 0", "trials, but numbers up to"),
        ("DELETE FROM trial_values", "is COMPLETE without a value"),
        ("UPDATE trials SET state = 'DONE' WHERE number = 1", "has a state that is not valid"),
        (
            "UPDATE trials SET state = 'DUPLICATE', duplicate_of = 77 WHERE number = 1",
            "duplicates a trial that does not exist",
        ),
        ("DROP TABLE looks", "table looks is missing"),
        ("ALTER TABLE trials DROP COLUMN alias", "column trials.alias is missing"),
        (
            "UPDATE trials SET activations = '{\"*\": 1}' WHERE number = 2",
            "trial 2 cannot be read as an activation",
        ),
        ("UPDATE actsearch_schema SET version_num = '0001'", "open it once with"),
        ("UPDATE actsearch_schema SET version_num = '9999'", "install the actsearch version"),
    ],
)
def test_what_is_wrong_is_found(
    sqlite_url: str,
    distance: Objective,
    statement: str,
    finding: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _study(sqlite_url, distance)._storage.database.close()
    _change(Path(sqlite_url.removeprefix("sqlite:///")), statement)
    assert any(finding in text for text in _findings(sqlite_url))
    assert main(["doctor", sqlite_url]) == 1
    assert "! " in capsys.readouterr().out


def test_a_damaged_file(sqlite_url: str, distance: Objective) -> None:
    _study(sqlite_url, distance)._storage.database.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    whole = path.read_bytes()
    found = 0
    for at in range(4096, len(whole) - 4096, 4096):
        path.write_bytes(whole[:at] + b"\xa5" * 4096 + whole[at + 4096 :])
        found += main(["doctor", str(path)])
    assert found >= (len(whole) // 4096 - 2) * 0.9  # a free page may hold anything


@pytest.mark.parametrize(
    ("content", "advice"),
    [(None, "there is no database"), (b"", "is empty"), (b"no database" * 999, "backup")],
)
def test_what_is_no_storage(tmp_path: Path, content: bytes | None, advice: str) -> None:
    path = tmp_path / "file.db"
    if content is not None:
        path.write_bytes(content)
    (finding,) = _findings(f"sqlite:///{path}")
    assert advice in finding
    assert path.exists() == (content is not None)


def test_it_writes_nothing(sqlite_url: str, distance: Objective) -> None:
    _study(sqlite_url, distance)._storage.database.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    before = path.read_bytes()
    assert main(["doctor", sqlite_url]) == 0
    assert path.read_bytes() == before
