"""An objective that forks: its child drives nothing, holds nothing, and touches no connection of its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from driven import Child, Launcher, Row, check_file, rows_of

import actsearch as acs
from actsearch.storage import Storage

FORKING = """
import gc, os, sys
import sqlalchemy as sa
import actsearch as acs

url, how, main = sys.argv[1], sys.argv[2], os.getpid()


def say(*words):
    print(*(str(word).replace("\\n", " ") for word in words), flush=True)


def child(run):
    if how == "falls through":
        return 1000.0
    if how == "raises":
        raise ValueError("in the child")
    if how == "interrupts":
        raise KeyboardInterrupt
    if how == "reads":
        for some in (study, acs.load_study(study_name="s", storage=url)):
            say("READ", [trial.value for trial in some.trials if trial.state.is_trained])
    if how == "optimizes":
        try:
            study.optimize(objective, n_trials=1, show_progress_bar=False)
        except acs.StudyError as error:
            say("REFUSED", error)
        return 1000.0
    if how == "has its own":
        own = acs.create_study(study_name=f"own {run.number}", storage=url, strategy="random", direction="minimize")
        own.optimize(lambda candidate, run: 1.0, n_trials=2, show_progress_bar=False)
        say("OWN", sum(trial.state.is_trained for trial in own.trials))
    gc.collect()
    os._exit(7)


def objective(candidate, run):
    if run.number in (2, 4) and os.getpid() == main:
        pid = os.fork()
        if pid == 0:
            return child(run)
        say("CHILD", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return 1.0 + run.number


def session(study, trial):
    if url.startswith("postgresql"):
        with study._storage.database.reading() as session:
            say("SESSION", session.execute(sa.text("SELECT pg_backend_pid()")).scalar())


study = acs.create_study(study_name="s", storage=url, strategy="random", direction="minimize", seed=3)
try:
    study.optimize(objective, n_trials=8, callbacks=[session], show_progress_bar=False, executor=acs.Local(1))
except BaseException as error:
    say("ENDED", os.getpid() == main, type(error).__name__, error)
    del study
    gc.collect()
    sys.exit(3)
say("END", os.getpid() == main)
"""

EXITS = {
    "falls through": 3,
    "raises": 3,
    "interrupts": 3,
    "reads": 7,
    "optimizes": 3,
    "has its own": 7,
}
QUICK = ("falls through", "reads", "optimizes")


@pytest.fixture(scope="module")
def expected() -> list[Row]:
    """The study without forks."""
    study = acs.create_study(study_name="s", strategy="random", direction="minimize", seed=3)
    study.optimize(
        lambda _, run: 1.0 + run.number, n_trials=8, show_progress_bar=False, executor=acs.Local(1)
    )
    return _rows(study)


def _rows(study: acs.Study) -> list[Row]:
    return [(t.number, t.state.name, t.candidate.formula, t.value, t.reason) for t in study.trials]


def _check_lines(lines: list[str], how: str) -> None:
    said = [line for line in lines if not line.startswith(("CHILD", "SESSION"))]
    assert [line for line in lines if line.startswith("CHILD")] == [f"CHILD {EXITS[how]}"] * 2
    assert said.pop() == "END True"
    assert len({line for line in lines if line.startswith("SESSION")}) < 2  # none was ended
    if how in ("falls through", "raises"):
        assert len(said) == 2
        for line in said:
            assert line.startswith("ENDED False StudyError this process is a fork of the one that")
            assert "nothing was written" in line
    elif how == "optimizes":
        assert [line.split()[0] for line in said] == ["REFUSED", "ENDED"] * 2
        assert all("study 's' is being run by" in line for line in said[::2])
    elif how == "reads":
        assert said == ["READ [1.0, 2.0]"] * 2 + ["READ [1.0, 2.0, 3.0, 4.0]"] * 2
    elif how == "has its own":
        assert said == ["OWN 2"] * 2


def _cases() -> list[Any]:
    """Every way on both kinds of database; the quick ones in a file, and one of them on a server."""
    quick = [*((how, "sqlite") for how in QUICK), ("reads", "postgresql")]
    cases = [(how, kind) for how in EXITS for kind in ("sqlite", "postgresql")]
    return [pytest.param(*c, marks=() if c in quick else pytest.mark.slow) for c in cases]


@pytest.mark.parametrize(("how", "database_url"), _cases(), indirect=["database_url"])
def test_the_study_is_that_of_a_search_that_never_forked(
    launcher: Launcher, database_url: str, expected: list[Row], how: str
) -> None:
    """Invariant: a child writes nothing to its parent's study, and ends with a sentence if it tries."""
    child: Child = launcher.start(FORKING, database_url, how)
    assert child.wait() == 0, child.errors
    _check_lines(child.lines, how)
    study = acs.load_study(study_name="s", storage=database_url)
    assert _rows(study) == expected
    lease = study._storage.lease(study.record)
    assert lease.holder() is None
    study._storage.database.close()
    if database_url.startswith("sqlite"):
        check_file(Path(database_url.removeprefix("sqlite:///")))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["falls through", "interrupts", "has its own"])
def test_nor_does_the_end_of_a_childs_interpreter_close_anything(
    database_url: str, expected: list[Row], how: str
) -> None:
    command = [sys.executable, "-c", FORKING, database_url, how]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    _check_lines(result.stdout.splitlines(), how)
    assert _rows(acs.load_study(study_name="s", storage=database_url)) == expected


def _forked(target: Callable[..., Any], *arguments: Any) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def _terminated(times: int) -> list[int | None]:
    """Exit codes of children that sleep and are ended by SIGTERM as soon as they are there."""
    codes = []
    for _ in range(times):
        process = _forked(time.sleep, 60)
        process.terminate()
        process.join(20)
        codes.append(process.exitcode)
        process.kill()
    return codes


def test_a_child_ends_by_sigterm(distance: Callable[..., float]) -> None:
    """Its parent finishes the running trials first."""
    codes: list[int | None] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if run.number == 1:
            codes.extend(_terminated(3))
        return distance(candidate, run)

    def outer(candidate: acs.Candidate, run: acs.Run) -> float:
        inner = acs.create_study(study_name="inner", strategy="random", direction="minimize")
        inner.optimize(objective, n_trials=3, show_progress_bar=False)
        return 1.0

    before = signal.getsignal(signal.SIGTERM)
    study = acs.create_study(study_name="s", strategy="random", direction="minimize")
    study.optimize(objective, n_trials=3, show_progress_bar=False)
    study = acs.create_study(study_name="outer", strategy="random", direction="minimize")
    study.optimize(outer, n_trials=1, show_progress_bar=False)
    assert codes == [-signal.SIGTERM] * 6
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_fork_in_the_middle_of_another_threads_transaction(sqlite_url: str) -> None:
    """It waits for that one's end: the child would take itself for the holder of its locks."""
    study = acs.create_study(
        study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
    )
    study.enqueue_trial("gelu")
    inside = threading.Event()

    def write() -> None:
        with study._storage.database.writing() as session:
            session.execute(sa.text("UPDATE studies SET seed = 1"))
            inside.set()
            time.sleep(0.5)

    def in_child() -> None:
        again = acs.load_study(study_name="s", storage=sqlite_url)
        assert again.record.seed == 1
        again.enqueue_trial("silu")
        assert len(study.trials) == 2

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(10)
    process = _forked(in_child)
    process.join(60)
    thread.join()
    assert process.exitcode == 0
    assert [trial.record.candidate.label for trial in study.trials] == ["gelu", "silu"]
    check_file(Path(sqlite_url.removeprefix("sqlite:///")))


def test_a_child_that_outlives_its_parent_keeps_its_own_locks(sqlite_url: str) -> None:
    """It opened the file anew; should it believe to hold what its parent held, others would take the log away."""
    storage = Storage(sqlite_url, create=True)
    study = acs.create_study(
        study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
    )
    log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")
    started, go_on = multiprocessing.Event(), multiprocessing.Event()

    def in_child() -> None:
        own = Storage(sqlite_url)
        own.study("s")
        started.set()
        go_on.wait(30)
        acs.load_study(study_name="s", storage=sqlite_url).enqueue_trial("silu")
        own.database.close()

    process = _forked(in_child)
    assert started.wait(30)
    study._storage.database.close()
    storage.database.close()  # the last one here: it would take the log away if it saw no other
    assert log.exists()
    go_on.set()
    process.join(60)
    assert process.exitcode == 0
    assert len(acs.load_study(study_name="s", storage=sqlite_url).trials) == 1


@pytest.fixture
def loaded_task(tiny_task: acs.Task) -> Callable[[int], acs.Task]:
    def make(workers: int) -> acs.Task:
        def loader(data: Any) -> torch.utils.data.DataLoader[Any]:
            data = torch.utils.data.TensorDataset(*data)
            return torch.utils.data.DataLoader(data, batch_size=16, num_workers=workers)

        return tiny_task.replace(train=loader(tiny_task.train), valid=loader(tiny_task.valid))

    return make


@pytest.mark.slow
def test_with_workers_that_load_data_the_study_is_the_same(
    loaded_task: Callable[[int], acs.Task], tmp_path: Path
) -> None:
    rows = []
    for workers in (0, 2):
        url = f"sqlite:///{tmp_path}/{workers}.db"
        study = acs.create_study(study_name="s", storage=url, strategy="random", seed=3)
        study.optimize(
            loaded_task(workers), n_trials=5, show_progress_bar=False, executor=acs.Local(1)
        )
        rows.append(rows_of(url))
        check_file(tmp_path / f"{workers}.db")
    assert rows[0] == rows[1]


CALLBACK_FORKS = """
import os, sys
import actsearch as acs

url, main = sys.argv[1], os.getpid()


def fork(study, trial):
    if trial.number == 1:
        pid = os.fork()
        if pid:
            print("CHILD", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def objective(candidate, run):
    return 1.0 + run.number


study = acs.create_study(study_name="s", storage=url, strategy="random", direction="minimize", seed=3)
try:
    study.optimize(objective, n_trials=8, callbacks=[fork], show_progress_bar=False, executor=acs.Processes(2))
except acs.StudyError as error:
    print("REFUSED", os.getpid() == main, error, flush=True)
    sys.exit(3)
print("END", os.getpid() == main, flush=True)
"""


@pytest.mark.slow
def test_a_callback_that_forks_leaves_the_child_processes_to_its_parent(
    launcher: Launcher, sqlite_url: str, expected: list[Row]
) -> None:
    child = launcher.start(CALLBACK_FORKS, sqlite_url)
    assert child.wait() == 0, child.errors
    assert child.lines[0].startswith("REFUSED False this process is a fork")
    assert child.lines[1:] == ["CHILD 3", "END True"]
    assert _rows(acs.load_study(study_name="s", storage=sqlite_url)) == expected
    assert os.path.exists(sqlite_url.removeprefix("sqlite:///"))


KILLED_WHILE_IT_DRAWS = """
import os, signal, sys
import actsearch as acs


class Stuck:
    def write(self, text):
        if text.strip():
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(self):
        pass


def search(name):
    study = acs.create_study(study_name=name, strategy="random", direction="minimize")
    study.optimize(lambda candidate, run: 1.0, n_trials=3, show_progress_bar=True)


search("before")  # its locks are made, as they are where several searches are started from one process
if (pid := os.fork()) == 0:
    sys.stderr = Stuck()
    search("killed")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
search("after")
print("GOES ON", flush=True)
"""


@pytest.mark.slow
def test_one_that_is_killed_while_it_draws_its_bar_stops_nobody_else() -> None:
    """Not in a fork of this process: a lock that all forks share would stop the tests."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_IT_DRAWS],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout == "GOES ON\n"
