"""A script that searches with ``acs.Slurm``: it leaves neither jobs nor files behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ended_scripts import left_by, states_in

import actsearch as acs

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, time
import actsearch as acs
from actsearch.execution.on_slurm import slot

slot.PATIENCE = 6.0


def objective(candidate, run):
    time.sleep(float(sys.argv[1]) if run.number else 0)
    return float(run.number)


study = acs.create_study(study_name="s", storage=sys.argv[2], strategy="random", direction="maximize",
                         load_if_exists=True)
study.optimize(objective, total_trials=4, executor=acs.Slurm(2, folder=sys.argv[3], cluster="local"),
               callbacks=[lambda study, trial: print("DONE", trial.number, flush=True)], show_progress_bar=False)
print("END", flush=True)
"""

Start = Callable[[float], "subprocess.Popen[str]"]


@pytest.fixture
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_slurm: Callable[..., acs.Slurm]
) -> Start:
    """Starts a search of four trials; all that it starts carries a mark."""
    monkeypatch.setenv("LEFT_BY_TRIALS", str(tmp_path))
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(path), str(seconds), f"sqlite:///{tmp_path}/a.db"]
        return subprocess.Popen(
            [*command, str(tmp_path / "jobs")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    return start


def _await_first(driver: subprocess.Popen[str]) -> None:
    assert driver.stdout is not None
    next(line for line in driver.stdout if line.startswith("DONE"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_when_what_runs_is_stored(
    script: Start, tmp_path: Path, number: signal.Signals
) -> None:
    with script(5) as driver:
        _await_first(driver)
        time.sleep(1.5)  # the next has begun
        if (
            number == signal.SIGINT
        ):  # as a terminal does: jobs on this machine are of the same group
            os.killpg(driver.pid, number)
        else:
            driver.send_signal(number)
        _, errors = driver.communicate(timeout=100)
    assert "ends when the running trials are stored" in errors
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert left_by(tmp_path) == []
    assert list((tmp_path / "jobs").iterdir()) == []
    states = states_in(tmp_path)
    assert states.count("COMPLETE") in (2, 3)
    assert "RUNNING" not in states


def test_a_second_signal_ends_it_now(script: Start, tmp_path: Path) -> None:
    with script(100) as driver:
        _await_first(driver)
        begun = time.monotonic()
        for _ in range(2):
            os.killpg(driver.pid, signal.SIGINT)
            time.sleep(0.5)
        driver.communicate(timeout=60)
    assert time.monotonic() - begun < 60
    assert left_by(tmp_path) == []
    assert list((tmp_path / "jobs").iterdir()) == []
    assert states_in(tmp_path).count("COMPLETE") == 1


def test_killed_it_leaves_no_process_and_goes_on_where_it_was(
    script: Start, tmp_path: Path
) -> None:
    with script(100) as driver:
        _await_first(driver)
        driver.kill()
    assert left_by(tmp_path, 60) == []
    assert states_in(tmp_path).count("COMPLETE") == 1
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    with script(0) as driver:
        output, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    assert output.count("DONE") == 3
    assert states_in(tmp_path).count("COMPLETE") == 4
    assert list((tmp_path / "jobs").iterdir()) == []
    assert left_by(tmp_path) == []
