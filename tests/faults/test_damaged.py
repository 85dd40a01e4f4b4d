"""Files that are no database of ours, or were damaged: each is named in a sentence, and left as it is."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs
from actsearch import cli
from actsearch.report import Reader

Make = Callable[[Path], None]


def _whole(path: Path) -> None:
    """A study with some hundred trials, at rest."""
    study = acs.create_study(
        study_name="s", storage=f"sqlite:///{path}", strategy="random", direction="minimize"
    )
    for number in range(150):
        study.enqueue_trial(f"x * tanh({number + 1}.0 * x)")
    study.optimize(lambda candidate, run: 0.5, n_trials=5, show_progress_bar=False)
    study._storage.database.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a database that is whole."""
    path = tmp_path_factory.mktemp("whole") / "study.db"
    _whole(path)
    return path.read_bytes()


def _cut(length: int) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:length]


def _noise(start: int, length: int) -> Callable[[bytes], bytes]:
    noise = random.Random(0).randbytes(length)
    return lambda whole: whole[:start] + noise + whole[start + length :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "one byte": (_cut(1), "damaged or not a database.*backup"),
    "half a header": (_cut(50), "damaged or not a database.*backup"),
    "header": (_cut(100), "damaged or not a database.*backup"),
    "first page": (_cut(4096), "damaged or not a database.*backup"),
    "half": (lambda whole: whole[: len(whole) // 2], "damaged or not a database.*backup"),
    "last page gone": (lambda whole: whole[:-4096], "damaged or not a database.*backup"),
    "last byte gone": (lambda whole: whole[:-1], "damaged or not a database.*backup"),
    "random bytes": (lambda whole: random.Random(0).randbytes(20_000), "backup"),
    "random header": (_noise(0, 100), "backup"),
    "random schema": (_noise(100, 3996), "backup"),
    "text": (lambda whole: b"study,trial,value\n" * 1000, "backup"),
}

OPENERS: dict[str, Callable[[str], Any]] = {
    "create_study": lambda url: acs.create_study(study_name="t", storage=url),
    "load_if_exists": lambda url: acs.create_study(
        study_name="s", storage=url, load_if_exists=True
    ),
    "load_study": lambda url: acs.load_study(study_name="s", storage=url),
    "delete_study": lambda url: acs.delete_study(study_name="s", storage=url),
    "Reader": lambda url: Reader(url),
}


def _listing(folder: Path) -> dict[str, bytes | None]:
    return {
        item.name: None if item.is_dir() else item.read_bytes()
        for item in folder.iterdir()
        if not item.name.endswith(("-wal", "-shm"))
    }


def _refused(path: Path, opener: str, says: str) -> None:
    """A sentence of ours, and not a byte is changed."""
    before = _listing(path.parent)
    with pytest.raises(acs.StorageError, match=says) as caught:
        OPENERS[opener](f"sqlite:///{path}")
    assert str(path) in str(caught.value)
    assert _listing(path.parent) == before


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_refused_and_left(
    stored: bytes, tmp_path: Path, damage: str, opener: str
) -> None:
    change, says = DAMAGES[damage]
    path = tmp_path / "study.db"
    path.write_bytes(change(stored))
    _refused(path, opener, says)


@pytest.mark.parametrize("damage", [*DAMAGES, "missing", "zero bytes", "folder"])
def test_the_command_line_says_it_in_one_line(
    stored: bytes, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.db"
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(b"" if damage == "zero bytes" else DAMAGES[damage][0](stored))
    before = _listing(tmp_path)
    assert cli.main(["list", "--storage", str(path)]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("actsearch: ")
    assert output.err.count("\n") == 1
    assert str(path) in output.err
    assert _listing(tmp_path) == before


@pytest.mark.parametrize("opener", ["load_study", "delete_study", "Reader"])
@pytest.mark.parametrize("kind", ["missing", "zero bytes", "folder"])
def test_nothing_is_made_where_one_was_meant(tmp_path: Path, kind: str, opener: str) -> None:
    path = tmp_path / "study.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "zero bytes":
        path.touch()
    _refused(path, opener, "folder" if kind == "folder" else "create_study")


def _read_everything(path: Path) -> None:
    reader = Reader(f"sqlite:///{path}")
    try:
        reader.summaries()
        for study in reader.studies():
            reader.trials(study, epochs=True)
            reader.verdicts(study)
    finally:
        reader.close()
    loaded = acs.load_study(study_name="s", storage=f"sqlite:///{path}")
    try:
        for trial in loaded.trials:
            assert isinstance(trial.candidate.formula, str)
    finally:
        loaded._storage.database.close()


def _bytes_changed(stored: bytes, folder: Path, seeds: range) -> tuple[int, int]:
    """How many files with bytes changed anywhere were read, and how many refused."""
    read = refused = 0
    for seed in seeds:
        rng = random.Random(seed)
        changed = bytearray(stored)
        for _ in range(rng.choice([1, 3, 30, 300])):
            start = rng.randrange(100, len(changed))
            piece = rng.randbytes(rng.choice([1, 1, 8, 200]))
            changed[start : start + len(piece)] = piece
        path = folder / f"{seed}.db"
        path.write_bytes(changed[: len(stored)])
        try:
            _read_everything(path)
            read += 1
        except acs.ActsearchError:
            refused += 1
        for item in folder.iterdir():
            item.unlink()
    return read, refused


def test_bytes_changed_anywhere_are_read_or_refused(stored: bytes, tmp_path: Path) -> None:
    """Invariant: reading gives trials or a sentence of ours, never an exception of a library."""
    read, refused = _bytes_changed(stored, tmp_path, range(20))
    assert refused > 0
    assert read > 0


@pytest.mark.slow
def test_so_are_a_thousand(stored: bytes, tmp_path: Path) -> None:
    read, refused = _bytes_changed(stored, tmp_path, range(1000))
    print(f"of 1000 files with changed bytes {read} were read and {refused} refused")
    assert read + refused == 1000


WRITE = """
import sys
from actsearch.errors import ActsearchError
from actsearch.records import StudyRecord
from actsearch.report import Reader
from actsearch.storage import Storage

url = "sqlite:///" + sys.argv[1]
def create():
    Storage(url, create=True).create_study(StudyRecord(0, "t", 0, "minimize", {}, {}, versions={}))
def delete():
    Storage(url).delete_study("s")
def read():
    reader = Reader(url)
    print(len(reader.trials(reader.study("s"))), "trials")
for action in (create, delete, read):
    try:
        action()
    except ActsearchError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def read_only_disk(stored: bytes, tmp_path: Path) -> Iterator[Path]:
    """A database on a disk that even root cannot write."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        (disk / "study.db").write_bytes(stored)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield disk / "study.db"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_can_not_be_written_is_read_and_nothing_else(read_only_disk: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WRITE, str(read_only_disk)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    created, deleted, read = result.stdout.splitlines()
    for refused in (created, deleted):
        assert refused.startswith("StorageError")
        assert refused.endswith("check that the file and its folder can be written")
    assert read.endswith(" trials")
    assert os.listdir(read_only_disk.parent) == ["study.db"]
