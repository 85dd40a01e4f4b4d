"""The disk is full: a sentence says so, what was reported is kept, and with room again the search goes on."""

from __future__ import annotations

import contextlib
import json
import resource
import runpy
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from driven import check_file, ended_trials

import actsearch as acs
from actsearch.report import Reader
from actsearch.storage.database import SCHEMA, VERSION_TABLE

Objective = Callable[[acs.Candidate, acs.Run], float]
Rows = list[tuple[int, str, float | None]]

_TOTAL = 24
MAKE = runpy.run_path(str(Path(__file__).parents[1] / "data" / "make_databases.py"))


@contextlib.contextmanager
def _file_size(limit: int) -> Iterator[None]:
    """No file may grow above a size; what a full disk says with ENOSPC this says with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here; the limit on a file's size is tested")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, room: int = 0) -> Path:
    """Leave so many bytes of a disk."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    size = ballast.stat().st_size
    with ballast.open("r+b") as file:
        file.truncate(size - room)
    return ballast


class Search:
    """A search that remembers what it has reported."""

    def __init__(self, path: Path, objective: Objective) -> None:
        self.path = path
        self._objective = objective
        self.reported: list[int] = []
        self.at: dict[int, Callable[[], object]] = {}

    def run(self, batch: int) -> Rows:
        def remember(study: acs.Study, trial: acs.Trial) -> None:
            self.reported.append(trial.number)
            self.at.pop(len(self.reported), lambda: None)()

        study = acs.create_study(
            study_name="s",
            storage=f"sqlite:///{self.path}",
            strategy="genetic",
            direction="minimize",
            load_if_exists=True,
        )
        study.optimize(
            self._objective,
            total_trials=_TOTAL,
            callbacks=[remember],
            executor=acs.Local(batch),
            show_progress_bar=False,
        )
        return [(trial.number, trial.state.name, trial.value) for trial in study.trials]

    def check(self) -> None:
        """The file is whole and holds what was reported, each once."""
        check_file(self.path)
        ended = ended_trials(self.path)
        assert all(ended[number][0] == "COMPLETE" for number in self.reported)
        assert len(set(self.reported)) == len(self.reported)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_in_the_middle_of_a_batch(
    disk: Path, tmp_path: Path, distance: Objective, batch: int, room: int
) -> None:
    """Invariant: finished trials are kept, also in the process that met it the search can go on, unbroken."""
    search = Search(disk / "study.db", distance)
    search.at[6] = lambda: _fill(disk, room)
    with pytest.raises(acs.StorageError, match="full; make room and run again"):
        search.run(batch)
    search.check()
    assert 6 <= len(search.reported) < _TOTAL
    with pytest.raises(acs.StorageError, match="full; make room and run again"):
        search.run(batch)  # not "is being run by", although the lease could not be given back
    (disk / "ballast").unlink()
    rows = search.run(batch)
    search.check()
    assert rows == Search(tmp_path / "unbroken.db", distance).run(batch)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_limit_on_the_size_of_a_file(tmp_path: Path, distance: Objective, batch: int) -> None:
    search = Search(tmp_path / "study.db", distance)
    limit = contextlib.ExitStack()

    def reach() -> None:
        size = (tmp_path / "study.db-wal").stat().st_size
        limit.enter_context(_file_size(size + 10_000))

    search.at[6] = reach
    with (
        limit,
        pytest.raises(acs.StorageError, match="disk I/O error; make room, or lift the limit"),
    ):
        search.run(batch)
    search.check()
    rows = search.run(batch)
    search.check()
    assert rows == Search(tmp_path / "unbroken.db", distance).run(batch)


def test_a_database_is_not_made_where_there_is_no_room(disk: Path, distance: Objective) -> None:
    """Invariant: what is left of a database that could not be made does not stand in the way of the next attempt."""
    for room in (0, 4096, 20_000, 60_000, 100_000):
        ballast = _fill(disk, room)
        with pytest.raises(acs.StorageError, match="make room"):
            Search(disk / "study.db", distance).run(1)
        ballast.unlink()
    assert len(Search(disk / "study.db", distance).run(1)) >= _TOTAL


def _of_the_first_schema(path: Path, trials: int) -> None:
    """A database as the first version wrote it, with a study."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        MAKE["make_tables"](connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO studies (name, seed, direction, space, strategy, versions, user_attrs, created)"
            " VALUES ('s', 0, 'minimize', ?, '{\"name\": \"random\"}', '{}', '{}', '2025-01-01 00:00:00.000000')",
            (json.dumps(acs.Space().to_json()),),
        )
        activation = (
            '{"*": {"name": "tanh", "formula": "tanh(x)", "hyperparameters": {}, "label": "tanh"}}'
        )
        connection.exec_driver_sql(
            "INSERT INTO trials (study_id, number, state, activations, formula, label, operation, parents,"
            " fingerprint, alias, reason, warnings, user_attrs, seconds, created) VALUES"
            " (1, ?, 'WAITING', ?, 'tanh(x)', 'tanh', 'random', '[]', 'f', 'a', '', '[]', '{}', 0.0,"
            " '2025-01-01 00:00:00.000000')",
            [(number, activation) for number in range(trials)],
        )
    engine.dispose()


def _revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0])


@pytest.mark.parametrize("how", ["limit", "disk"])
def test_a_full_disk_in_the_middle_of_a_migration(
    tmp_path: Path, how: str, request: pytest.FixtureRequest
) -> None:
    """Invariant: at whatever page the room ends, the database stays at its old schema, whole, and is upgraded later."""
    folder = request.getfixturevalue("disk") if how == "disk" else tmp_path
    path = folder / "study.db"
    _of_the_first_schema(path, 300)
    failed = 0
    for room in range(0, 600_000, 12_288):
        size = path.stat().st_size
        ballast = _fill(folder, room) if how == "disk" else None
        limit = _file_size(max(room, 1)) if how == "limit" else contextlib.nullcontext()
        try:
            with limit:
                acs.load_study(study_name="s", storage=f"sqlite:///{path}")
            break
        except acs.StorageError as error:
            failed += 1
            text = str(error)
        finally:
            if ballast is not None:
                ballast.unlink()
        assert "make room" in text
        assert path.stat().st_size == size
        check_file(path)
        assert _revision(path) == "0001"
    assert failed >= 2
    assert _revision(path) == SCHEMA
    reader = Reader(f"sqlite:///{path}")
    assert len(reader.trials(reader.study("s"))) == 300
    reader.close()
