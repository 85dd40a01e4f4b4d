"""The clock is set, back or forward, while a search runs: nothing that is decided depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs
from actsearch.storage import tables

SEARCH = """
import os, sys
import actsearch as acs

url, step, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])

def objective(candidate, run):
    return float(run.number)

def move(study, trial):
    print("DONE", trial.number, flush=True)
    if trial.number == 4:
        open(os.environ["CLOCK"], "w").write(step)

study = acs.create_study(study_name="s", storage=url, strategy="random", direction="minimize", load_if_exists=True)
study.optimize(objective, total_trials=10, timeout=timeout, callbacks=[move], show_progress_bar=False)
second = acs.load_study(study_name="s", storage=url)
second.optimize(objective, total_trials=12, timeout=timeout, show_progress_bar=False)
print("END", flush=True)
"""


def _check(path: Path, back: bool) -> None:
    study = acs.load_study(study_name="s", storage=f"sqlite:///{path}")
    trained = [trial for trial in study.trials if trial.state.is_trained]
    assert [trial.state.name for trial in trained] == ["COMPLETE"] * 12
    jumps = [
        (after.record.completed - before.record.completed).total_seconds()  # type: ignore[operator]
        for before, after in zip(trained, trained[1:], strict=False)
    ]
    assert min(jumps) < -3000 if back else max(jumps) > 3000  # the clock was moved indeed
    study.optimize(  # and who comes later, with the clock right again, is not kept out
        _objective, total_trials=13, show_progress_bar=False, task_changed="accept"
    )
    assert sum(trial.state.is_trained for trial in study.trials) == 13


def _objective(candidate: acs.Candidate, run: acs.Run) -> float:
    return float(run.number)


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_clock_set_a_day_back_or_forward_stops_nobody(
    tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant: all trials are made, none twice; the lease of a process that lives is neither lost nor in its own way;
    ``timeout`` does not count the jump.
    """
    moved = timedelta(0)
    real = time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + moved

    monkeypatch.setattr(tables, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: real() + moved.total_seconds())
    reported: list[int] = []

    def move(study: acs.Study, trial: acs.Trial) -> None:
        nonlocal moved
        reported.append(trial.number)
        if len(reported) == 5:
            moved = timedelta(hours=hours)

    study = acs.create_study(
        study_name="s",
        storage=f"sqlite:///{tmp_path}/study.db",
        strategy="random",
        direction="minimize",
    )
    study.optimize(
        _objective, n_trials=10, timeout=3600, callbacks=[move], show_progress_bar=False
    )
    study.optimize(_objective, n_trials=2, timeout=3600, callbacks=[move], show_progress_bar=False)
    assert len(set(reported)) == 12
    monkeypatch.undo()
    _check(tmp_path / "study.db", hours < 0)


_FAKETIME = [
    item
    for folder in Path("/usr/lib").glob("*/faketime")
    for item in folder.glob("libfaketime.so.1")
]


@pytest.mark.slow
@pytest.mark.skipif(not _FAKETIME, reason="libfaketime is not installed")
def test_nor_does_one_that_the_c_library_tells(tmp_path: Path) -> None:
    """As above, for everything in the process: SQLite's and torch's time too."""
    path, script, now = tmp_path / "study.db", tmp_path / "search_it.py", tmp_path / "now"
    script.write_text(SEARCH)
    now.write_text("+0")
    result = subprocess.run(
        [sys.executable, str(script), f"sqlite:///{path}", "-1d", "3600"],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "CLOCK": str(now),
            "LD_PRELOAD": str(_FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(now),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        },
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[-2] == "END"
    _check(path, back=True)
