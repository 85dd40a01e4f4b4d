"""Child processes: whatever user code does in one, that trial alone fails, and nothing is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import torch
from driven import Launcher, forked_children
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.activations import describe
from actsearch.devices import take_device
from actsearch.evaluation import make_subject
from actsearch.execution import Job, Work
from actsearch.execution.child import read_message, write_message
from actsearch.records import CandidateRecord, Outcome, TrialState

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
    "never returns": (_hang, r"no result after 5 s \(trial_timeout\)"),
    "too much memory": (_take_memory, "more memory than memory_limit"),
}


QUICK = ("os._exit", "killed", "sys.exit")  # the others are waited for, or dump core


def _jobs() -> list[Job]:
    return [
        Job(number, CandidateRecord.shared(describe(name))) for number, name in enumerate(NAMES)
    ]


def _outcomes(executor: acs.Processes, objective: Any) -> dict[str, Outcome]:
    parts = executor.run(_jobs(), Work(make_subject(objective), (1,)))
    return {NAMES[job.number]: outcome for part in parts for job, outcome in part.outcomes}


def _digits(model: Callable[[], nn.Module], epochs: int = 2) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(128, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    return acs.Task(
        tune_lr=False,
        model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=F.cross_entropy, metric="accuracy",
        epochs=epochs, batch_size=32, lr=0.01, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def executor() -> Iterator[acs.Processes]:
    made = acs.Processes(2, trial_timeout=5, memory_limit="900MB")
    _outcomes(made, lambda candidate, run: 1.0)  # both are there
    yield made
    made.close()


@pytest.fixture(scope="module")
def forked(launcher: Launcher) -> Iterator[acs.Processes]:
    """Of quick tests: forks of a process that is larger than any limit."""
    with forked_children(launcher):
        made = acs.Processes(2)
        yield made
        made.close()


def test_a_driver_that_takes_long_costs_no_trial_its_time(forked: acs.Processes) -> None:
    """What ended while the driver stored, proposed or called back has ended in time."""
    executor = acs.Processes(2, trial_timeout=0.5)
    with executor:
        found = []
        for part in executor.run(_jobs(), Work(make_subject(lambda candidate, run: 1.0), (1,))):
            found += [outcome.state.name for _, outcome in part.outcomes]
            time.sleep(0.7)
    assert found == ["COMPLETE"] * len(NAMES)


def test_a_measurement_that_hangs_ends(forked: acs.Processes) -> None:
    """It may take as long as trials may."""

    def build() -> nn.Module:
        class Hanging(nn.Module):
            def forward(self, x: torch.Tensor) -> Any:
                while (
                    threading.current_thread() is not threading.main_thread()
                    or os.getpid() != parent
                ):
                    time.sleep(0.1)
                return x

        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Hanging(), nn.Linear(8, 2))

    parent = os.getpid()
    work = Work(make_subject(_digits(build)), (1,))
    with acs.Processes(1, trial_timeout=0.5) as executor:
        assert executor.forecast_seconds(work) is None


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=[] if fault in QUICK else [pytest.mark.slow]) for fault in FAULTS],
)
def test_only_the_trial_at_fault_fails(request: pytest.FixtureRequest, fault: str) -> None:
    happens, said = FAULTS[fault]
    executor = request.getfixturevalue("forked" if fault in QUICK else "executor")

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


def _on_a_gpu(asserting: str) -> Callable[[acs.Candidate, acs.Run], float]:
    """An objective that asserts in a kernel on one candidate; its process's GPU refuses everything since."""
    refuses: list[bool] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if refuses or candidate.formula.startswith(asserting):
            refuses.append(True)
            raise RuntimeError("CUDA error: device-side assert triggered\nIt may be reported late")
        return float(run.number)

    return objective


@pytest.mark.parametrize("batch", [1, 4])
def test_a_child_whose_gpu_refuses_everything_is_replaced(
    launcher: Launcher, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    with forked_children(launcher), contextlib.closing(acs.Processes(1, batch=batch)) as executor:
        outcomes = _outcomes(executor, _on_a_gpu("sin"))
    failed = outcomes.pop("sin")
    assert failed.state is TrialState.FAILED
    assert "its GPU refused all further work" in failed.reason
    assert "device-side assert triggered" in caplog.text
    assert [outcome.state for outcome in outcomes.values()] == [TrialState.COMPLETE] * 3


def test_in_this_process_a_gpu_that_refuses_everything_ends_the_call() -> None:
    """The trial at fault fails, those after it do not, and they run when the program is started again."""
    study = acs.create_study(study_name="s", strategy="random", direction="maximize")
    for name in NAMES:
        study.enqueue_trial(name)
    said = r"device-side assert triggered.*acs\.Processes\(1\)"
    settings: dict[str, Any] = {"executor": acs.Local(batch=1), "show_progress_bar": False}
    with pytest.raises(acs.StudyError, match=said):
        study.optimize(_on_a_gpu("sin"), n_trials=4, **settings)
    study.optimize(_on_a_gpu("sin"), n_trials=2, **settings)
    assert [trial.state for trial in study.trials if trial.state.is_trained] == [
        TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE, TrialState.COMPLETE,
    ]  # fmt: skip


def test_children_take_different_gpus(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three children of which one is replaced, on two GPUs: which one each would make its current one."""

    def dies(candidate: acs.Candidate, run: acs.Run) -> float:
        if run.number == 1:
            os._exit(3)
        return 1.0

    with forked_children(launcher), contextlib.closing(acs.Processes(3)) as executor:
        for _ in executor.run(_jobs()[:3], Work(make_subject(dies), (1,))):
            pass
        places = sorted(cast(Any, seat.worker).child.place for seat in executor._seats)
    assert places == [0, 1, 2]
    taken: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    for place in places:
        take_device(place)
    assert taken == [0, 1, 0]


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_what_cannot_be_sent_is_said(forked: acs.Processes) -> None:
    lock = threading.Lock()

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        with lock:
            return 1.0

    with pytest.raises(
        acs.StudyError, match=r"cannot be sent to another process: .*lock.*acs\.Local"
    ):
        _outcomes(forked, objective)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_children_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    url = f"sqlite:///{tmp_path}/a.db"
    with subprocess.Popen(
        [sys.executable, str(script), "1000", url], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        children = next(line for line in driver.stdout if line.startswith("CHILDREN")).split()[1:]
        assert len(children) == 3  # and who ends them if this one cannot
        driver.kill()
    ended, alive = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in children if psutil.pid_exists(int(pid))], timeout=10
    )
    assert alive == []
    study = acs.load_study(study_name="s", storage=url)
    assert [t.value for t in study.trials if t.state is TrialState.COMPLETE] == [0.0]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_reaches_children_through_who_started_them(tmp_path: Path, times: int) -> None:
    """A terminal sends it to all processes: once, the children finish what they are at; twice, they end with it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    url = f"sqlite:///{tmp_path}/a.db"
    with subprocess.Popen(
        [sys.executable, str(script), "2", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        children = next(line for line in driver.stdout if line.startswith("CHILDREN")).split()[1:]
        time.sleep(0.5)  # until they have their next trials
        for _ in range(times):
            os.killpg(driver.pid, signal.SIGINT)
            time.sleep(0.2)
        _, errors = driver.communicate(timeout=60)
    assert driver.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert not any(psutil.pid_exists(int(pid)) for pid in children)
    states = [t.state.name for t in acs.load_study(study_name="s", storage=url).trials]
    # trial 0, and those that ran: two, or one where the signal came before the other child had its next
    assert states.count("COMPLETE") in ((2, 3) if times == 1 else (1,))
    assert ("RUNNING" in states) == (times == 2)


def _leave_a_fork() -> None:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os._exit(3)


def _leave_a_session() -> None:
    subprocess.Popen(["sleep", "60"], start_new_session=True)
    _hang()


def _close_stdin() -> None:
    sys.stdin.close()
    input()


LEFT: dict[str, tuple[Callable[[], Any], str]] = {
    "crashes beside a fork": (_leave_a_fork, "exit code 3"),
    "hangs beside another session": (_leave_a_session, "trial_timeout"),
    "reads closed standard input": (_close_stdin, "ValueError: I/O operation on closed file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", LEFT)
def test_nothing_that_a_trial_started_is_left_or_waited_for(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = LEFT[fault]

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if candidate.formula.startswith("sin"):
            make()
        return 1.0

    monkeypatch.setenv("LEFT_BY_TRIALS", str(tmp_path))
    executor = acs.Processes(1, trial_timeout=8)
    begun = time.monotonic()
    outcomes = _outcomes(executor, objective)
    executor.close()
    assert time.monotonic() - begun < 50
    assert re.search(reason, outcomes["sin"].reason)
    assert [outcome.value for outcome in outcomes.values()].count(1.0) == 3
    assert _marked(tmp_path) == []


def _marked(value: Path) -> list[list[str]]:
    """Command lines of living processes with this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LEFT_BY_TRIALS") == str(value):
                found.append(process.cmdline())
    return found


STUCK = """
import re, subprocess, sys
import actsearch as acs


def objective(candidate, run):
    subprocess.Popen(["sleep", "60"])
    print("STUCK", file=sys.stderr, flush=True)
    re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter for years
    return 1.0


study = acs.create_study(study_name="s", strategy="random", direction="maximize")
study.optimize(objective, n_trials=1, executor=acs.Processes(1), show_progress_bar=False)
"""


@pytest.mark.slow
def test_a_child_that_holds_its_interpreter_ends_with_who_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEFT_BY_TRIALS", str(tmp_path))
    script = tmp_path / "script.py"
    script.write_text(STUCK)
    with subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stderr is not None
        next(line for line in driver.stderr if line.startswith("STUCK"))
        driver.kill()
    until = time.monotonic() + 10
    while _marked(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert _marked(tmp_path) == []


@pytest.mark.slow
def test_a_start_beyond_the_memory_limit_is_said_and_no_trial_blamed() -> None:
    executor = acs.Processes(1, memory_limit="120MB")
    with pytest.raises(acs.StudyError, match="did not start: .*raise memory_limit"):
        _outcomes(executor, lambda candidate, run: 1.0)


@pytest.mark.slow
def test_memory_is_watched_while_a_call_holds_the_interpreter() -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        return float(len([0] * 400_000_000)) if candidate.formula.startswith("sin") else 1.0

    executor = acs.Processes(1, memory_limit="900MB")
    outcomes = _outcomes(executor, objective)
    executor.close()
    assert "memory_limit" in outcomes["sin"].reason


def test_a_loader_with_persistent_workers_travels() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    loader = DataLoader(data, batch_size=16, num_workers=1, persistent_workers=True)
    next(iter(loader))
    with tempfile.TemporaryFile() as stream:
        write_message(stream, loader)
        stream.seek(0)
        assert len(read_message(stream)) == 4


@pytest.mark.slow
def test_what_is_logged_in_children_is_as_much_as_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        logging.getLogger("actsearch").debug("in detail")
        return 1.0

    with caplog.at_level(logging.DEBUG, logger="actsearch"):
        fresh = acs.Processes(1)
        _outcomes(fresh, objective)
        fresh.close()
    assert "in detail" in caplog.text
