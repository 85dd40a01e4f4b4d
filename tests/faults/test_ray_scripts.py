"""A script that starts a Ray cluster of its own: it leaves nothing behind, however it ends."""

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

SCRIPT = """
import os, signal, sys, time
import actsearch as acs

before = signal.getsignal(signal.SIGTERM), {k: v for k, v in os.environ.items() if "AUTH" in k}


def objective(candidate, run):
    print("TRIAL", os.getpid(), file=sys.stderr, flush=True)
    time.sleep(float(sys.argv[1]) if run.number else 0)
    return float(run.number)


def say(study, trial):
    print("DONE", trial.number, flush=True)


study = acs.create_study(study_name="s", storage=sys.argv[2], strategy="random", direction="maximize",
                         load_if_exists=True)
study.optimize(objective, total_trials=4, executor=acs.Ray(2, address="local"), callbacks=[say],
               show_progress_bar=False)
assert before == (signal.getsignal(signal.SIGTERM), {k: v for k, v in os.environ.items() if "AUTH" in k})
print("END", flush=True)
"""


@pytest.fixture
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], subprocess.Popen[str]]:
    """Starts a search of four trials with a cluster of its own; all that it starts carries a mark."""
    pytest.importorskip("ray", reason="ray is not installed (pip install 'actsearch[ray]')")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LEFT_BY_TRIALS", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(path), str(seconds), f"sqlite:///{tmp_path}/a.db"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip

    return start


class TestAScriptWithAClusterOfItsOwn:
    @pytest.mark.slow
    def test_leaves_handlers_environment_home_and_processes_as_they_were(
        self, script: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        with script(0) as driver:
            output, errors = driver.communicate(timeout=200)
        assert driver.returncode == 0, errors
        assert output.endswith("END\n")
        assert output.count("DONE") == 4
        assert "TRIAL" in errors  # what a worker prints
        assert list((tmp_path / "home").iterdir()) == []
        assert left_by(tmp_path) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_when_what_runs_is_stored(
        self,
        script: Callable[[float], subprocess.Popen[str]],
        tmp_path: Path,
        number: signal.Signals,
    ) -> None:
        with script(3) as driver:
            assert driver.stdout is not None
            next(line for line in driver.stdout if line.startswith("DONE"))
            time.sleep(1)  # until others run
            if number == signal.SIGINT:  # as a terminal does
                os.killpg(driver.pid, number)
            else:
                driver.send_signal(number)
            _, errors = driver.communicate(timeout=100)
        assert "ends when the running trials are stored" in errors
        assert driver.returncode != 0
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
        assert left_by(tmp_path) == []
        states = states_in(tmp_path)
        assert states.count("COMPLETE") in (2, 3)
        assert "RUNNING" not in states

    @pytest.mark.slow
    def test_a_second_signal_ends_it_now(
        self, script: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        with script(100) as driver:
            assert driver.stdout is not None
            next(line for line in driver.stdout if line.startswith("DONE"))
            begun = time.monotonic()
            for _ in range(2):
                os.killpg(driver.pid, signal.SIGINT)
                time.sleep(0.5)
            driver.communicate(timeout=60)
        assert time.monotonic() - begun < 60
        assert left_by(tmp_path) == []
        assert states_in(tmp_path).count("COMPLETE") == 1

    @pytest.mark.slow
    def test_killed_it_leaves_no_process_and_goes_on_where_it_was(
        self, script: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        with script(100) as driver:
            assert driver.stdout is not None
            next(line for line in driver.stdout if line.startswith("DONE"))
            driver.kill()
        assert left_by(tmp_path, 40) == []
        assert states_in(tmp_path).count("COMPLETE") == 1
        with script(0) as driver:
            output, errors = driver.communicate(timeout=200)
        assert driver.returncode == 0, errors
        assert output.count("DONE") == 3
        assert states_in(tmp_path).count("COMPLETE") == 4
