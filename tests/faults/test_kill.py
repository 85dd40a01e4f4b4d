"""``kill -9`` at any moment: the file stays whole, nothing reported is lost, and the search goes on as if unbroken."""

from __future__ import annotations

import itertools
import random
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs

STRATEGIES = ("random", "bayesian", "genetic")
TOTAL = 45  # trained trials: several logical batches of each strategy

SCRIPT = """
import sys
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs
acs.create_study, acs.Task  # imported before the clock starts

torch.set_num_threads(1)
url, strategy, total, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def say(study, trial):
    print("DONE", trial.number, trial.state.name, repr(trial.value), flush=True)


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy,
                metric="loss", epochs=1, batch_size=32, lr=1e-2, device="cpu")
print("READY", flush=True)
study = acs.create_study(study_name="s", storage=url, strategy=strategy, seed=3, load_if_exists=True)
study.optimize(task, total_trials=total, callbacks=[say], show_progress_bar=False,
               executor=acs.Local(batch))
print("END", flush=True)
"""

Row = tuple[Any, ...]


def _rows(url: str) -> list[Row]:
    """What must not depend on interruptions: also how trials were made and what they repeat."""
    study = acs.load_study(study_name="s", storage=url)
    return [
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


class Driver:
    """Starts the script, kills it, and remembers what it has reported."""

    def __init__(self, folder: Path, strategy: str, batch: int = 1) -> None:
        self.script = folder / "search_it.py"
        self.script.write_text(SCRIPT)
        self.path = folder / f"{strategy}.db"
        self.url = f"sqlite:///{self.path}"
        self.reported: dict[int, tuple[str, str]] = {}
        self._arguments = [self.url, strategy, str(TOTAL), str(batch)]

    def run(self, kill_after: tuple[int, float] | None = None) -> bool:
        """Whether the script came to its end; kill it some seconds after so many trials were reported."""
        process = subprocess.Popen(
            [sys.executable, str(self.script), *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n", process.communicate()[1]
        read = ""
        if kill_after is not None:
            trials, seconds = kill_after
            read = "".join(itertools.islice(process.stdout, trials))
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        output, errors = process.communicate(timeout=300)
        lines = (read + output).splitlines()
        for line in lines:
            if line.startswith("DONE "):
                _, number, state, value = line.split()
                assert int(number) not in self.reported, "a reported trial was trained again"
                self.reported[int(number)] = (state, value)
        ended = "END" in lines
        assert ended or (kill_after and process.returncode == -signal.SIGKILL), errors
        return ended

    def check(self) -> None:
        """The file is whole and holds everything that was reported."""
        if not self.path.exists():
            assert not self.reported
            return
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            stored = (
                connection.execute(
                    "SELECT number, state, value FROM trials "
                    "LEFT JOIN trial_values ON trial_id = trials.id"
                ).fetchall()
                if "trials" in tables
                else []
            )
            assert not tables or "trials" in tables  # the schema is there whole, or not at all
        ended = {number: (state, repr(value)) for number, state, value in stored}
        for number, said in self.reported.items():
            assert ended[number] == said
        assert sorted(ended) == list(range(len(ended)))


def _unbroken(folder: Path, strategy: str) -> list[Row]:
    """The trials of the same script without a kill, run in this process."""
    path = folder / "unbroken.py"
    path.write_text(SCRIPT)
    url = f"sqlite:///{folder}/unbroken.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), url, strategy, str(TOTAL), "1"])
        runpy.run_path(str(path), run_name="__main__")
    return _rows(url)


def _killed_and_resumed(folder: Path, strategy: str, kills: int, batch: int = 1) -> list[int]:
    """Kill the search many times; compare with one that was not. Returns how far each kill let it come."""
    unbroken = _unbroken(folder, strategy)
    rng = random.Random(f"{strategy} {kills} {batch}")
    driver = Driver(folder, strategy, batch)
    progress = []
    for _ in range(kills):
        trials = rng.randint(0, 2 * TOTAL // (kills + 1))
        seconds = rng.uniform(0, 0.1 if trials else 1.5)  # making the file, or some trials further
        if driver.run((trials, seconds)):  # it was faster: begin anew
            driver.path.unlink()
            driver = Driver(folder, strategy, batch)
        driver.check()
        progress.append(len(driver.reported))
    assert driver.run()
    driver.check()
    assert _rows(driver.url) == unbroken
    assert sum(row[1] in ("COMPLETE", "FAILED", "PRUNED") for row in _rows(driver.url)) == TOTAL
    return progress


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_killed_and_resumed_makes_the_same_trials(tmp_path: Path, strategy: str) -> None:
    _killed_and_resumed(tmp_path, strategy, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "batch"), [("random", 1), ("bayesian", 1), ("genetic", 1), ("genetic", 4)]
)
def test_so_does_one_that_is_killed_again_and_again(
    tmp_path: Path, strategy: str, batch: int
) -> None:
    progress = _killed_and_resumed(tmp_path, strategy, kills=25, batch=batch)
    print(f"{strategy}, batch {batch}: reported after each kill {progress}")
    assert len(set(progress)) > 5  # the kills came at different moments
