"""``actsearch export``: no database is overwritten, and what is killed or runs out of room leaves no half file."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from driven import Launcher, opened_optuna

import actsearch as acs
from actsearch.cli import main

_TRIALS = 30
_DATA = Path(__file__).parents[1] / "data"
KINDS = ("csv", "json")


def _make(path: Path, trials: int) -> Path:
    study = acs.create_study(
        study_name="s", storage=f"sqlite:///{path}", strategy="random", direction="minimize"
    )
    for number in range(trials):
        study.enqueue_trial(f"x * tanh({number + 1}.0 * x)")

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        for step in range(1, 21):
            run.report(step, 1 / step)
        return float(len(candidate.formula))

    study.optimize(objective, n_trials=trials, show_progress_bar=False)
    study._storage.database.close()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("made") / "mine.db", _TRIALS)


@pytest.fixture
def mine(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The storage, in the current folder; it is open elsewhere, so that its log lies beside it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Path(shutil.copy(made, folder / "mine.db"))


def _export(kind: str, target: object, storage: object = "mine.db") -> int:
    return main(["export", "s", "--storage", str(storage), "--to", kind, str(target)])


def _files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, without the logs that SQLite leaves where a database was read."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith((".db-wal", ".db-shm"))
    }


def _make_target(how: str, mine: Path) -> str:
    if how == "symbolic link":
        Path("link.csv").symlink_to("mine.db")
        return "link.csv"
    if how == "hard link":  # refused already where the storage is read
        os.link(mine, "hard.csv")
        return "hard.csv"
    if how in ("another", "of the first version"):
        shutil.copy(mine if how == "another" else _DATA / "schema_0001.db", "other.db")
        return "other.db"
    if how == "of something else":
        with closing(sqlite3.connect("else.db")) as base:
            base.execute("CREATE TABLE songs (title TEXT)")
        return "else.db"
    if how == "hard link to the log":
        os.link("mine.db-wal", "log.csv")
        return "log.csv"
    return how


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how",
    [
        "mine.db", "./mine.db", "../folder/mine.db", "symbolic link", "hard link", "mine.db-wal", "mine.db-shm",
        "mine.db-journal", "hard link to the log", "another", "of the first version", "of something else",
    ],
)  # fmt: skip
def test_no_database_is_overwritten(
    mine: Path, how: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(mine)) as reader:
        reader.execute("UPDATE studies SET user_attrs = '{}'")
        reader.commit()  # now it has a log
        target = _make_target(how, mine)
        before, log = _files(Path.cwd()), Path("mine.db-wal").read_bytes()
        assert _export(kind, target) == 1
        said = capsys.readouterr().err
        refused = "has 2 names" if how == "hard link" else "is not overwritten; name another file"
        assert refused in said
        assert said.count("\n") == 1
        assert _files(Path.cwd()) == before
        assert Path("mine.db-wal").read_bytes() == log
    Path("hard.csv").unlink(missing_ok=True)
    assert len(acs.load_study(study_name="s", storage="sqlite:///mine.db").trials) == _TRIALS


@pytest.mark.parametrize(
    "how", ["mine.db", "sqlite:///./mine.db", "symbolic link", "hard link", "another",
            "of the first version", "sqlite://", "."],
)  # fmt: skip
def test_optuna_does_not_write_into_a_storage_of_ours(
    mine: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = _make_target(how, mine)
    before = _files(Path.cwd())
    assert _export("optuna", target) == 1
    said = capsys.readouterr().err
    if how == "hard link":
        assert "has 2 names" in said
    else:
        assert "storage of actsearch" in said or how in ("sqlite://", ".")
        assert "sqlite:///" in said  # what to write instead
    assert _files(Path.cwd()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_there_is_replaced_with_its_permissions_and_links(mine: Path, kind: str) -> None:
    Path("kept").write_text("before")
    Path("kept").chmod(0o640)
    Path("link").symlink_to("kept")
    assert _export(kind, "link") == 0
    assert Path("link").is_symlink()
    assert Path("kept").stat().st_mode & 0o7777 == 0o640
    assert Path("kept").read_text() != "before"
    before = os.umask(0o027)
    try:
        assert _export(kind, "new") == 0
    finally:
        os.umask(before)
    assert Path("new").stat().st_mode & 0o7777 == 0o640
    assert Path("new").read_bytes() == Path("kept").read_bytes()
    assert _export(kind, "/dev/null") == 0
    assert Path("/dev/null").is_char_device()
    assert set(_files(Path.cwd())) == {"mine.db", "kept", "link", "new"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("target", "says"),
    [
        (".", "it is a folder"), ("nowhere/file", "make it first: mkdir -p "), ("loop", "cannot write"),
        ("a\0b", "cannot write"), ("n" * 300, "File name too long"), ("", "the file to write is empty; give one"),
        ("-", "write /dev/stdout for the standard output"), ("~/x.csv", "write {home}/x.csv, or ./~/x.csv"),
        ("host=h password=x", "give the name of a file"), ("postgresql://u:x@h", "give the name of a file"),
        ("x.db-wal", "write x-wal.db"), ("x.csv-journal", "write x-journal.csv"), ("x-SHM", "write x-SHM.db"),
    ],
)  # fmt: skip
def test_what_is_no_file_to_write_is_said(
    mine: Path, kind: str, target: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("loop").symlink_to("loop")
    assert _export(kind, target) == 1
    said = capsys.readouterr().err
    assert says.format(home=Path.home()) in said
    assert "password=x" not in said
    assert set(_files(Path.cwd())) == {"mine.db"}


def test_an_optuna_storage_gets_no_name_that_sqlite_deletes(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = _make(Path("few.db"), 2)
    assert _export("optuna", "o.db-wal", few) == 1
    said = capsys.readouterr().err
    assert re.search("write sqlite:///.*o-wal.db", said)
    assert _export("optuna", "o-wal.db", few) == 0


_DROP, _OVERRIDE = 24, 1  # prctl(2), capabilities(7): without it root is a user like others


@pytest.mark.slow  # permissions are given up by a new interpreter alone
@pytest.mark.skipif(sys.platform != "linux", reason="gives up root's permissions as Linux does")
@pytest.mark.parametrize("protected", ["file", "folder"])
def test_what_cannot_be_written_is_said_and_stays(mine: Path, protected: str) -> None:
    folder = Path("closed")
    folder.mkdir()
    (folder / "out.csv").write_text("before")
    (folder if protected == "folder" else folder / "out.csv").chmod(0o555)
    command = [sys.executable, "-m", "actsearch.cli", "export", "s", "--storage", "mine.db"]
    result = subprocess.run(
        [*command, "--to-csv", "closed/out.csv"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(_DROP, _OVERRIDE, 0, 0, 0),
    )
    folder.chmod(0o755)
    assert result.returncode == 1
    assert "cannot write closed/out.csv" in result.stderr
    assert result.stderr.count("\n") == 1
    assert _files(folder) == {"out.csv": b"before"}


KILLED = """
import os, resource, signal, sys
import sqlalchemy as sa
from actsearch.cli import main

moment, limit, last, *words = sys.argv[1:]
count = commits = 0
watched = ("open", "os.rename", "os.remove", "os.chmod", "os.chown", "os.listdir", "os.scandir")


def hook(event, _):
    global count
    if event in watched:
        count += 1
        if count == int(moment):
            os.kill(os.getpid(), signal.SIGKILL)


if int(limit):  # the kernel ends the process in the middle of a write
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
@sa.event.listens_for(sa.engine.Engine, "commit")
def before_commit(_):
    global commits
    commits += 1
    if commits == int(last):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(hook)
code = main(words)
print(commits)
sys.exit(code)
"""
"""An export that is killed at some access to files, when a file grows above a size, or before some commit."""


def _words(kind: str, target: object) -> list[str]:
    return ["export", "s", "--storage", str(Path("mine.db").absolute()), "--to", kind, str(target)]


def _is_whole(path: Path) -> bool:
    if path.suffix == ".json":
        return len(json.loads(path.read_text("utf-8"))["trials"]) == _TRIALS
    with path.open(newline="", encoding="utf-8") as file:
        return len(list(csv.DictReader(file))) == _TRIALS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_access_to_a_file_the_old_one_or_the_new_one_is_there(
    mine: Path, launcher: Launcher, kind: str, step: int
) -> None:
    target = Path(f"out.{kind}").absolute()
    killed, moment = 0, 1
    while True:
        target.write_text("before")
        child = launcher.start(KILLED, moment, 0, 0, *_words(kind, target))
        ended = child.wait()
        assert target.read_text("utf-8") == "before" or _is_whole(target)
        left = set(_files(Path.cwd())) - {"mine.db", target.name}
        assert all(name.startswith(f".{target.name}.") for name in left)
        if ended == 0:
            break
        assert ended == -9, child.errors
        killed, moment = killed + 1, moment + step
    assert killed >= 12 // step
    assert _is_whole(target)
    for name in left:  # what was killed an hour ago is cleaned up by the next export
        os.utime(name, (0, 0))
    assert _export(kind, target) == 0
    assert set(_files(Path.cwd())) == {"mine.db", target.name}


@pytest.mark.parametrize("room", [50_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_killed_in_the_middle_of_a_write_it_leaves_the_old_file(
    mine: Path, launcher: Launcher, room: int
) -> None:
    target = Path("out.json").absolute()
    target.write_text("before")
    child = launcher.start(KILLED, 0, room, 0, *_words("json", target))
    assert child.wait() == -25, child.errors  # SIGXFSZ
    assert target.read_text() == "before"
    (left,) = set(_files(Path.cwd())) - {"mine.db", "out.json"}
    assert Path(left).stat().st_size == room
    assert _export("json", target) == 0
    assert _is_whole(target)


def test_without_room_it_says_so_and_leaves_the_old_file(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out.json").write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        assert _export("json", "out.json") == 1
        assert _export("optuna", "new.db") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert "cannot write out.json: File too large" in said
    assert "cannot write the Optuna storage sqlite:///new.db" in said
    assert set(_files(Path.cwd())) == {"mine.db", "out.json"}
    assert Path("out.json").read_text() == "before"


def _state(url: str) -> dict[str, int]:
    """How many trials each study of an Optuna storage has."""
    with opened_optuna(url) as storage:
        summaries = optuna.get_all_study_summaries(storage)
        return {item.study_name: item.n_trials for item in summaries}


def _is_complete(url: str) -> bool:
    if "s" not in _state(url):
        return False
    with opened_optuna(url) as storage:
        found = optuna.load_study(study_name="s", storage=storage)
        return "actsearch_complete" in found.user_attrs


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    ("kills", "trials"), [(1, 2), pytest.param(25, 10, marks=pytest.mark.slow)]
)
def test_an_optuna_export_that_was_killed_is_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: Launcher,
    exists: bool,
    kills: int,
    trials: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    _make(Path("mine.db"), trials)
    target, url = Path("optuna.db").absolute(), f"sqlite:///{Path('optuna.db').absolute()}"
    if exists:
        other = optuna.create_study(study_name="other", storage=url)
        other.add_trial(optuna.trial.create_trial(value=1.0))
    whole = {"s": trials, **({"other": 1} if exists else {})}
    whole_run = launcher.start(
        KILLED, 0, 0, 0, *_words("optuna", f"sqlite:///{target.parent}/t.db")
    )
    assert whole_run.wait() == 0, whole_run.errors
    commits, begun = int(whole_run.lines[-1]), 0
    for turn in range(kills):
        last = 1 + (commits - 1) * (turn + 1) // (kills + 1)
        child = launcher.start(KILLED, 0, 0, last, *_words("optuna", url))
        assert child.wait() == -9, child.errors
        begun += exists and len(_state(url)) > 1
        is_complete = target.exists() and _is_complete(url)
        if exists:
            assert _state(url)["other"] == 1
        elif target.exists():  # a new file is there whole
            assert is_complete
            assert _state(url) == whole
        assert _export("optuna", url) == (1 if is_complete else 0)
        assert _state(url) == whole
        assert not [name for name in os.listdir() if "-journal" in name and "part" not in name]
        if exists:
            optuna.delete_study(study_name="s", storage=url)
        else:
            target.unlink()
    assert begun >= kills // 2 or not exists


@pytest.mark.parametrize("attribute", [None, ("user", 1), ("actsearch", {"seed": 5})])
def test_a_study_of_that_name_that_is_not_ours_is_not_touched(
    mine: Path, attribute: tuple[str, object] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study(study_name="s", storage="sqlite:///optuna.db")
    if attribute is None:
        study.add_trial(optuna.trial.create_trial(value=1.0))
    else:
        study.set_user_attr(*attribute)
    sign = "s (being written by actsearch)"  # as if an export had been killed before it made its study
    optuna.create_study(study_name=sign, storage="sqlite:///optuna.db")
    assert _export("optuna", "optuna.db") == 1
    assert "already" in capsys.readouterr().err
    assert _state("sqlite:///optuna.db") == {"s": 1 if attribute is None else 0}
