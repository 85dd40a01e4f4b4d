"""The database: its schema, what it refuses, how it is opened, and what happens when several use it."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import actsearch as acs
from actsearch.activation import describe
from actsearch.records import (
    SHARED,
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from actsearch.report import Reader
from actsearch.storage import Lease, Storage, redacted
from actsearch.storage.database import SCHEMA, VERSION_TABLE
from actsearch.storage.tables import Base, TrialRow

Objective = Callable[[acs.Candidate, acs.Run], float]


def _record(name: str = "s", seed: int = 0) -> StudyRecord:
    return StudyRecord(0, name, seed, "maximize", {"a": [1]}, {"name": "random", "settings": {}})


def _waiting(formula: str = "x * tanh(x)", **settings: Any) -> TrialRecord:
    candidate = CandidateRecord({SHARED: describe(formula)}, "test", (1, 2))
    return TrialRecord(-1, TrialState.WAITING, candidate, fingerprint="f", **settings)


def _evaluation(seed: int = 1, epochs: tuple[EpochRecord, ...] = ()) -> EvaluationRecord:
    return EvaluationRecord(seed, 0.5, {"loss": 0.5}, epochs, 0.1)


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def storage(sqlite_url: str) -> Iterator[Storage]:
    opened = Storage(sqlite_url, create=True)
    yield opened
    opened.database.close()


@pytest.fixture
def filled(storage: Storage) -> tuple[Storage, StudyRecord, Lease]:
    """A study with one complete trial, its evaluation and epochs, a verdict, and a lease."""
    study = storage.create_study(_record())
    lease = storage.lease(study)
    lease.acquire()
    storage.add_trials(study.id, [_waiting()], lease)
    outcome = Outcome(
        TrialState.COMPLETE, 0.5, 0.1, (_evaluation(1, (EpochRecord(1, 0.1, 0.2, 0.3, 0.4),)),)
    )
    storage.finish_trials(study.id, {0: outcome}, lease)
    storage.add_confirmation(study.id, "key", {"words": []}, lease)
    storage.count_looks(study, "test data", 3, lease)
    return storage, study, lease


@contextmanager
def _raw(url: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(_path(url), timeout=5)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def _counts(url: str) -> dict[str, int]:
    with _raw(url) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in Base.metadata.tables
        }


class TestSchema:
    def test_a_new_file_is_exactly_what_the_models_say(
        self, storage: Storage, sqlite_url: str
    ) -> None:
        engine = sa.create_engine(sqlite_url)
        options = {"compare_type": True, "compare_server_default": True}
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts=options
                | {"include_name": lambda name, kind, _: (kind, name) != ("table", VERSION_TABLE)},
            )
            assert compare_metadata(context, Base.metadata) == []
        engine.dispose()

    def test_the_comparison_would_notice_a_missing_column(
        self, storage: Storage, sqlite_url: str
    ) -> None:
        with _raw(sqlite_url) as connection:
            connection.execute("ALTER TABLE trials DROP COLUMN alias")
            connection.commit()
        engine = sa.create_engine(sqlite_url)
        with engine.connect() as connection_:
            differences = compare_metadata(MigrationContext.configure(connection_), Base.metadata)
        engine.dispose()
        assert any("alias" in str(difference) for difference in differences)

    def test_constraints_have_the_names_that_the_models_give_them(
        self, storage: Storage, sqlite_url: str
    ) -> None:
        with _raw(sqlite_url) as connection:
            found = " ".join(
                row[0]
                for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql <> ''")
            )
        for table in Base.metadata.tables.values():
            for constraint in table.constraints:
                assert str(constraint.name) in found

    def test_every_nullable_flag_agrees(self, storage: Storage, sqlite_url: str) -> None:
        with _raw(sqlite_url) as connection:
            for name, table in Base.metadata.tables.items():
                rows = connection.execute(f"PRAGMA table_info({name})").fetchall()
                stored = {row[1]: not row[3] and not row[5] for row in rows}
                assert stored == {column.name: column.nullable for column in table.columns}

    def test_the_schema_version_is_written_down(self, storage: Storage, sqlite_url: str) -> None:
        with _raw(sqlite_url) as connection:
            rows = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()
        assert rows == [(SCHEMA,)]

    def test_the_file_is_in_wal_mode(self, storage: Storage, sqlite_url: str) -> None:
        with _raw(sqlite_url) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class TestRefusals:
    """What the database itself refuses, whatever the program would do."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO studies SELECT id + 1, name, seed, direction, space, strategy, task, "
            "versions, user_attrs, created, pruner FROM studies",
            "INSERT INTO trials SELECT id + 1, study_id, number, state, activations, formula, "
            "label, operation, parents, fingerprint, alias, duplicate_of, spread, reason, "
            "warnings, user_attrs, seconds, created, started, completed, mirror FROM trials",
            "INSERT INTO trial_values SELECT trial_id, objective, 1.0, NULL FROM trial_values",
            "INSERT INTO evaluations SELECT id + 1, trial_id, seed, value, metrics, seconds, "
            "reason FROM evaluations",
            "INSERT INTO epochs SELECT * FROM epochs",
            "INSERT INTO confirmations SELECT id + 1, study_id, number, 'other', verdict, created "
            "FROM confirmations",
            "INSERT INTO confirmations SELECT id + 1, study_id, number + 1, key, verdict, created "
            "FROM confirmations",
            "INSERT INTO leases SELECT * FROM leases",
        ],
    )
    def test_doubled_rows(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str, statement: str
    ) -> None:
        with _raw(sqlite_url) as connection:
            with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
                connection.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE trials SET state = 'DONE'",
            "UPDATE trials SET state = 'complete'",
            "UPDATE trials SET state = 'DUPLICATE'",
            "UPDATE trials SET duplicate_of = 0",
            "UPDATE studies SET direction = 'up'",
        ],
    )
    def test_words_that_are_none(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str, statement: str
    ) -> None:
        with _raw(sqlite_url) as connection:
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
                connection.execute(statement)

    @pytest.mark.parametrize("state", list(TrialState))
    def test_every_state_is_allowed(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str, state: TrialState
    ) -> None:
        original = 0 if state is TrialState.DUPLICATE else None
        with _raw(sqlite_url) as connection:
            connection.execute(
                "UPDATE trials SET state = ?, duplicate_of = ?", (state.value, original)
            )
            connection.commit()
        storage, study, _ = filled
        assert storage.trials(study.id)[0].state is state

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE trials SET study_id = 99",
            "UPDATE evaluations SET trial_id = 99",
            "UPDATE epochs SET evaluation_id = 99",
            "UPDATE trial_values SET trial_id = 99",
            "UPDATE confirmations SET study_id = 99",
            "UPDATE leases SET study_id = 99",
        ],
    )
    def test_rows_of_nothing(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str, statement: str
    ) -> None:
        with _raw(sqlite_url) as connection:
            with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
                connection.execute(statement)

    def test_a_refused_write_is_a_storage_error(
        self, filled: tuple[Storage, StudyRecord, Lease]
    ) -> None:
        storage, study, _ = filled
        with pytest.raises(acs.StorageError, match="refused a write"):
            with storage.database.writing() as session:
                session.add(TrialRow(study_id=study.id))


class TestDeleting:
    def test_a_study_takes_everything_of_its_own_with_it(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, _, lease = filled
        other = storage.create_study(_record("other"))
        storage.add_trials(other.id, [_waiting()], None)
        lease.release()
        storage.delete_study("s")
        counts = _counts(sqlite_url)
        assert counts == dict.fromkeys(counts, 0) | {
            "studies": 1,
            "trials": 1,
            "looks": 1,
        }  # looks are never forgotten
        assert [study.name for study in storage.studies()] == ["other"]

    def test_a_study_that_is_run_stays(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        before = _counts(sqlite_url)
        with pytest.raises(acs.StudyError, match="is being run by"):
            filled[0].delete_study("s")
        assert _counts(sqlite_url) == before

    def test_a_deleted_name_is_free_again(self, storage: Storage) -> None:
        storage.create_study(_record())
        storage.delete_study("s")
        assert storage.trials(storage.create_study(_record()).id) == []


class TestValues:
    @pytest.mark.parametrize("value", [0.1 + 0.2, -1e-320, 1e308, 0.0, -7.0])
    def test_finite_numbers_come_back_exactly(self, storage: Storage, value: float) -> None:
        assert self._stored(storage, value).value == value

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_other_numbers_are_null_with_a_text_and_come_back(
        self, storage: Storage, sqlite_url: str, value: float
    ) -> None:
        trial = self._stored(storage, value)
        assert trial.value is not None
        assert str(trial.value) == str(value)
        with _raw(sqlite_url) as connection:
            row = connection.execute("SELECT value, nonfinite FROM trial_values").fetchone()
            assert row == (None, str(value))
            epoch = connection.execute(
                "SELECT train_loss, valid_loss, train_metric FROM epochs"
            ).fetchone()
            assert epoch == (None, 0.25, None)
        (evaluation,) = trial.evaluations
        assert str(evaluation.epochs[0].train_loss) == str(value)
        assert evaluation.epochs[0].valid_loss == 0.25
        assert evaluation.epochs[0].train_metric is None
        assert str(evaluation.metrics["loss"]) == str(value)

    @staticmethod
    def _stored(storage: Storage, value: float) -> TrialRecord:
        study = storage.create_study(_record())
        lease = storage.lease(study)
        lease.acquire()
        storage.add_trials(study.id, [_waiting()], lease)
        epoch = EpochRecord(1, train_loss=value, valid_loss=0.25)
        evaluation = EvaluationRecord(1, value, {"loss": value}, (epoch,), 0.1)
        outcome = Outcome(TrialState.PRUNED, value, value, (evaluation,), "pruned")
        storage.finish_trials(study.id, {0: outcome}, lease)
        lease.release()
        return storage.trials(study.id, epochs=True)[0]

    def test_a_trial_comes_back_as_it_was(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        record = _waiting(
            warnings=("careful",),
            user_attrs={"note": "ä\n'\"", "list": [1, None]},
            alias="a",
            created=datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        )
        (stored,) = storage.add_trials(study.id, [record], None)
        assert storage.trials(study.id) == [stored]
        assert stored.candidate == record.candidate
        assert stored.user_attrs == record.user_attrs
        assert stored.created == record.created

    def test_trials_are_numbered_on_whatever_they_bring(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        storage.add_trials(study.id, [_waiting(), _waiting()], None)
        stored = storage.add_trials(study.id, [_waiting()] * 3, None)
        assert [trial.number for trial in stored] == [2, 3, 4]

    def test_a_repetition_within_a_batch_gets_the_final_number(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        storage.add_trials(study.id, [_waiting()] * 4, None)
        repeated = TrialRecord(
            -1, TrialState.DUPLICATE, _waiting().candidate, fingerprint="f", duplicate_of=-2
        )
        storage.add_trials(study.id, [_waiting(), _waiting(), repeated], None)
        assert storage.trials(study.id)[6].duplicate_of == 5

    def test_times_are_aware_and_in_utc(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, study, lease = filled
        storage.add_trials(study.id, [_waiting()], lease)
        storage.start_trials(study.id, [1], lease)
        times = [
            storage.study("s").created,
            storage.trials(study.id)[0].created,
            storage.trials(study.id)[0].completed,
            storage.trials(study.id)[1].started,
            storage.confirmations(study.id)[0].created,
        ]
        for moment in times:
            assert moment is not None
            assert moment.utcoffset() == timedelta(0)
            assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)

    def test_another_time_zone_is_the_same_moment(self, storage: Storage) -> None:
        moment = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        study = storage.create_study(_record())
        storage.add_trials(study.id, [_waiting(created=moment)], None)
        stored = storage.trials(study.id)[0].created
        assert stored == moment
        assert stored is not None
        assert stored.utcoffset() == timedelta(0)

    @pytest.mark.parametrize(
        "name",
        [
            "'; DROP TABLE trials; --",
            'a "quoted" study',
            "100 %s %(x)s ? :x",
            "ünïcödé 研究 🧪",
            "../../etc/passwd",
            "a\nb",
        ],
    )
    def test_any_text_may_be_a_name(self, storage: Storage, sqlite_url: str, name: str) -> None:
        study = storage.create_study(_record(name))
        storage.create_study(_record("bystander"))
        storage.add_trials(study.id, [_waiting(reason=name)], None)
        assert storage.study(name).name == name
        assert storage.trials(study.id)[0].reason == name
        storage.delete_study(name)
        assert [item.name for item in storage.studies()] == ["bystander"]
        assert _counts(sqlite_url)["trials"] == 0

    def test_wildcards_in_a_name_match_nothing_else(self, storage: Storage) -> None:
        storage.create_study(_record("study_1"))
        for pattern in ("study%", "study__", "STUDY_1"):
            with pytest.raises(acs.StudyError, match="there is no study"):
                storage.study(pattern)

    def test_trials_can_be_read_in_part(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        storage.add_trials(study.id, [_waiting()] * 6, None)

        def numbers(**how: Any) -> list[int]:
            return [trial.number for trial in storage.trials(study.id, **how)]

        assert numbers(since=4) == [4, 5]
        assert numbers(numbers=[5, 1, 1]) == [1, 5]
        assert numbers(numbers=[]) == []
        assert numbers(numbers=range(3, 50)) == [3, 4, 5]


def _folder(path: Path) -> None:
    path.mkdir()


def _random_bytes(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def _zero_bytes(path: Path) -> None:
    path.touch()


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
        connection.commit()


def _truncated(path: Path) -> None:
    study = acs.create_study(study_name="s", storage=f"sqlite:///{path}")
    study._storage.database.close()
    path.write_bytes(path.read_bytes()[:5000])


def _newer(path: Path) -> None:
    study = acs.create_study(study_name="s", storage=f"sqlite:///{path}")
    study._storage.database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        connection.commit()


def _missing(path: Path) -> None: ...


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_missing, "create_study"),
    "folder": (_folder, "folder"),
    "random bytes": (_random_bytes, "backup"),
    "zero bytes": (_zero_bytes, "create_study"),
    "foreign": (_foreign, "file of its own"),
    "truncated": (_truncated, "backup"),
    "newer": (_newer, "install"),
}

OPENERS: dict[str, Callable[[str], Any]] = {
    "load_study": lambda url: acs.load_study(study_name="s", storage=url),
    "delete_study": lambda url: acs.delete_study(study_name="s", storage=url),
    "Reader": Reader,
}


def _listing(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes; -wal and -shm belong to SQLite and are empty at rest."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(("-wal", "-shm"))
    }


class TestOpening:
    @pytest.mark.parametrize("opener", list(OPENERS))
    @pytest.mark.parametrize("kind", list(BAD_FILES))
    def test_a_bad_file_is_refused_and_not_touched(
        self, kind: str, opener: str, tmp_path: Path
    ) -> None:
        make, advice = BAD_FILES[kind]
        make(tmp_path / "study.db")
        before = _listing(tmp_path)
        with pytest.raises(acs.StorageError, match=advice) as caught:
            OPENERS[opener](f"sqlite:///{tmp_path}/study.db")
        assert str(tmp_path / "study.db") in str(caught.value)
        assert _listing(tmp_path) == before

    @pytest.mark.parametrize("kind", ["folder", "random bytes", "foreign", "truncated", "newer"])
    def test_create_study_refuses_it_too(self, kind: str, tmp_path: Path) -> None:
        make, advice = BAD_FILES[kind]
        make(tmp_path / "study.db")
        before = _listing(tmp_path)
        with pytest.raises(acs.StorageError, match=advice):
            acs.create_study(study_name="t", storage=f"sqlite:///{tmp_path}/study.db")
        assert _listing(tmp_path) == before

    @pytest.mark.parametrize("revision", ["0001", "0002"])
    def test_an_older_schema_is_brought_up_to_date_by_who_writes(
        self, tmp_path: Path, revision: str
    ) -> None:
        url = f"sqlite:///{tmp_path}/study.db"
        study = acs.create_study(study_name="s", storage=url)
        study.enqueue_trial("tanh")
        study._storage.database.close()
        with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
            connection.execute("ALTER TABLE studies DROP COLUMN pruner")
            if revision == "0001":
                connection.execute("ALTER TABLE trials DROP COLUMN mirror")
            connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")
            connection.commit()
        before = _listing(tmp_path)
        with pytest.raises(acs.StorageError, match="load_study"):
            Reader(url)
        assert _listing(tmp_path) == before
        loaded = acs.load_study(study_name="s", storage=url)
        assert loaded.record.pruner is None
        (trial,) = loaded.trials
        assert (trial.number, trial.candidate.formula) == (0, "tanh(x)")
        with _raw(url) as connection:
            assert connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall() == [
                (SCHEMA,)
            ]
        assert len(Reader(url).studies()) == 1

    def test_create_study_makes_the_file_and_its_folders(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/new/folder/study.db"
        acs.create_study(study_name="s", storage=url)
        assert acs.load_study(study_name="s", storage=url).study_name == "s"

    def test_create_study_uses_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "study.db").touch()
        url = f"sqlite:///{tmp_path}/study.db"
        acs.create_study(study_name="s", storage=url)
        assert acs.load_study(study_name="s", storage=url).trials == []

    def test_nothing_is_made_for_a_study_that_is_refused(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/study.db"
        bad: list[dict[str, Any]] = [
            {"study_name": ""},
            {"study_name": "s", "seed": -1},
            {"study_name": "s", "strategy": "genetics"},
            {"study_name": "s", "direction": "up"},
        ]
        for settings in bad:
            with pytest.raises(acs.ActsearchError):
                acs.create_study(storage=url, **settings)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_can_not_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(acs.StorageError, match="cannot make the folder"):
            acs.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/file/x/study.db")

    @pytest.mark.parametrize(
        "url",
        ["study.db", "", "///", "sqlite:/study.db", "file:study.db", "bogus://x", 3, Path("a.db")],
    )
    @pytest.mark.parametrize("opener", [*OPENERS])
    def test_what_is_no_storage_url_is_refused(self, url: Any, opener: str) -> None:
        with pytest.raises(acs.StorageError, match="sqlite:///"):
            OPENERS[opener](url)

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://user:hunter2@host/db",
            "mysql+pymysql://user:hunter2@host:3306/db",
            "bogus://user:hunter2@host",
            "postgresql://user:hunter2@host:port/db",
            "postgresql:/user:hunter2@host/db",
            "user:hunter2@host/db",
        ],
    )
    @pytest.mark.parametrize("opener", [*OPENERS])
    def test_a_password_is_never_shown(self, url: str, opener: str) -> None:
        with pytest.raises(acs.StorageError) as caught:
            OPENERS[opener](url)
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = None if error.__suppress_context__ else error.__cause__ or error.__context__
        assert "hunter2" not in redacted(url)
        assert "host" in str(caught.value)

    def test_memory_is_not_shared(self) -> None:
        first, second = acs.create_study(study_name="s"), acs.create_study(study_name="s")
        first.enqueue_trial("relu")
        assert (len(first.trials), len(second.trials)) == (1, 0)

    def test_a_name_in_use_is_refused(self, sqlite_url: str) -> None:
        acs.create_study(study_name="s", storage=sqlite_url)
        with pytest.raises(acs.StudyError, match="load_if_exists"):
            acs.create_study(study_name="s", storage=sqlite_url)


READ = """
import sys
from actsearch.report import Reader
reader = Reader("sqlite:///" + sys.argv[1])
(study,) = reader.studies()
print(study.name, reader.is_live, len(reader.trials(study, epochs=True)), reader.is_running(study))
print(len(reader.summaries()))
"""


_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS = 24, 1  # prctl(2), capabilities(7)


def _give_up_permissions() -> None:
    """Root may write anywhere; without this capability it is a user like others."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS, 0, 0, 0)


def _as_plain_user(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run python without root's right to write everywhere."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        preexec_fn=_give_up_permissions,
    )


class TestReadOnly:
    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that others may enter, with a stored study and without -wal and -shm."""
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            folder = Path(name)
            folder.chmod(0o755)
            study = acs.create_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
            study.enqueue_trial("x * tanh(x)")
            study._storage.database.close()
            (folder / "study.db").chmod(0o444)
            assert [path.name for path in folder.iterdir()] == ["study.db"]
            yield folder
            folder.chmod(0o755)

    def test_a_folder_that_can_not_be_written_is_read_as_a_picture(self, folder: Path) -> None:
        folder.chmod(0o555)
        result = _as_plain_user(["-c", READ, f"{folder}/study.db"])
        assert result.stdout.split("\n")[:2] == ["s False 1 False", "1"], result.stderr
        assert [path.name for path in folder.iterdir()] == ["study.db"]

    def test_a_file_that_can_not_be_written_is_read(self, folder: Path) -> None:
        folder.chmod(0o777)
        result = _as_plain_user(["-c", READ, f"{folder}/study.db"])
        assert result.stdout.split()[:3] in (["s", "True", "1"], ["s", "False", "1"]), (
            result.stderr
        )

    @pytest.mark.parametrize(
        ("mode", "permissions"), [("WAL", 0o555), ("DELETE", 0o777)], ids=["folder", "file"]
    )
    def test_writing_there_says_what_to_check(
        self, folder: Path, mode: str, permissions: int
    ) -> None:
        with closing(sqlite3.connect(folder / "study.db")) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        folder.chmod(permissions)
        script = (
            "import sys\n"
            "from actsearch.storage import Storage\n"
            "from actsearch.errors import StorageError\n"
            "try: Storage('sqlite:///' + sys.argv[1]).delete_study('s')\n"
            "except StorageError as error: print(error)"
        )
        result = _as_plain_user(["-c", script, f"{folder}/study.db"])
        assert "can be written" in result.stdout, result.stderr

    def test_reading_writes_nothing(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        filled[0].database.close()
        before = _path(sqlite_url).read_bytes()
        reader = Reader(sqlite_url)
        (study,) = reader.studies()
        assert reader.is_live
        assert len(reader.trials(study, epochs=True)[0].evaluations[0].epochs) == 1
        reader.close()
        assert _path(sqlite_url).read_bytes() == before

    def test_a_reader_can_not_write(self, storage: Storage, sqlite_url: str) -> None:
        storage.create_study(_record())
        readonly = Storage(sqlite_url, read_only=True)
        with pytest.raises(acs.StorageError):
            readonly.create_study(_record("other"))
        readonly.database.close()

    def test_a_reader_sees_what_is_written_later(self, storage: Storage, sqlite_url: str) -> None:
        study = storage.create_study(_record())
        reader = Reader(sqlite_url)
        assert reader.trials(study) == []
        storage.add_trials(study.id, [_waiting()], None)
        assert len(reader.trials(study)) == 1
        reader.close()

    @pytest.mark.parametrize("name", ["a b", "50%25", "100%", "q?mode=rwc", "hash#tag", "ünï"])
    def test_odd_file_names_are_only_names(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / f"{name}.db"
        made = Storage(f"sqlite:///{tmp_path}/plain.db", create=True)
        made.create_study(_record())
        made.database.close()
        (tmp_path / "plain.db").rename(path)
        reader = Reader(sa.URL.create("sqlite", database=str(path)).render_as_string())
        assert [study.name for study in reader.studies()] == ["s"]
        reader.close()
        assert {item.name.split(".db")[0] for item in tmp_path.iterdir()} == {name}


class TestTransactions:
    def test_one_that_fails_half_way_writes_nothing(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, study, lease = filled
        storage.add_trials(study.id, [_waiting(), _waiting()], lease)
        before = _counts(sqlite_url)
        good = Outcome(TrialState.COMPLETE, 0.5, None, (_evaluation(),))
        doubled = Outcome(TrialState.COMPLETE, 0.5, None, (_evaluation(7), _evaluation(7)))
        with pytest.raises(acs.StorageError, match="refused a write"):
            storage.finish_trials(study.id, {1: good, 2: doubled}, lease)
        assert _counts(sqlite_url) == before
        assert [t.state.name for t in storage.trials(study.id)[1:]] == ["WAITING", "WAITING"]
        storage.finish_trials(study.id, {1: good}, lease)  # and the storage is still good for it

    def test_a_batch_with_a_bad_trial_is_not_stored_at_all(
        self, filled: tuple[Storage, StudyRecord, Lease]
    ) -> None:
        storage, study, lease = filled
        bad = TrialRecord(-1, TrialState.DUPLICATE, _waiting().candidate)  # of nothing
        with pytest.raises(acs.StorageError, match="refused a write"):
            storage.add_trials(study.id, [_waiting(), bad], lease)
        assert len(storage.trials(study.id)) == 1

    def test_an_exception_of_ours_rolls_back_too(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, _, _ = filled

        def fail() -> None:
            with storage.database.writing() as session:
                session.execute(sa.text("DELETE FROM trials"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert _counts(sqlite_url)["trials"] == 1

    def test_reading_works_while_a_writer_holds_its_transaction(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, study, _ = filled
        reader = Reader(sqlite_url)
        with storage.database.writing() as session:
            session.execute(sa.text("UPDATE trials SET reason = 'new'"))
            started = time.monotonic()
            assert reader.trials(study)[0].reason == ""
            assert time.monotonic() - started < 5  # it did not wait for the writer
        assert reader.trials(study)[0].reason == "new"
        reader.close()

    def test_a_second_writer_waits_for_the_first(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str
    ) -> None:
        storage, study, _ = filled
        second = Storage(sqlite_url)
        order: list[str] = []

        def write() -> None:
            second.add_trials(study.id, [_waiting()], None)
            order.append("second")

        thread = threading.Thread(target=write)
        with storage.database.writing() as session:
            session.execute(sa.text("UPDATE trials SET reason = 'first'"))
            thread.start()
            thread.join(0.4)
            order.append("first")
        thread.join(20)
        assert order == ["first", "second"]
        assert [trial.number for trial in storage.trials(study.id)] == [0, 1]
        second.database.close()

    def test_numbers_stay_unique_when_many_enqueue_at_once(
        self, storage: Storage, sqlite_url: str
    ) -> None:
        study = storage.create_study(_record())

        def enqueue() -> None:
            opened = Storage(sqlite_url)
            for _ in range(5):
                opened.add_trials(study.id, [_waiting()], None)
            opened.database.close()

        threads = [threading.Thread(target=enqueue) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [trial.number for trial in storage.trials(study.id)] == list(range(20))

    def test_several_may_make_the_file_at_once(self, sqlite_url: str) -> None:
        failures: list[Exception] = []

        def make(name: str) -> None:
            try:
                acs.create_study(study_name=name, storage=sqlite_url)
            except acs.ActsearchError as error:
                failures.append(error)

        threads = [threading.Thread(target=make, args=(f"s{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert len(Storage(sqlite_url).studies()) == 4


class TestLease:
    def test_it_is_taken_once(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        first, second = storage.lease(study), storage.lease(study)
        first.acquire()
        with pytest.raises(acs.StudyError, match=f"process {os.getpid()}"):
            second.acquire()
        first.release()
        second.acquire()

    def test_releasing_twice_or_anothers_does_nothing(self, storage: Storage) -> None:
        study = storage.create_study(_record())
        first, second = storage.lease(study), storage.lease(study)
        first.acquire()
        second.release()
        assert storage.is_running(study.id)
        first.release()
        first.release()
        assert not storage.is_running(study.id)

    @pytest.mark.parametrize("held_by", ["nobody", "another"])
    def test_without_it_nothing_is_written(
        self, filled: tuple[Storage, StudyRecord, Lease], sqlite_url: str, held_by: str
    ) -> None:
        storage, study, lease = filled
        lease.release()
        if held_by == "another":
            storage.lease(study).acquire()
        before = _counts(sqlite_url)
        outcome = Outcome(TrialState.COMPLETE, 0.5)
        writes: list[Callable[[], Any]] = [
            lambda: storage.add_trials(study.id, [_waiting()], lease),
            lambda: storage.start_trials(study.id, [0], lease),
            lambda: storage.finish_trials(study.id, {0: outcome}, lease),
            lambda: storage.screen_trial(study.id, storage.trials(study.id)[0], lease),
            lambda: storage.update_study(study.id, lease, direction="minimize"),
            lambda: storage.add_confirmation(study.id, "k", {}, lease),
            lambda: storage.count_looks(study, "d", 1, lease),
        ]
        for write in writes:
            with pytest.raises(acs.StudyError, match="no longer ours"):
                write()
        assert _counts(sqlite_url) == before
        assert storage.study("s").direction == "maximize"
        assert storage.trials(study.id)[0].state is TrialState.COMPLETE

    @staticmethod
    def _set(url: str, **columns: Any) -> None:
        with _raw(url) as connection:
            for name, value in columns.items():
                connection.execute(f"UPDATE leases SET {name} = ?", (value,))
            connection.commit()

    def test_that_of_a_dead_process_is_taken_over(self, storage: Storage, sqlite_url: str) -> None:
        study = storage.create_study(_record())
        storage.lease(study).acquire()
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        self._set(sqlite_url, pid=dead.pid)
        assert not storage.is_running(study.id)
        assert not Reader(sqlite_url).summaries()[0].is_running
        storage.lease(study).acquire()

    @pytest.mark.parametrize(("hours", "taken"), [(0.5, False), (1.5, True)])
    def test_that_of_another_machine_after_an_hour_of_silence(
        self, storage: Storage, sqlite_url: str, hours: float, taken: bool
    ) -> None:
        study = storage.create_study(_record())
        storage.lease(study).acquire()
        renewed = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
        self._set(sqlite_url, host="elsewhere", renewed=str(renewed))
        if taken:
            storage.lease(study).acquire()
        else:
            with pytest.raises(acs.StudyError, match="elsewhere"):
                storage.lease(study).acquire()

    def test_a_write_renews_it(self, storage: Storage, sqlite_url: str) -> None:
        study = storage.create_study(_record())
        lease = storage.lease(study)
        lease.acquire()
        self._set(sqlite_url, renewed="2020-01-01 00:00:00.000000")
        storage.add_trials(study.id, [_waiting()], lease)
        with _raw(sqlite_url) as connection:
            (renewed,) = connection.execute("SELECT renewed FROM leases").fetchone()
        assert renewed > "2026"


@pytest.mark.parametrize("text", ["nul \0 inside", "lone \ud800 surrogate", "line\nbreak", "'\"%"])
def test_any_message_of_an_objective_is_stored(sqlite_url: str, text: str) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        raise ValueError(text)

    study = acs.create_study(study_name="s", storage=sqlite_url, direction="minimize")
    study.optimize(objective, n_trials=2, show_progress_bar=False)
    reason = acs.load_study(study_name="s", storage=sqlite_url).trials[0].reason
    assert "ValueError" in reason
    assert text[:3] in reason


def test_a_long_study_comes_back_whole(storage: Storage) -> None:
    study = storage.create_study(_record())
    lease = storage.lease(study)
    lease.acquire()
    storage.add_trials(study.id, [_waiting()] * 1000, lease)
    outcome = Outcome(
        TrialState.COMPLETE, 0.5, None, (_evaluation(1, (EpochRecord(1), EpochRecord(2))),)
    )
    storage.finish_trials(study.id, dict.fromkeys(range(1000), outcome), lease)
    trials = storage.trials(study.id, epochs=True)
    assert [trial.number for trial in trials] == list(range(1000))
    assert all(len(trial.evaluations[0].epochs) == 2 for trial in trials)


class TestLooks:
    def test_each_sees_every_earlier_one_on_its_test_data(self, storage: Storage) -> None:
        studies = [
            storage.create_study(dataclasses.replace(_record(), name=name)) for name in "ab"
        ]
        leases = [storage.lease(study) for study in studies]
        for lease in leases:
            lease.acquire()
        assert storage.count_looks(studies[0], "digits", 3, leases[0]) == 0
        assert storage.count_looks(studies[1], "digits", 4, leases[1]) == 3
        assert storage.count_looks(studies[0], "other", 1, leases[0]) == 0
        assert storage.count_looks(studies[0], "digits", 1, leases[0]) == 7

    def test_they_outlive_the_study(self, storage: Storage) -> None:
        for earlier in (0, 3):
            study = storage.create_study(_record())
            lease = storage.lease(study)
            lease.acquire()
            assert storage.count_looks(study, "digits", 3, lease) == earlier
            lease.release()
            storage.delete_study(study.name)


def test_a_process_number_that_is_used_again_does_not_hold_the_lease(
    storage: Storage, sqlite_url: str
) -> None:
    study = storage.create_study(_record())
    earlier = storage.lease(study)
    earlier.acquire()
    with pytest.raises(acs.StudyError, match="is being run"):  # our own process: alive
        storage.lease(study).acquire()
    with _raw(sqlite_url) as connection:
        connection.execute("UPDATE leases SET process = 'an earlier boot 17'")
        connection.commit()
    assert not storage.is_running(study.id)
    storage.lease(study).acquire()
    with pytest.raises(acs.StudyError, match="no longer ours"):
        storage.add_trials(study.id, [_waiting()], earlier)
