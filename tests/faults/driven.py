"""Searches in processes of their own, to which things happen."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import launcher
import pytest
from optuna.storages import RDBStorage

import actsearch as acs

__all__ = [
    "CONFIRM",
    "SEARCH",
    "Child",
    "Launcher",
    "Row",
    "check_file",
    "ended_trials",
    "forked_children",
    "opened_optuna",
    "rows_of",
    "search",
]

SEARCH = """
import sys
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs

url, strategy, total, batch, pruned = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def say(study, trial):
    print("DONE", trial.number, trial.state.name, repr(trial.value), flush=True)


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy,
                metric="loss", epochs=4 if pruned else 1, batch_size=32, lr=1e-2, device="cpu")
pruner = acs.SuccessiveHalving(min_resource=1, reduction_factor=2) if pruned else None
print("READY", flush=True)
# where there are few names, finding them takes no time
space = acs.Space(["relu", "tanh"], ["add", "mul"], max_size=5) if strategy == "gradient" else None
study = acs.create_study(study_name="s", storage=url, strategy=strategy, seed=3, pruner=pruner, space=space,
                         load_if_exists=True)
study.optimize(task, total_trials=total, callbacks=[say], show_progress_bar=False,
               executor=acs.Local(batch))
print("END", flush=True)
"""
"""A search of URL, strategy, trials in all, trials in a stack, 1 with a pruner; says READY, DONE ..., END."""

CONFIRM = """
import sys
import time
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.evaluation.subject.of_callable import CallableSubject
from actsearch.storage import Storage

url, kind, trials, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
generator = torch.Generator().manual_seed(0)
x = torch.randn(96, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def objective(candidate, run):
    return sum(map(ord, candidate.formula)) % 997 / 7 + run.seed % 1009 / 13 + (run.phase == "confirm")


def named(requests):
    return [f"{r.phase}/{r.record.label or 'unchanged'}/{r.seeds[0]}/{r.lr}".replace(" ", "") for r in requests]


Subject = CallableSubject if kind == "callable" else TaskSubject
train, add_scores, add_confirmation = Subject.train, Storage.add_scores, Storage.add_confirmation
asked = []


def training(self, requests, pruner=None, **more):
    asked[:] = named(requests)
    time.sleep(pause)
    return train(self, requests, pruner, **more)


def storing(self, begun, scores, lease, *more):
    add_scores(self, begun, scores, lease, *more)
    assert len(scores) == len(asked)
    for name in asked:
        print(f"DONE {top_k}/{name}", flush=True)


def judging(self, *arguments):
    print("JUDGED", flush=True)
    add_confirmation(self, *arguments)
    print("STORED", flush=True)


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:80], y[64:80]), test=(x[80:], y[80:]),
                loss=F.cross_entropy, metric="loss", epochs=1, batch_size=32, lr=1e-2, device="cpu")
tried = objective if kind == "callable" else task
if kind == "stacked":
    TaskSubject.batch_for = lambda self, requests, largest: 5
print("READY", flush=True)
study = acs.create_study(study_name="s", storage=url, strategy="random", seed=3, load_if_exists=True,
                         direction="minimize" if kind == "callable" else None)
if sum(trial.state.is_trained for trial in study.trials) < trials:
    study.optimize(tried, total_trials=trials, show_progress_bar=False)
print("SEARCHED", flush=True)
Subject.train, Storage.add_scores, Storage.add_confirmation = training, storing, judging
for top_k in map(int, sys.argv[5:]):
    study.confirm(tried, top_k=top_k, show_progress_bar=False, baseline="relu" if kind == "callable" else None)
print("END", flush=True)
"""
"""A search of URL that ends with verdicts: task, stacked or callable, trials, seconds before each pass, each top_k.

Says READY, SEARCHED, DONE with each training that is stored, JUDGED and STORED around the storing of a verdict, END.
"""

Row = tuple[Any, ...]


class Child:
    """A process that runs a script; its output is read as it comes."""

    def __init__(self, launcher: Launcher, pid: int, output: TextIO, errors: Path) -> None:
        self._launcher = launcher
        self.pid = pid
        self._output = output
        self._errors = errors
        self._input: TextIO | None = None
        self.is_over = False
        self.lines: list[str] = []

    def read(self, lines: int | None = None) -> list[str]:
        """So many more lines, or all until it ends."""
        found = [line.rstrip("\n") for line in itertools.islice(self._output, lines)]
        self.lines += found
        return found

    def kill(self) -> None:
        """``kill -9``."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._input is None:
            self._input = self._errors.with_suffix(".in").open("w", buffering=1)
        self._input.write(line + "\n")

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it; all of its output is in ``lines``."""
        self.read()
        self._output.close()
        if self._input is not None:
            self._input.close()
        self.is_over = True
        return int(self._launcher.ask("wait", self.pid))

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._errors.read_text()


def _adopt_orphans(yes: bool) -> None:
    """Whether processes whose parent ends become children of this one, if it is above them."""
    ctypes.CDLL(None).prctl(36, int(yes), 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


class Launcher:
    """Starts scripts in forks of a process that has imported everything: a fork of this one as it is now."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._count = itertools.count()
        launcher.warm_up()
        commands, answers = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of threads: xdist's has no part in it
            self._pid = os.fork()
        if self._pid == 0:
            launcher.serve(commands[0], answers[1])
        os.close(commands[0])
        os.close(answers[1])
        self._commands, self._answers = os.fdopen(commands[1], "w"), os.fdopen(answers[0])

    def ask(self, *command: Any) -> str:
        """Its answer to a command."""
        print(json.dumps(command), file=self._commands, flush=True)
        return self._answers.readline()

    def start(self, script: str, *arguments: object) -> Child:
        """Start a script, given as its text."""
        base = Path(self._folder.name) / str(next(self._count))
        path, pipe, errors, given = (
            base.with_suffix(end) for end in (".py", ".out", ".err", ".in")
        )
        path.write_text(script)
        os.mkfifo(pipe)
        os.mkfifo(given)
        files = (errors, given, pipe, path)
        pid = int(self.ask("start", *map(str, files), *map(str, arguments)))
        return Child(self, pid, pipe.open(), errors)

    def start_child(self, code: str) -> tuple[int, Path, Path]:
        """Start code in a child of this process; its number, and pipes to its standard input and from its output."""
        base = Path(self._folder.name) / str(next(self._count))
        given, output = base.with_suffix(".in"), base.with_suffix(".out")
        os.mkfifo(given)
        os.mkfifo(output)
        _adopt_orphans(True)
        try:
            pid = int(self.ask("orphan", str(given), str(output), os.getcwd(), code))
        finally:
            _adopt_orphans(False)
        return pid, given, output

    def close(self) -> None:
        """End it."""
        self._commands.close()
        os.waitpid(self._pid, 0)
        self._answers.close()
        self._folder.cleanup()


class ForkedPopen:
    """What :mod:`actsearch.execution` uses of ``subprocess.Popen``, for its child processes: a fork of a launcher."""

    def __init__(self, launcher: Launcher, command: Sequence[str], **settings: Any) -> None:
        pipe = subprocess.PIPE
        assert settings == {"stdin": pipe, "stdout": pipe, "process_group": 0}
        assert command[:2] == [sys.executable, "-c"]
        self.pid, given, output = launcher.start_child(command[2])
        self.stdin, self.stdout = given.open("wb"), output.open("rb")
        self._code = Future[int]()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        self._code.set_result(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended."""
        try:
            return self._code.result(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired("a fork", timeout or 0) from None

    def kill(self) -> None:
        """``kill -9``."""
        if not self._code.done():
            os.kill(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def forked_children(launcher: Launcher) -> Iterator[None]:
    """Meanwhile child processes of ``acs.Processes`` are forks: a new interpreter takes seconds to import torch."""
    if sys.platform != "linux":
        yield
        return
    replaced = types.SimpleNamespace(**vars(subprocess))
    replaced.Popen = functools.partial(ForkedPopen, launcher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actsearch.execution.children.subprocess", replaced)
        yield


def search(
    path: Path,
    objective: Callable[[acs.Candidate, acs.Run], float],
    total: int,
    *callbacks: Callable[[acs.Study, acs.Trial], None],
) -> acs.Study:
    """A search in this process for the smallest value, up to so many trained trials in all; begun or gone on with."""
    study = acs.create_study(
        study_name="s",
        storage=f"sqlite:///{path}",
        strategy="random",
        direction="minimize",
        load_if_exists=True,
    )
    study.optimize(objective, total_trials=total, callbacks=callbacks, show_progress_bar=False)
    return study


def rows_of(url: str) -> list[Row]:
    """What must not depend on interruptions: also how trials were made and what they repeat."""
    study = acs.load_study(study_name="s", storage=url)
    rows: list[Row] = [
        (
            trial.number,
            trial.state.name,
            trial.candidate.formula,
            trial.value,
            trial.reason,
            trial.duplicate_of,
            trial.warnings,
            trial.record.candidate.operation,
            trial.record.candidate.parents,
            trial.record.fingerprint,
        )
        for trial in study.trials
    ]
    study._storage.database.close()
    return rows


@contextlib.contextmanager
def opened_optuna(url: str) -> Iterator[RDBStorage]:
    """An Optuna storage that is there; Optuna's own check of its schema takes longer than to read it."""
    storage = RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def check_file(path: Path) -> None:
    """Raises AssertionError unless SQLite finds the file whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def ended_trials(path: Path) -> dict[int, tuple[str, str]]:
    """State and value of every trial in a file, by number; read without our code."""
    with closing(sqlite3.connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        assert not tables or "trials" in tables  # the schema is there whole, or not at all
        if not tables:
            return {}
        stored = connection.execute(
            "SELECT number, state, value FROM trials LEFT JOIN trial_values ON trial_id = trials.id"
        ).fetchall()
    ended = {number: (state, repr(value)) for number, state, value in stored}
    assert sorted(ended) == list(range(len(ended)))
    return ended
