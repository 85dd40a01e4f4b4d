"""What travels between a driver and the workers of a Ray cluster, and what does not."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray_jobs import alike_task, outcomes_of, searched, small_task
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.execution.parcel import pack


class TestWhatTravels:
    @pytest.mark.slow
    def test_who_is_given_up_ends_while_it_trains(
        self, ray_workers: acs.Ray, tmp_path: Path
    ) -> None:
        log = tmp_path / "steps"

        class Slow(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                if torch.is_grad_enabled():
                    with log.open("a") as file:
                        file.write(".")
                    time.sleep(0.02)
                return x

        task = small_task(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), Slow(), nn.Linear(8, 2)), epochs=27
        )
        study = acs.create_study(
            study_name="s", strategy=acs.RandomSearch(parallel=4), seed=5, pruner=acs.SuccessiveHalving(1, 3)
        )  # fmt: skip
        study.optimize(task, n_trials=12, executor=ray_workers, show_progress_bar=False)
        states = [trial.state.name for trial in study.trials if trial.state.is_trained]
        assert states.count("PRUNED") >= 6
        whole = 27 * 2 * len(states)  # steps of all trials
        assert len(log.read_text()) < 0.75 * whole

    @pytest.mark.slow
    def test_the_path_of_the_driver_and_not_the_storage(
        self, ray_workers: acs.Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        self, ray_workers: acs.Ray, caplog: pytest.LogCaptureFixture, tmp_path: Path
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
            assert outcomes_of(ray_workers, objective)["sin"].value == 1.0

    @pytest.mark.slow
    def test_workers_stay_for_all_calls_of_a_with_block(
        self, ray_cluster: Any, tmp_path: Path
    ) -> None:
        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            (tmp_path / str(os.getpid())).touch()
            return float(run.number)

        with acs.Ray(1, num_cpus=0.5) as one:
            for _ in range(2):
                searched(objective, one, 2)
        (pid,) = (int(path.name) for path in tmp_path.iterdir())
        until = time.monotonic() + 10
        while psutil.pid_exists(pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not psutil.pid_exists(pid)

    @pytest.mark.slow
    def test_a_verdict_is_the_one_of_this_process(
        self, ray_workers: acs.Ray, tmp_path: Path
    ) -> None:
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
                    task, top_k=2, seeds=8, show_progress_bar=False, executor=ray_workers if name == "b" else None
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

        task = small_task(Writes, rows=2_000_000, epochs=1, batch_size=65_536)
        assert len(pack(None, make_subject(task)).parts) == 1  # nothing of it is in the message
        with acs.Ray(2, num_cpus=0.5, batch=1) as two:
            trials = searched(task, two, 6)
        assert trials == searched(task, acs.Local(batch=1), 6)
        sizes = [_shared(path.read_text()) for path in tmp_path.iterdir()]
        workers = [size for size in sizes if size["Size"]]
        assert len(workers) == 2
        for size in workers:
            assert size["Size"] > 20_000
            assert size["Private_Dirty"] < 100

    @pytest.mark.slow
    def test_data_of_equal_content_are_told_apart(self, ray_workers: acs.Ray) -> None:
        task = alike_task()
        assert searched(task, ray_workers, 2) == searched(task, acs.Local(batch=1), 2)

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
