"""What children have trained outlives a driver that is killed before its pruner could decide on it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from driven import Child, Launcher, check_file, rows_of

TOTAL = 8
CHECKED = "FormulaActivation(x * sigmoid(param(1.0) * x))"
"""What a model is trained with before a search, to see whether that goes."""

SEARCH = """
import os
import sys
import time
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs

url, log, parallel = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


class Noting(nn.Module):
    "Notes each training, by its activation; the model unchanged may take long."

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)
        self.is_noted = False

    def forward(self, x):
        if self.training and not self.is_noted and torch.is_grad_enabled():
            self.is_noted = True
            with open(log, "a") as file:
                file.write(f"{self.act}\\n".replace("\\n", " ") + "\\n")
        if type(self.act) is nn.ReLU and os.path.exists(log + ".slow"):
            time.sleep(0.2)
        return self.last(self.act(self.first(x)))


task = acs.Task(model=Noting, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy,
                metric="loss", epochs=9, batch_size=32, lr=1e-2, tune_lr=False, device="cpu")
print("READY", flush=True)
study = acs.create_study(study_name="s", storage=url, strategy=acs.RandomSearch(parallel=parallel), seed=3,
                         pruner=acs.SuccessiveHalving(1, 3), load_if_exists=True)
study.optimize(task, total_trials=int(sys.argv[4]), executor=acs.Processes(2, batch=1), show_progress_bar=False)
print("END", flush=True)
"""
"""A search of a URL, a file for notes, V, trials in all."""


def _wait_for_held(path: Path, child: Child, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not path.exists():  # it imports still
            time.sleep(0.05)
            continue
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            held = 0
            with contextlib.suppress(sqlite3.OperationalError):  # there is no such table yet
                held = connection.execute(
                    "SELECT count(*) FROM trials WHERE state = 'RUNNING' AND user_attrs LIKE '%held_result%'"
                ).fetchone()[0]
        if held >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} results were held: {child.errors}")


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [0, 4])
def test_no_training_that_ended_is_repeated(
    launcher: Launcher, tmp_path: Path, parallel: int
) -> None:
    """Trials are those of a search that was not killed; only what was in training is trained again."""
    whole, cut = tmp_path / "whole.db", tmp_path / "cut.db"
    notes = {path: path.with_suffix(".txt") for path in (whole, cut)}
    assert launcher.start(SEARCH, f"sqlite:///{whole}", notes[whole], parallel, TOTAL).wait() == 0
    slow = Path(f"{notes[cut]}.slow")
    slow.touch()
    child = launcher.start(SEARCH, f"sqlite:///{cut}", notes[cut], parallel, TOTAL)
    child.read(1)
    _wait_for_held(cut, child, 2)
    child.kill()
    child.wait()
    check_file(cut)
    slow.unlink()
    before = Counter(notes[cut].read_text().splitlines())
    child = launcher.start(SEARCH, f"sqlite:///{cut}", notes[cut], parallel, TOTAL)
    assert child.wait() == 0, child.errors
    assert rows_of(f"sqlite:///{cut}") == rows_of(f"sqlite:///{whole}")
    once = Counter(notes[whole].read_text().splitlines())
    again = Counter(notes[cut].read_text().splitlines()) - once
    # one child was training the model unchanged; with it, and with what models are checked with, more is noted
    others = {name for name in again if not name.startswith(("ReLU", CHECKED))}
    assert len(others) <= 1, others
    assert sum(before.values()) >= 4
    with closing(sqlite3.connect(cut)) as connection:
        left = connection.execute(
            "SELECT count(*) FROM trials WHERE user_attrs LIKE '%held_result%'"
        )
        assert left.fetchone() == (0,)
        doubled = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM evaluations GROUP BY trial_id, seed HAVING count(*) > 1)"
        )
        assert doubled.fetchone() == (0,)
