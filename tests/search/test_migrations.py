"""Databases of earlier versions are brought up to date and read; a migration that is killed has not happened."""

from __future__ import annotations

import hashlib
import json
import math
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from storage_cases import outside

import actsearch as acs
from actsearch.cli import main
from actsearch.records import SHARED, Score
from actsearch.report import Reader
from actsearch.storage import Storage, versions
from actsearch.storage.database import SCHEMA, VERSION_TABLE
from actsearch.storage.tables import Base

DATA = Path(__file__).parents[1] / "data"
MAKE = runpy.run_path(str(DATA / "make_databases.py"))
REVISIONS: list[str] = MAKE["revisions"]()
Objective = Callable[[acs.Candidate, acs.Run], float]


def _frozen(revision: str, folder: Path) -> str:
    """A copy of a frozen database; its URL."""
    shutil.copy(DATA / f"schema_{revision}.db", folder / "study.db")
    return f"sqlite:///{folder / 'study.db'}"


def _revision(url: str) -> str:
    with outside(url) as connection:
        return str(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar())


def _check_contents(url: str, revision: str) -> None:
    """Everything that the earlier version stored is there, as the present one reads it."""
    reader = Reader(url)
    (study,) = reader.studies()
    assert (study.name, study.seed, study.direction) == ("frozen", 2**31 - 1, "minimize")
    assert study.versions["torch"] == "2.13.0"
    trials = reader.trials(study, epochs=True, diagnostics=True)
    assert [trial.candidate.formula for trial in trials] == [row[1] for row in MAKE["TRIALS"]]
    assert [trial.state.value for trial in trials] == [row[2] for row in MAKE["TRIALS"]]
    assert (trials[0].value, trials[1].value) == (0.1, 0.1 + 0.2)
    assert trials[2].value is not None
    assert math.isnan(trials[2].value)
    assert trials[3].reason == "ValueError: it's no 'number' – ünï"
    assert (trials[5].duplicate_of, trials[5].value) == (0, 0.1)
    assert trials[1].user_attrs == {"note": "ä"}
    for trial in trials[:3]:
        assert [item.seed for item in trial.evaluations] == [1, 2**31 - 1]
        assert all(len(item.epochs) == 2 for item in trial.evaluations)
    assert trials[2].evaluations[0].epochs[1].train_loss == math.inf
    assert trials[4].mirror == ("" if revision == "0001" else f"{4:032x}")
    assert trials[0].trained_with == (study.versions if revision >= "0004" else {})
    assert (study.directions, trials[0].values) == ((), ())
    seen = trials[0].evaluations[0].diagnostics
    if revision < "0005":
        assert seen is None
    else:
        assert seen is not None
        assert (seen.parameters_added, seen.loss_gap) == (1, -0.25)
        assert len(seen.start) == len(seen.end) == 1
        assert (seen.end[0].gradient_norm, seen.end[0].gain) == (0.125, math.inf)
        assert math.isnan(seen.end[0].learned["theta_0"][1])
    digest = trials[0].candidate.activations[SHARED].digest
    functions = reader.functions(study, [digest, bytes(16)])
    assert set(functions) == ({digest} if revision >= "0008" else set())
    for curve in functions.values():
        assert (curve.x[0], curve.y[80], curve.dy[80]) == (-6, 0.5, 0.25)
    ((_, verdict),) = reader.verdicts(study)
    assert verdict.winner.formula == "tanh(x)"
    reader.close()


class TestFrozen:
    def test_there_is_one_for_every_schema(self) -> None:
        assert REVISIONS[-1] == SCHEMA
        assert sorted(path.stem for path in DATA.glob("*.db")) == [
            f"schema_{revision}" for revision in REVISIONS
        ]

    @pytest.mark.parametrize("revision", REVISIONS)
    def test_it_is_brought_up_to_date_by_who_writes_and_read(
        self, tmp_path: Path, revision: str, distance: Objective
    ) -> None:
        url = _frozen(revision, tmp_path)
        if revision != SCHEMA:
            with pytest.raises(acs.StorageError, match="load_study"):
                Reader(url)
            assert _revision(url) == revision
        study = acs.load_study(study_name="frozen", storage=url)
        _check_contents(url, revision)
        with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with outside(url) as opened:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(opened, opts=options)
            differences = compare_metadata(context, Base.metadata)
        assert [item for item in differences if VERSION_TABLE not in str(item)] == []
        # its driver was on another host, which would be watched for a heartbeat
        assert main(["unlock", "frozen", "--storage", url, "--yes"]) == 0
        study.optimize(distance, n_trials=2, show_progress_bar=False)  # the interrupted ones
        assert [study.trials[number].state.name for number in (6, 7)] == ["COMPLETE"] * 2
        assert study.trials[6].record.trained_with == versions()

    def test_a_confirmation_that_was_interrupted_goes_on(self, tmp_path: Path) -> None:
        url = _frozen("0007", tmp_path)
        storage = Storage(url)
        assert main(["unlock", "frozen", "--storage", url, "--yes"]) == 0
        with outside(url) as connection:  # as if these versions had begun it
            digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode()).hexdigest()
            connection.execute(sa.text("UPDATE environments SET digest = :it"), {"it": digest})
        study = storage.study("frozen")
        lease = storage.lease(study)
        lease.acquire()
        begun = storage.begin_confirmation(study.id, "open", "cpu", lease)
        assert begun.number == 1
        assert begun.scores == {
            "good": Score(0.1 + 0.2, 0.1, False, (0.5, math.inf, None)),
            "diverged": begun.scores["diverged"],
        }
        assert math.isnan(begun.scores["diverged"].losses[0] or 0.0)
        assert begun.scores["diverged"].reason.startswith("seed 1: ")
        assert storage.count_looks(study, "t", ["look"], lease) == 3
        lease.release()
        storage.database.close()

    @pytest.mark.parametrize("revision", REVISIONS)
    def test_so_is_one_on_a_server(self, postgresql_url: str, revision: str) -> None:
        engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            MAKE["fill"](connection, revision)
        Storage(postgresql_url).database.close()
        assert _revision(postgresql_url) == SCHEMA
        _check_contents(postgresql_url, revision)


# kill -9 right after so many statements that change something
KILLED = """
import os, signal, sys
import sqlalchemy as sa
from actsearch.storage import Storage
left = int(sys.argv[2])

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def executed(connection, cursor, statement, *rest):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP", "INSERT", "UPDATE")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

Storage(sys.argv[1], create=True)
"""


def _killed(url: str, statements: int) -> bool:
    """Open a storage in a process that is killed on the way; False if it came to its end before."""
    result = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(statements)], capture_output=True, timeout=60
    )
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def _check_killed_upgrade(url: str, statements: int) -> bool:
    if not _killed(url, statements):
        return False
    assert _revision(url) == "0001"
    with outside(url) as connection:
        assert "environments" not in sa.inspect(connection).get_table_names()
    Storage(url).database.close()
    assert _revision(url) == SCHEMA
    _check_contents(url, "0001")
    return True


def _check_killed_creation(url: str, statements: int) -> bool:
    if not _killed(url, statements):
        return False
    with pytest.raises(acs.StorageError, match="create_study"):
        Storage(url)
    acs.create_study(study_name="s", storage=url)
    assert acs.load_study(study_name="s", storage=url).trials == []
    return True


class TestKilled:
    @pytest.mark.parametrize("statements", [3, 11])
    @pytest.mark.slow
    def test_an_upgrade_has_not_happened(self, tmp_path: Path, statements: int) -> None:
        url = _frozen("0001", tmp_path)
        assert _check_killed_upgrade(url, statements)

    @pytest.mark.slow
    def test_nor_on_a_server(self, postgresql_url: str) -> None:
        engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            MAKE["fill"](connection, "0001")
        assert _check_killed_upgrade(postgresql_url, 5)

    @pytest.mark.slow
    def test_nor_the_making_of_a_database(self, database_url: str) -> None:
        assert _check_killed_creation(database_url, 9)

    @pytest.mark.slow
    @pytest.mark.parametrize("check", [_check_killed_upgrade, _check_killed_creation])
    def test_at_every_statement(self, tmp_path: Path, check: Callable[[str, int], bool]) -> None:
        statements = 0
        going = True
        while going:
            statements += 1
            folder = tmp_path / str(statements)
            folder.mkdir()
            url = f"sqlite:///{folder / 'study.db'}"
            if check is _check_killed_upgrade:
                _frozen("0001", folder)
            going = check(url, statements)
        print(f"{check.__name__}: killed at each of {statements - 1} statements")
        assert statements > 10
