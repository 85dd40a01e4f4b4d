"""A second name for the database: SQLite names its log after the file, so under a hard link it has another log."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driven import check_file, search

import actsearch as acs
from actsearch.cli import main
from actsearch.report import Reader

Objective = Callable[[acs.Candidate, acs.Run], float]
REFUSED = r"has 2 names \(hard links\).*find FOLDER -samefile .*ln -s.*cp"

OPENERS: dict[str, Callable[[str], Any]] = {
    "create_study": lambda url: acs.create_study(
        study_name="s", storage=url, strategy="random", load_if_exists=True
    ),
    "load_study": lambda url: acs.load_study(study_name="s", storage=url),
    "delete_study": lambda url: acs.delete_study(study_name="s", storage=url),
    "Reader": Reader,
}


def _values(study: acs.Study) -> list[tuple[int, float | None]]:
    return [(trial.number, trial.value) for trial in study.trials]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path, distance: Objective) -> Path:
    """A study with three trials, closed."""
    search(tmp_path / "study.db", distance, 3)._storage.database.close()
    return tmp_path / "study.db"


@pytest.mark.parametrize("name", ["study.db", "second.db"])
@pytest.mark.parametrize("opener", list(OPENERS))
def test_a_file_with_two_names_is_refused_under_both(path: Path, name: str, opener: str) -> None:
    os.link(path, path.with_name("second.db"))
    before = path.read_bytes()
    with pytest.raises(acs.StorageError, match=REFUSED):
        OPENERS[opener](f"sqlite:///{path.with_name(name)}")
    assert path.read_bytes() == before
    assert _names(path.parent) == {"study.db", "second.db"}


def test_so_does_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.link(path, path.with_name("second.db"))
    assert main(["list", "--storage", str(path)]) == 1
    assert "2 names" in capsys.readouterr().err


@pytest.mark.parametrize("after", [1, 5, 8], ids=["first", "middle", "last"])
def test_one_that_is_made_during_a_run_stops_it(
    path: Path, distance: Objective, after: int
) -> None:
    """Invariant: nothing is opened under the second name, nothing reported is lost, and without it the run goes on."""
    second = path.with_name("second.db")
    reported: list[tuple[int, float | None]] = []

    def link(study: acs.Study, trial: acs.Trial) -> None:
        reported.append((trial.number, trial.value))
        if len(reported) == after:
            os.link(path, second)

    with pytest.raises(acs.StorageError, match=REFUSED):
        search(path, distance, 3 + 8, link)
    with pytest.raises(acs.StorageError, match=REFUSED):
        search(second, distance, 3 + 8)
    assert not path.with_name("second.db-wal").exists()
    second.unlink()
    study = search(path, distance, 3 + 8)
    assert set(reported) <= set(_values(study))
    assert _values(study) == _values(search(path.with_name("unbroken.db"), distance, 3 + 8))
    study._storage.database.close()
    check_file(path)


def test_an_open_reader_says_so_and_goes_on_without_it(path: Path, distance: Objective) -> None:
    """A reader's own log is the right one, but a writer under the other name would be unseen."""
    reader = Reader(f"sqlite:///{path}")
    (study,) = reader.studies()
    os.link(path, path.with_name("second.db"))
    with pytest.raises(acs.StorageError, match=REFUSED):
        reader.trials(study)
    path.with_name("second.db").unlink()
    assert sum(trial.state.is_trained for trial in reader.trials(study)) == 3
    reader.close()


@pytest.mark.parametrize("kind", ["file", "folder", "chain"])
def test_a_symbolic_link_shares_the_one_log(path: Path, distance: Objective, kind: str) -> None:
    """Invariant: what is written under one name is seen under the other at once, and the log lies beside the file."""
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    if kind == "folder":
        (elsewhere / "link").symlink_to(path.parent)
        other = elsewhere / "link" / "study.db"
    else:
        other = elsewhere / "study.db"
        other.symlink_to(path)
        if kind == "chain":
            (elsewhere / "chain.db").symlink_to("study.db")
            other = elsewhere / "chain.db"
    one, two = search(path, distance, 4), search(other, distance, 6)
    assert _values(one) == _values(two)
    assert sum(trial.state.is_trained for trial in one.trials) == 6
    assert path.with_name("study.db-wal").exists()
    assert not any(item.name.endswith(("-wal", "-shm")) for item in elsewhere.iterdir())


def test_a_symbolic_link_to_nothing_makes_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("data/study.db")
    acs.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/link.db")
    assert (tmp_path / "link.db").is_symlink()
    assert (
        acs.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/data/study.db").trials == []
    )


def test_symbolic_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to("b.db")
    (tmp_path / "b.db").symlink_to("a.db")
    with pytest.raises(acs.StorageError, match=r"a\.db cannot be opened"):
        acs.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/a.db")
