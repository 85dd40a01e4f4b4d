"""``actsearch backup`` and what a plain copy of the file holds."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import actsearch as acs
from actsearch.cli import main
from actsearch.report import Reader
from actsearch.report.doctor import examine

Objective = Callable[[acs.Candidate, acs.Run], float]


def search(url: str, objective: Objective, name: str = "s", n_trials: int = 3) -> acs.Study:
    study = acs.create_study(
        study_name=name, storage=url, strategy="random", direction="minimize", load_if_exists=True
    )
    study.optimize(objective, n_trials=n_trials, show_progress_bar=False)
    return study


def count(path: Path) -> int:
    """Trials of the studies in a database file."""
    reader = Reader(f"sqlite:///{path}")
    return sum(len(reader.trials(study)) for study in reader.studies())


def test_after_a_search_the_file_alone_is_whole_while_a_page_is_open(
    tmp_path: Path, sqlite_url: str, distance: Objective
) -> None:
    """SQLite empties its log when the last connection is closed; the dashboard's stays open for days."""
    study = search(sqlite_url, distance)
    page = Reader(sqlite_url)
    assert page.studies()
    search(sqlite_url, distance, "another")
    path = study._storage.database.path
    assert path is not None
    assert path.with_name(f"{path.name}-wal").exists()
    shutil.copy(path, tmp_path / "copy.db")
    assert [item.name for item in Reader(f"sqlite:///{tmp_path}/copy.db").studies()] == [
        "s",
        "another",
    ]
    assert count(tmp_path / "copy.db") == count(path)


def test_after_a_verdict_the_file_alone_is_whole_once_a_reader_has_gone(
    tmp_path: Path, sqlite_url: str
) -> None:
    """A page that was reading when the call ended needs the older state for a moment."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        return float(len(candidate.formula)) + run.seed % 3

    search(sqlite_url, objective)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    page = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    page.execute("BEGIN")
    page.execute("SELECT count(*) FROM trials").fetchall()
    gone = threading.Timer(0.6, lambda: page.execute("COMMIT"))
    study = acs.load_study(study_name="s", storage=sqlite_url)
    gone.start()
    study.confirm(objective, baseline="relu", seeds=2, top_k=1, show_progress_bar=False)
    gone.join()
    shutil.copy(path, tmp_path / "copy.db")
    page.close()
    reader = Reader(f"sqlite:///{tmp_path}/copy.db")
    assert len(reader.verdicts(reader.study("s"))) == 1


def test_a_backup_during_a_search_is_whole(
    tmp_path: Path, sqlite_url: str, distance: Objective, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied from within a trial: what is stored at that moment is in it."""
    copies: list[int] = []

    def copying(candidate: acs.Candidate, run: acs.Run) -> float:
        target = tmp_path / f"{len(copies)}.db"
        assert main(["backup", str(target), sqlite_url]) == 0
        assert [line.text for line in examine(f"sqlite:///{target}") if line.is_finding] == []
        copies.append(
            sum(t.state is acs.TrialState.COMPLETE for t in acs.load_study(
                study_name="s", storage=f"sqlite:///{target}"
            ).trials)
        )  # fmt: skip
        return distance(candidate, run)

    search(sqlite_url, copying)
    assert copies == [0, 1, 2]
    assert "1 study copied to " in capsys.readouterr().out
    # it goes on like any other
    study = search(f"sqlite:///{tmp_path}/2.db", copying, n_trials=1)
    assert sum(trial.state is acs.TrialState.COMPLETE for trial in study.trials) == 3


def test_a_backup_waits_for_no_writer(
    tmp_path: Path, sqlite_url: str, distance: Objective
) -> None:
    study = search(sqlite_url, distance)
    path = study._storage.database.path
    with closing(sqlite3.connect(str(path), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM trials")
        codes: list[int] = []
        copying = threading.Thread(
            target=lambda: codes.append(main(["backup", str(tmp_path / "b.db"), sqlite_url]))
        )
        copying.start()
        copying.join(20)
        assert codes == [0]
        writer.execute("ROLLBACK")
    assert count(tmp_path / "b.db") == len(study.trials)


def test_what_cannot_be_backed_up_is_said(
    tmp_path: Path, database_url: str, distance: Objective, capsys: pytest.CaptureFixture[str]
) -> None:
    search(database_url, distance)
    target = tmp_path / "backup.db"
    if not database_url.startswith("sqlite"):
        assert main(["backup", str(target), "--storage", database_url]) == 1
        assert "is on a server: pg_dump copies its database" in capsys.readouterr().err
        assert not target.exists()
        return
    assert main(["backup", str(target), database_url]) == 0
    before = target.read_bytes()
    for name, says in [
        (str(target), "is an SQLite database, and is not overwritten"),
        (database_url.removeprefix("sqlite:///"), "is the storage that is exported"),
        ("/dev/null", "/dev/null is no file"),
        (str(tmp_path / "none" / "b.db"), "there is no folder"),
    ]:
        assert main(["backup", name, database_url]) == 1
        assert says in capsys.readouterr().err
    assert target.read_bytes() == before


def test_doctor_says_how_to_copy(sqlite_url: str, distance: Objective) -> None:
    study = search(sqlite_url, distance)
    lines = [line for line in examine(sqlite_url) if line.what == "write-ahead log"]
    assert [line.is_finding for line in lines] == [False]
    assert "actsearch backup FILE" in lines[0].text
    study._storage.database.close()
    assert "write-ahead log" not in [line.what for line in examine(sqlite_url)]
