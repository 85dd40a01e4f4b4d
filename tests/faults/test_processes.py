"""Child processes: whatever user code does in one, that trial alone fails, and nothing is left behind."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.activation import describe
from actsearch.evaluation import Evaluator
from actsearch.execution import Job, Work
from actsearch.records import SHARED, CandidateRecord, Outcome, TrialState

NAMES = ("relu", "sin", "tanh", "elu")


def _hang() -> None:
    while True:
        time.sleep(0.1)


def _take_memory() -> None:
    taken = [torch.ones(2**22) for _ in range(64)]  # 16 MiB each
    time.sleep(10)
    del taken


def _exit() -> None:
    sys.exit("enough")


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "os._exit": (lambda: os._exit(3), "exit code 3"),
    "a segmentation fault": (lambda: ctypes.string_at(0), "SIGSEGV"),
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL.*memory runs out"),
    "sys.exit": (_exit, "SystemExit: enough"),
    "never returns": (_hang, r"no result after 3 s \(trial_timeout\)"),
    "too much memory": (_take_memory, "more memory than memory_limit"),
}


SLOW = ("a segmentation fault", "killed")  # as os._exit, for the one who waits


def _jobs() -> list[Job]:
    return [
        Job(number, CandidateRecord({SHARED: describe(name)})) for number, name in enumerate(NAMES)
    ]


def _outcomes(executor: acs.Processes, objective: Any) -> dict[str, Outcome]:
    parts = executor.run(_jobs(), Work(Evaluator(objective), (1,)))
    return {NAMES[job.number]: outcome for part in parts for job, outcome in part}


def _digits(model: Callable[[], nn.Module], epochs: int = 2) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    return acs.Task(
        model=model, train=(x, y), valid=(x, y), loss=F.cross_entropy, metric="accuracy",
        epochs=epochs, batch_size=32, lr=0.01, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def executor() -> Iterator[acs.Processes]:
    made = acs.Processes(2, trial_timeout=3, memory_limit="900MB")
    yield made
    made.close()


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=[pytest.mark.slow] if fault in SLOW else []) for fault in FAULTS],
)
def test_only_the_trial_at_fault_fails(executor: acs.Processes, fault: str) -> None:
    happens, said = FAULTS[fault]

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if candidate.formula.startswith("sin"):
            happens()
        return float(run.number)

    outcomes = _outcomes(executor, objective)
    failed = outcomes.pop("sin")
    assert failed.state is TrialState.FAILED
    assert re.search(said, failed.reason), failed.reason
    assert {name: outcome.value for name, outcome in outcomes.items()} == {
        "relu": 0.0, "tanh": 2.0, "elu": 3.0,
    }  # fmt: skip


def test_of_a_stack_whose_process_dies_each_is_trained_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag = tmp_path / "died"

    def model() -> nn.Module:
        if not flag.exists():
            flag.touch()
            os._exit(3)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    executor = acs.Processes(1, batch=4)
    with caplog.at_level(logging.WARNING, logger="actsearch"):
        outcomes = _outcomes(executor, _digits(model))
    executor.close()
    assert [outcome.state for outcome in outcomes.values()] == [TrialState.COMPLETE] * 4
    assert "4 trials in one pass: its process ended by itself with exit code 3" in caplog.text


def test_a_study_goes_on_after_a_trial_that_hangs(tmp_path: Path) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if run.number == 1:
            _hang()
        return float(run.number)

    before = psutil.Process().children()
    study = acs.create_study(
        study_name="s",
        storage=f"sqlite:///{tmp_path}/a.db",
        strategy="random",
        direction="maximize",
    )
    study.optimize(
        objective, n_trials=4, executor=acs.Processes(2, trial_timeout=1), show_progress_bar=False
    )
    trained = [trial for trial in study.trials if trial.state.is_trained]
    assert [trial.state.name for trial in trained].count("COMPLETE") == 3
    assert [(t.number, t.reason) for t in trained if t.state is TrialState.FAILED] == [
        (1, "no result after 1 s (trial_timeout)")
    ]
    assert psutil.Process().children() == before


def test_what_cannot_be_sent_is_said(executor: acs.Processes) -> None:
    lock = threading.Lock()

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        with lock:
            return 1.0

    with pytest.raises(
        acs.StudyError, match=r"cannot be sent to another process: .*lock.*acs\.Local"
    ):
        _outcomes(executor, objective)


def test_what_cannot_be_built_there_is_said(
    executor: acs.Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("made_up_here")
    exec_free = types.FunctionType(
        (lambda candidate, run: 1.0).__code__, {"__name__": "made_up_here"}, "objective"
    )
    exec_free.__module__, exec_free.__qualname__ = "made_up_here", "objective"
    module.objective = exec_free  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_here", module)
    with pytest.raises(acs.StudyError, match="made_up_here"):
        _outcomes(executor, exec_free)


def test_prints_are_no_messages_and_logs_arrive(
    executor: acs.Processes, caplog: pytest.LogCaptureFixture
) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        print("hello")
        if candidate.formula.startswith("sin"):
            raise OSError("no such file")
        return 1.0

    with caplog.at_level(logging.WARNING, logger="actsearch"):
        outcomes = _outcomes(executor, objective)
    assert [outcome.value for outcome in outcomes.values()].count(1.0) == 3
    assert "the objective raised on" in caplog.text
    assert "no such file" in caplog.text


SCRIPT = """
import os, sys, time
import psutil
import actsearch as acs

print("TOP", flush=True)


def objective(candidate, run):
    time.sleep(float(sys.argv[1]) if run.number else 0)
    return float(run.number)


def say(study, trial):
    print("CHILDREN", *[child.pid for child in psutil.Process().children()], flush=True)


study = acs.create_study(study_name="s", storage=sys.argv[2], strategy="random", direction="maximize")
study.optimize(objective, n_trials=4, executor=acs.Processes(2), callbacks=[say], show_progress_bar=False)
print("END", flush=True)
"""


def test_a_script_needs_no_guard_and_is_run_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), "0", f"sqlite:///{tmp_path}/a.db"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("TOP") == 1
    assert done.stdout.count("CHILDREN") == 4
    assert done.stdout.endswith("END\n")


def test_children_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    url = f"sqlite:///{tmp_path}/a.db"
    with subprocess.Popen(
        [sys.executable, str(script), "1000", url], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        children = next(line for line in driver.stdout if line.startswith("CHILDREN")).split()[1:]
        assert len(children) == 2
        driver.kill()
    ended, alive = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in children if psutil.pid_exists(int(pid))], timeout=10
    )
    assert alive == []
    study = acs.load_study(study_name="s", storage=url)
    assert [t.value for t in study.trials if t.state is TrialState.COMPLETE] == [0.0]
