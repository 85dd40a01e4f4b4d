"""The database goes while it is open: the search notices at its next write, and nothing is lost without a word."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from driven import check_file, ended_trials, search

import actsearch as acs
from actsearch.report import Reader

Objective = Callable[[acs.Candidate, acs.Run], float]
Callback = Callable[[acs.Study, acs.Trial], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def _after(count: int, action: Callable[[], object]) -> Callback:
    """Do something in the middle of a run, once."""
    seen: list[int] = []

    def callback(study: acs.Study, trial: acs.Trial) -> None:
        seen.append(trial.number)
        if len(seen) == count:
            action()

    return callback


@pytest.mark.parametrize("after", [1, 5, 8], ids=["first", "middle", "last"])
@pytest.mark.parametrize("with_log", [True, False], ids=["with -wal", "alone"])
def test_a_deleted_one_stops_the_run_and_none_is_made(
    path: Path, distance: Objective, after: int, with_log: bool
) -> None:
    def delete() -> None:
        for item in path.parent.iterdir():
            if with_log or item == path:
                item.unlink()

    with pytest.raises(acs.StorageError, match="was deleted or moved away.*put it back"):
        search(path, distance, 8, _after(after, delete))
    assert not path.exists()


def test_one_that_is_moved_away_and_put_back_goes_on(path: Path, distance: Objective) -> None:
    aside = path.with_name("aside.db")
    with pytest.raises(acs.StorageError, match="put it back"):
        search(path, distance, 8, _after(4, lambda: path.rename(aside)))
    aside.rename(path)
    study = search(path, distance, 8)
    unbroken = search(path.with_name("unbroken.db"), distance, 8)
    assert [(t.number, t.value) for t in study.trials] == [
        (t.number, t.value) for t in unbroken.trials
    ]
    check_file(path)


def test_one_that_is_replaced_is_left_as_it_is(path: Path, distance: Objective) -> None:
    """Invariant: what somebody puts in the place of an open database is never written by who had the old one."""
    other = path.with_name("other.db")
    search(other, distance, 2)._storage.database.close()
    before = other.read_bytes()
    with pytest.raises(acs.StorageError, match="was replaced by another file"):
        search(path, distance, 8, _after(4, lambda: other.replace(path)))
    assert path.read_bytes() == before


def test_nobody_can_go_on_with_a_handle_of_a_deleted_one(path: Path, distance: Objective) -> None:
    study = search(path, distance, 2)
    path.unlink()
    actions: list[Callable[[], object]] = [
        lambda: study.trials,
        lambda: study.enqueue_trial("tanh"),
        lambda: study.optimize(distance, n_trials=1, show_progress_bar=False),
    ]
    for action in actions:
        with pytest.raises(acs.StorageError, match="was deleted or moved away"):
            action()
    study._storage.database.close()
    with pytest.raises(acs.StorageError, match="was deleted or moved away"):
        _ = study.trials
    assert not path.exists()


def test_who_only_looks_says_so_and_goes_on_with_a_restored_one(
    path: Path, distance: Objective
) -> None:
    """A dashboard stays open over a backup that is put back."""
    search(path, distance, 3)._storage.database.close()
    backup = path.read_bytes()
    reader = Reader(f"sqlite:///{path}")
    (study,) = reader.studies()
    path.unlink()
    with pytest.raises(acs.StorageError, match="was deleted or moved away"):
        reader.studies()
    path.write_bytes(backup)
    search(path, distance, 5)
    assert sum(trial.state.is_trained for trial in reader.trials(study)) == 5
    reader.close()


@pytest.mark.parametrize("after", [1, 5, 8], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", ["study.db-wal", "study.db-shm"])
def test_a_log_or_its_index_removed_during_a_run_loses_nothing(
    path: Path, distance: Objective, after: int, name: str
) -> None:
    """Invariant: every trial that was reported is in the file when the run has stopped with the reason."""
    reported: list[int] = []
    removed = path.with_name(name)

    def remember(study: acs.Study, trial: acs.Trial) -> None:
        reported.append(trial.number)

    with pytest.raises(acs.StorageError, match=f"{name} was removed while"):
        search(path, distance, 8, remember, _after(after, removed.unlink))
    assert len(reported) == after
    check_file(path)
    ended = ended_trials(path)
    assert all(ended[number][0] == "COMPLETE" for number in reported)
    assert [t.number for t in search(path, distance, 8).trials if t.state.is_trained][
        :after
    ] == reported


def _left_by_a_kill(path: Path, objective: Objective) -> list[int]:
    """Database, -wal and -shm as a killed process leaves them; numbers of the finished trials."""
    study = search(path, objective, 2)
    study._storage.database.close()  # so far is in the database itself

    def copy() -> None:  # before the search is over: a checkpoint is its last act
        for end in ("", "-wal", "-shm"):
            source = Path(f"{path}{end}")
            source.with_name("left.db" + end).write_bytes(source.read_bytes())

    study = search(path, objective, 6, _after(4, copy))
    finished = [trial.number for trial in study.trials if trial.state.is_trained]
    study._storage.database.close()
    return finished


def test_an_index_that_is_removed_after_a_kill_is_made_anew(
    path: Path, distance: Objective
) -> None:
    finished = _left_by_a_kill(path, distance)
    left = path.with_name("left.db")
    left.with_name("left.db-shm").unlink()
    study = acs.load_study(study_name="s", storage=f"sqlite:///{left}")
    assert [trial.number for trial in study.trials if trial.state.is_trained] == finished


def test_a_log_that_is_removed_after_a_kill_takes_only_its_own_trials(
    path: Path, distance: Objective
) -> None:
    """Invariant: what a checkpoint has brought into the database stays, the file is whole, and the search makes the
    lost trials again, the same ones.
    """
    finished = _left_by_a_kill(path, distance)
    left = path.with_name("left.db")
    left.with_name("left.db-wal").unlink()
    kept = {number for number, (state, _) in ended_trials(left).items() if state == "COMPLETE"}
    check_file(left)
    assert kept == set(finished[:2])
    again, whole = search(left, distance, 6), search(path, distance, 6)
    assert [(t.number, t.state, t.value) for t in again.trials] == [
        (t.number, t.state, t.value) for t in whole.trials
    ]


def test_closing_a_database_leaves_no_log_behind(path: Path, distance: Objective) -> None:
    """So that whoever copies the file alone has everything."""
    study = search(path, distance, 3)
    study._storage.database.close()
    assert [item.name for item in path.parent.iterdir()] == ["study.db"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM trial_values").fetchone() == (3,)
