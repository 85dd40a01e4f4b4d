"""The database: its schema, what it refuses, how it is opened, and what happens when several use it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from driven import Launcher
from storage_cases import fill, study_record, waiting

import actsearch as acs
from actsearch.records import (
    StudyRecord,
)
from actsearch.report import Reader
from actsearch.storage import Lease, Storage, redact
from actsearch.storage.database import VERSION_TABLE
from actsearch.storage.tables import Base

Objective = Callable[[acs.Candidate, acs.Run], float]


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def storage(sqlite_url: str) -> Iterator[Storage]:
    opened = Storage(sqlite_url, create=True)
    yield opened
    opened.database.close()


@pytest.fixture
def filled(storage: Storage) -> tuple[Storage, StudyRecord, Lease]:
    return fill(storage)


@contextmanager
def _raw(url: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(_path(url), timeout=5)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


class TestSchema:
    def test_every_nullable_flag_agrees(self, storage: Storage, sqlite_url: str) -> None:
        with _raw(sqlite_url) as connection:
            for name, table in Base.metadata.tables.items():
                rows = connection.execute(f"PRAGMA table_info({name})").fetchall()
                stored = {row[1]: not row[3] and not row[5] for row in rows}
                assert stored == {column.name: column.nullable for column in table.columns}

    def test_the_file_is_in_wal_mode(self, storage: Storage, sqlite_url: str) -> None:
        with _raw(sqlite_url) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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
        assert "hunter2" not in redact(url)
        well_formed = url.endswith(("@host", "@host/db", ":3306/db")) and "://" in url
        assert ("host" if well_formed else "check the port") in str(caught.value)

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


PLAIN_USER = """
import ctypes, os, struct
if os.geteuid() == 0:  # who may write anywhere; without CAP_DAC_OVERRIDE it is a user like others
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this process
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable, and again for numbers from 32
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    words = [word & ~2 if place < 2 else word for place, word in enumerate(struct.unpack("6I", sets.raw))]
    assert libc.capset(header, struct.pack("6I", *words)) == 0, os.strerror(ctypes.get_errno())
os.chdir("/")
"""


def _as_plain_user(launcher: Launcher, script: str, path: Path) -> list[str]:
    """What a script prints that may not, as root may, write everywhere."""
    child = launcher.start(PLAIN_USER + script, path)
    assert child.wait() == 0, child.errors
    return child.lines


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

    def test_a_folder_that_can_not_be_written_is_read_as_a_picture(
        self, launcher: Launcher, folder: Path
    ) -> None:
        folder.chmod(0o555)
        printed = _as_plain_user(launcher, READ, folder / "study.db")
        assert printed == ["s False 1 False", "1"]
        assert [path.name for path in folder.iterdir()] == ["study.db"]

    def test_a_file_that_can_not_be_written_is_read(
        self, launcher: Launcher, folder: Path
    ) -> None:
        folder.chmod(0o777)
        printed = _as_plain_user(launcher, READ, folder / "study.db")
        assert printed[0].split()[:3] in (["s", "True", "1"], ["s", "False", "1"])

    @pytest.mark.parametrize(
        ("mode", "permissions"), [("WAL", 0o555), ("DELETE", 0o777)], ids=["folder", "file"]
    )
    def test_writing_there_says_what_to_check(
        self, launcher: Launcher, folder: Path, mode: str, permissions: int
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
        (said,) = _as_plain_user(launcher, script, folder / "study.db")
        assert "can be written" in said

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
        storage.create_study(study_record())
        readonly = Storage(sqlite_url, read_only=True)
        with pytest.raises(acs.StorageError):
            readonly.create_study(study_record("other"))
        readonly.database.close()

    def test_a_reader_sees_what_is_written_later(self, storage: Storage, sqlite_url: str) -> None:
        study = storage.create_study(study_record())
        reader = Reader(sqlite_url)
        assert reader.trials(study) == []
        storage.add_trials(study.id, [waiting()], None)
        assert len(reader.trials(study)) == 1
        reader.close()

    @pytest.mark.parametrize("name", ["a b", "50%25", "100%", "q?mode=rwc", "hash#tag", "ünï"])
    def test_odd_file_names_are_only_names(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / f"{name}.db"
        made = Storage(f"sqlite:///{tmp_path}/plain.db", create=True)
        made.create_study(study_record())
        made.database.close()
        (tmp_path / "plain.db").rename(path)
        reader = Reader(sa.URL.create("sqlite", database=str(path)).render_as_string())
        assert [study.name for study in reader.studies()] == ["s"]
        reader.close()
        assert {item.name.split(".db")[0] for item in tmp_path.iterdir()} == {name}


class TestVanishing:
    """A file that is taken away while it is open is not made anew, and no write goes to nowhere."""

    @pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
    def test_a_write_says_so(self, storage: Storage, sqlite_url: str, how: str) -> None:
        study = storage.create_study(study_record())
        storage.add_trials(study.id, [waiting()], None)
        path = _path(sqlite_url)
        moved = path.rename(path.with_suffix(".moved"))
        if how == "deleted":
            moved.unlink()
        if how == "replaced":
            shutil.copy(moved, path)
        uses: list[Callable[[], Any]] = [
            lambda: storage.add_trials(study.id, [waiting()], None),
            lambda: storage.trials(study.id),
        ]
        for use in uses:
            with pytest.raises(acs.StorageError, match="was (deleted or moved away|replaced)"):
                use()
        assert path.exists() == (how == "replaced")

    def test_another_folder_leads_to_the_same_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        opened = Storage("sqlite:///study.db", create=True)
        study = opened.create_study(study_record())
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        opened.add_trials(study.id, [waiting()], None)
        assert len(opened.trials(study.id)) == 1
        assert list((tmp_path / "elsewhere").iterdir()) == []
        opened.database.close()
