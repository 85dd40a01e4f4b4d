"""A Ray cluster: what happens to its workers and nodes costs no trial, and what it lacks is said in a sentence."""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray_clusters import add_node
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import actsearch as acs
from actsearch.activations import describe
from actsearch.evaluation import make_subject
from actsearch.execution import Job, Work
from actsearch.execution.on_ray.parcel import pack
from actsearch.execution.on_ray.worker import describe_difference
from actsearch.records import CandidateRecord, Outcome, TrialState

NAMES = ("relu", "sin", "tanh", "elu")
Objective = Callable[[acs.Candidate, acs.Run], float]


def _jobs() -> list[Job]:
    return [
        Job(number, CandidateRecord.shared(describe(name))) for number, name in enumerate(NAMES)
    ]


def _outcomes(executor: acs.Ray, objective: Any) -> dict[str, Outcome]:
    parts = executor.run(_jobs(), Work(make_subject(objective), (1,)))
    return {NAMES[job.number]: outcome for part in parts for job, outcome in part.outcomes}


def _values(outcomes: dict[str, Outcome]) -> dict[str, float | None]:
    return {name: outcome.value for name, outcome in outcomes.items()}


def _on(name: str, happens: Callable[[], Any]) -> Objective:
    """An objective to which something happens on one activation."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        if candidate.formula.startswith(name):
            happens()
        return float(run.number)

    return objective


def _task(
    model: Callable[[], nn.Module] | None = None, rows: int = 128, epochs: int = 2
) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    half = rows // 2

    def plain() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    return acs.Task(
        model=model or plain, train=(x[:64], y[:64]), valid=(x[half:], y[half:]), loss=F.cross_entropy,
        metric="loss", epochs=epochs, batch_size=32, lr=0.01, tune_lr=False, device="cpu",
    )  # fmt: skip


def _searched(
    objective: Any, executor: Any, trials: int = 8, **more: Any
) -> list[tuple[Any, ...]]:
    study = acs.create_study(study_name="s", strategy="random", seed=5, direction="minimize")
    study.optimize(objective, n_trials=trials, executor=executor, show_progress_bar=False, **more)
    trained = [trial for trial in study.trials if trial.state.is_trained]
    return [(t.number, t.state.name, t.candidate.formula, t.value) for t in trained]


@pytest.fixture(scope="module")
def executor(ray_cluster: Any) -> Iterator[acs.Ray]:
    """Two workers of the head that stay for all tests."""
    with acs.Ray(2, num_cpus=0.5, trial_timeout=8) as made:
        _outcomes(made, lambda candidate, run: 1.0)  # both are there
        yield made


class TestAWorkerThatIsLost:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("happens", "said"),
        [
            pytest.param(lambda: os._exit(3), "exit code 3", id="os._exit"),
            pytest.param(lambda: ctypes.string_at(0), "SIGSEGV", id="a segmentation fault"),
            pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL", id="killed"),
        ],
    )
    def test_a_crash_is_tried_once_more_and_then_that_trial_alone_fails(
        self, executor: acs.Ray, tmp_path: Path, happens: Callable[[], Any], said: str
    ) -> None:
        def crash() -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            happens()

        outcomes = _outcomes(executor, _on("sin", crash))
        failed = outcomes.pop("sin")
        assert failed.state is TrialState.FAILED
        assert re.search(said, failed.reason), failed.reason
        assert _values(outcomes) == {"relu": 0.0, "tanh": 2.0, "elu": 3.0}
        assert (tmp_path / "tries").read_text() == "xx"

    @pytest.mark.slow
    def test_a_crash_that_does_not_come_again_costs_nothing(
        self, executor: acs.Ray, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def crash_once() -> None:
            if not (tmp_path / "crashed").exists():
                (tmp_path / "crashed").touch()
                os._exit(3)

        with caplog.at_level(logging.WARNING, logger="actsearch"):
            outcomes = _outcomes(executor, _on("sin", crash_once))
        assert _values(outcomes) == {"relu": 0.0, "sin": 1.0, "tanh": 2.0, "elu": 3.0}
        assert (
            "trial 1: its process ended by itself with exit code 3; trained once more"
            in caplog.text
        )

    @pytest.mark.slow
    def test_a_hang_is_killed_and_not_tried_again(self, executor: acs.Ray, tmp_path: Path) -> None:
        def hang() -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter for years

        outcomes = _outcomes(executor, _on("sin", hang))
        assert outcomes["sin"].reason == "no result after 8 s (trial_timeout)"
        assert [outcome.value for outcome in outcomes.values()].count(None) == 1
        assert (tmp_path / "tries").read_text() == "x"

    @pytest.mark.slow
    def test_its_actor_takes_the_trial_along_so_often_as_retries_say(
        self, ray_cluster: Any, tmp_path: Path
    ) -> None:
        def kill_actor() -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)

        with acs.Ray(1, num_cpus=0.5, retries=1) as one:
            outcomes = _outcomes(one, _on("sin", kill_actor))
        assert outcomes["sin"].state is TrialState.FAILED
        assert "lost, with its node or ended from outside" in outcomes["sin"].reason
        assert (tmp_path / "tries").read_text() == "xx"
        assert outcomes["elu"].value == 3.0


def _slow(candidate: acs.Candidate, run: acs.Run) -> float:
    time.sleep(0.5)
    return float(run.number)


def _count(study: acs.Study) -> int:
    return sum(trial.state is TrialState.COMPLETE for trial in study.trials)


class TestANodeThatIsLost:
    @pytest.mark.slow
    def test_a_search_goes_on_and_is_the_same(
        self, ray_cluster: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One of two nodes is killed while both train."""

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            time.sleep(0.5)
            return len(candidate.formula) + run.number / 100

        unbroken = _searched(objective, None, 16)
        node = add_node(ray_cluster, num_cpus=2, resources={"second": 2})
        ended: list[int] = []

        def kill_node(study: acs.Study, trial: acs.Trial) -> None:
            ended.append(trial.number)
            if len(ended) == 5:
                ray_cluster.remove_node(node, allow_graceful=False)

        with caplog.at_level(logging.WARNING, logger="actsearch"), acs.Ray(4, num_cpus=1) as four:
            trials = _searched(objective, four, 16, callbacks=[kill_node])
        assert trials == unbroken
        assert {state for _, state, *_ in trials} == {"COMPLETE"}
        assert "was lost, with its node or ended from outside; trained again" in caplog.text

    @pytest.mark.slow
    def test_a_search_without_any_node_says_so_and_goes_on_when_one_is_back(
        self, ray_cluster: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("actsearch.execution.pool._SAY_SECONDS", 2.0)
        node = add_node(ray_cluster, num_cpus=1, resources={"only": 1})
        back: list[Any] = []

        def add_later() -> None:
            while "no worker has been there" not in caplog.text:
                time.sleep(0.1)
            back.append(add_node(ray_cluster, num_cpus=1, resources={"only": 1}))

        def kill_node(study: acs.Study, trial: acs.Trial) -> None:
            if _count(study) == 2:
                ray_cluster.remove_node(node, allow_graceful=False)
                threading.Thread(target=add_later).start()

        with (
            caplog.at_level(logging.WARNING, logger="actsearch"),
            acs.Ray(1, num_cpus=0.5, resources={"only": 1}) as one,
        ):
            trials = _searched(_slow, one, 6, callbacks=[kill_node])
        assert [number for number, *_ in trials] == [value for *_, value in trials]
        assert len(trials) == 6
        assert "Ctrl-C ends the call; what has ended is stored" in caplog.text
        assert "a worker is there: trials go on" in caplog.text
        ray_cluster.remove_node(back[0])

    @pytest.mark.slow
    def test_a_search_without_any_node_ends_at_its_timeout_and_is_resumed(
        self, ray_cluster: Any, sqlite_url: str
    ) -> None:
        node = add_node(ray_cluster, num_cpus=1, resources={"only": 1})
        study = acs.create_study(
            study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
        )

        def kill_node(study: acs.Study, trial: acs.Trial) -> None:
            if _count(study) == 2:
                ray_cluster.remove_node(node, allow_graceful=False)

        one = acs.Ray(1, num_cpus=0.5, resources={"only": 1})
        begun = time.monotonic()
        study.optimize(
            _slow, n_trials=6, timeout=30, executor=one, callbacks=[kill_node], show_progress_bar=False
        )  # fmt: skip
        assert time.monotonic() - begun < 60
        assert 2 <= _count(study) < 6
        assert not any(t.state is TrialState.RUNNING for t in study.trials)
        study.optimize(_slow, total_trials=6, show_progress_bar=False)
        assert _count(study) == 6


class TestWhatTravels:
    @pytest.mark.slow
    def test_the_path_of_the_driver_and_not_the_storage(
        self, executor: acs.Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "only_here.py").write_text("VALUE = 7.0\n")
        monkeypatch.syspath_prepend(tmp_path)
        url = f"sqlite:///{tmp_path}/a.db"

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            import only_here  # type: ignore[import-not-found]

            files = [file.path for file in psutil.Process().open_files()]
            assert not any(file.startswith(str(tmp_path / "a.db")) for file in files)
            return float(only_here.VALUE)

        study = acs.create_study(
            study_name="s", storage=url, strategy="random", direction="minimize"
        )
        study.optimize(
            objective, n_trials=3, executor=acs.Ray(1, num_cpus=0.5), show_progress_bar=False
        )
        assert [t.value for t in study.trials if t.state.is_trained] == [7.0] * 3

    @pytest.mark.slow
    def test_prints_and_logs_arrive_while_a_trial_trains(
        self, executor: acs.Ray, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        go_on = tmp_path / "go on"

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            if candidate.formula.startswith("sin"):
                logging.getLogger("actsearch").warning("in the middle")
                while not go_on.exists():
                    time.sleep(0.05)
            return 1.0

        def wait_for_log() -> None:
            while "in the middle" not in caplog.text:
                time.sleep(0.05)
            go_on.touch()

        with caplog.at_level(logging.WARNING, logger="actsearch"):
            threading.Thread(target=wait_for_log, daemon=True).start()
            assert _outcomes(executor, objective)["sin"].value == 1.0

    @pytest.mark.slow
    def test_workers_stay_for_all_calls_of_a_with_block(
        self, ray_cluster: Any, tmp_path: Path
    ) -> None:
        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            (tmp_path / str(os.getpid())).touch()
            return float(run.number)

        with acs.Ray(1, num_cpus=0.5) as one:
            for _ in range(2):
                _searched(objective, one, 2)
        (pid,) = (int(path.name) for path in tmp_path.iterdir())
        until = time.monotonic() + 10
        while psutil.pid_exists(pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not psutil.pid_exists(pid)

    @pytest.mark.slow
    def test_a_verdict_is_the_one_of_this_process(self, executor: acs.Ray, tmp_path: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(200, 4, generator=generator)
        y = torch.sin(2 * x[:, :1]) + x[:, 1:2]
        task = acs.Task(
            model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
            train=(x[:60], y[:60]), valid=(x[60:100], y[60:100]), test=(x[100:], y[100:]), loss=F.mse_loss,
            metric="mse", epochs=2, batch_size=20, lr=1e-2, tune_lr=False, device="cpu",
        )  # fmt: skip
        verdicts = []
        for name in "ab":
            study = acs.create_study(
                study_name="s", storage=f"sqlite:///{tmp_path}/{name}.db", strategy="random"
            )
            study.optimize(task, n_trials=4, show_progress_bar=False)
            verdicts.append(
                study.confirm(
                    task, top_k=2, seeds=8, show_progress_bar=False, executor=executor if name == "b" else None
                )
            )  # fmt: skip
        assert str(verdicts[0]) == str(verdicts[1])
        assert verdicts[0].trainings == verdicts[1].trainings

    @pytest.mark.slow
    def test_data_are_once_on_a_node_and_what_a_trial_writes_is_its_own(
        self, ray_cluster: Any, tmp_path: Path
    ) -> None:
        """40 MB of data, two workers; a model that writes on its input changes nobody else's."""

        class Writes(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                (tmp_path / str(os.getpid())).write_text(Path("/proc/self/smaps").read_text())
                out: torch.Tensor = self.layers(x * 1.0)
                return out

        task = _task(Writes, rows=2_000_000, epochs=1)
        assert len(pack(None, make_subject(task)).parts) == 1  # nothing of it is in the message
        with acs.Ray(2, num_cpus=0.5, batch=1) as two:
            trials = _searched(task, two, 6)
        assert trials == _searched(task, acs.Local(batch=1), 6)
        sizes = [_shared(path.read_text()) for path in tmp_path.iterdir()]
        workers = [size for size in sizes if size["Size"]]
        assert len(workers) == 2
        for size in workers:
            assert size["Size"] > 20_000
            assert size["Private_Dirty"] < 100

    def test_only_large_data_of_a_task_are_taken_apart(self) -> None:
        large, small = torch.zeros(40_000), torch.zeros(100)
        table = torch.zeros(40_000)  # of the model: who trains may write on it
        data = TensorDataset(large.reshape(-1, 4), torch.zeros(10_000, dtype=torch.int64))
        task = acs.Task(
            model=lambda: nn.Linear(4, 2 + len(table) * 0), train=data, valid=(small.reshape(-1, 4), small[:25].long()),
            loss=F.cross_entropy, metric="loss", epochs=1,
        )  # fmt: skip
        parcel = pack(task, make_subject(task))
        assert [part.nbytes for part in parcel.parts[1:]] == [160_000, 80_000]
        assert 160_000 < parcel.parts[0].nbytes < 200_000  # the table


def _shared(smaps: str) -> dict[str, int]:
    """Kilobytes of shared data in the memory of a process."""
    sums = {"Size": 0, "Private_Dirty": 0}
    counts = False
    for line in smaps.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = "memfd:acs-" in line
        elif counts and line.split(":")[0] in sums:
            sums[line.split(":")[0]] += int(line.split()[1])
    return sums


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


def _left(mark: Path, seconds: float = 20) -> list[list[str]]:
    """Command lines of living processes with this mark in their environment, when it has had time to end."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LEFT_BY_TRIALS") == str(mark):
                    found.append(process.cmdline())
            except psutil.Error:
                continue
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def _states(tmp_path: Path) -> list[str]:
    study = acs.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/a.db")
    return [trial.state.name for trial in study.trials]


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
        assert _left(tmp_path) == []

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
            if number == signal.SIGINT:  # as a terminal does
                os.killpg(driver.pid, number)
            else:
                driver.send_signal(number)
            _, errors = driver.communicate(timeout=100)
        assert "ends when the running trials are stored" in errors
        assert driver.returncode != 0
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
        assert _left(tmp_path) == []
        states = _states(tmp_path)
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
        assert _left(tmp_path) == []
        assert _states(tmp_path).count("COMPLETE") == 1

    @pytest.mark.slow
    def test_killed_it_leaves_no_process_and_goes_on_where_it_was(
        self, script: Callable[[float], subprocess.Popen[str]], tmp_path: Path
    ) -> None:
        with script(100) as driver:
            assert driver.stdout is not None
            next(line for line in driver.stdout if line.startswith("DONE"))
            driver.kill()
        assert _left(tmp_path, 40) == []
        assert _states(tmp_path).count("COMPLETE") == 1
        with script(0) as driver:
            output, errors = driver.communicate(timeout=200)
        assert driver.returncode == 0, errors
        assert output.count("DONE") == 3
        assert _states(tmp_path).count("COMPLETE") == 4


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"workers": 0}, "workers"),
            ({"workers": 1.5}, "workers"),
            ({"num_cpus": -1}, "num_cpus"),
            ({"num_gpus": "1"}, "num_gpus"),
            ({"resources": ["a"]}, "resources"),
            ({"resources": {"a": "b"}}, "resources"),
            ({"memory": "much"}, "memory"),
            ({"batch": 0}, "batch"),
            ({"trial_timeout": 0}, "trial_timeout"),
            ({"retries": -1}, "retries"),
            ({"runtime_env": "pip"}, "runtime_env"),
            ({"address": ""}, "address"),
        ],
    )
    def test_settings_without_a_meaning_are_refused(
        self, settings: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(acs.StudyError, match=named):
            acs.Ray(**settings)

    def test_without_ray_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(acs.StudyError, match=r"pip install 'actsearch\[ray\]'"):
            _outcomes(acs.Ray(1), lambda candidate, run: 1.0)

    @pytest.mark.parametrize("executor_of_pruning", [acs.Ray])
    def test_a_pruner_on_a_function_is_refused(self, executor_of_pruning: Any) -> None:
        study = acs.create_study(
            study_name="s", direction="minimize", strategy="random", pruner=acs.SuccessiveHalving()
        )
        with pytest.raises(acs.StudyError, match=r"use acs\.Local\(\) with it, or a Task"):
            study.optimize(
                lambda candidate, run: 1.0, n_trials=2, executor=executor_of_pruning(1),
                show_progress_bar=False,
            )  # fmt: skip

    @pytest.mark.slow
    def test_what_a_cluster_lacks_is_said(self, ray_cluster: Any) -> None:
        for settings, said in (
            (
                {"num_gpus": 2},
                r"no node of the cluster has 1 CPU and 2 GPU for a worker; they have 2 CPU",
            ),
            ({"num_cpus": 64}, "no node of the cluster has 64 CPU"),
            ({"resources": {"tpu": 1}}, "1 tpu"),
            ({"address": "127.0.0.1:1"}, "connected to the cluster at .* already"),
            ({"address": "ray://127.0.0.1:1"}, "Ray Client cannot drive a study"),
        ):
            with pytest.raises(acs.StudyError, match=said):
                _outcomes(acs.Ray(1, **settings), lambda candidate, run: 1.0)  # type: ignore[arg-type]

    @pytest.mark.slow
    def test_fewer_places_than_workers_are_said_and_used(
        self, ray_cluster: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="actsearch"), acs.Ray(3, num_cpus=1) as many:
            assert len(_outcomes(many, lambda candidate, run: 1.0)) == 4
        assert "the cluster has room for 2 of 3 workers with 1 CPU each" in caplog.text

    @pytest.mark.slow
    def test_an_objective_that_cannot_travel_is_said(self, executor: acs.Ray) -> None:
        lock = threading.Lock()

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            with lock:
                return 1.0

        with pytest.raises(acs.StudyError, match=r"cannot be sent to another process: .*lock"):
            _outcomes(executor, objective)

    @pytest.mark.slow
    def test_an_objective_that_cannot_be_built_there_is_said(self, executor: acs.Ray) -> None:
        with pytest.raises(acs.StudyError, match="cannot be built in another process: .*no such"):
            _outcomes(executor, _OnlyHere())

    @pytest.mark.slow
    def test_another_actsearch_on_a_worker_is_said(self, ray_cluster: Any, tmp_path: Path) -> None:
        (tmp_path / "actsearch").mkdir()
        (tmp_path / "actsearch" / "__init__.py").write_text('__version__ = "0.0.1"\n')
        old = {"env_vars": {"PYTHONPATH": str(tmp_path)}}
        with pytest.raises(acs.StudyError, match=r"actsearch 0\.0\.1 is installed on a worker"):
            _outcomes(acs.Ray(1, num_cpus=0.5, runtime_env=old), lambda candidate, run: 1.0)

    def test_another_python_on_a_worker_is_said(self) -> None:
        here = {
            "Python": ".".join(map(str, sys.version_info[:3])), "system": "Linux", "node": "n",
            "actsearch": acs.__version__, "cloudpickle": "3", "psutil": "7",
        }  # fmt: skip
        assert describe_difference(here) == ""
        assert "Python 3.9.1 runs on a worker" in describe_difference(here | {"Python": "3.9.1"})
        assert "is not installed on a worker" in describe_difference(here | {"actsearch": ""})
        assert "workers run on Linux" in describe_difference(here | {"system": "Windows"})

    @pytest.mark.slow
    def test_no_cluster_at_an_address_is_said_at_once(self, tmp_path: Path) -> None:
        pytest.importorskip("ray", reason="ray is not installed (pip install 'actsearch[ray]')")
        for address in ("127.0.0.1:1", "no.such.host.invalid:6379", "auto"):
            code = (
                "import actsearch as acs\n"
                "study = acs.create_study(study_name='s', strategy='random', direction='minimize')\n"
                f"study.optimize(lambda c, r: 1.0, n_trials=2, executor=acs.Ray(1, address={address!r}))\n"
            )
            begun = time.monotonic()
            env = {**os.environ, "RAY_ADDRESS": "", "RAY_TMPDIR": str(tmp_path)}
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, env=env
            )
            assert re.search("no Ray cluster answers there .*ray start --head", done.stderr), (
                done.stderr
            )
            assert "During handling" not in done.stderr
            assert time.monotonic() - begun < 60


class _OnlyHere:
    """Cannot be unpickled."""

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        return 1.0

    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise OSError("no such device")
