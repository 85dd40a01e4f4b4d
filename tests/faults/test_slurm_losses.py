"""Jobs of ``acs.Slurm`` that are lost, and what travels to them: on this machine, by submitit's local executor."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray_jobs import alike_task, happening_on, outcomes_of, searched, small_task, values_of
from torch import nn

import actsearch as acs
from actsearch.records import TrialState

pytestmark = pytest.mark.slow


def _tried(path: Path) -> None:
    """Note that a trial was begun, and in which job."""
    with path.open("a") as file:
        print(os.getppid(), file=file)


class TestAWorkerThatIsLost:
    @pytest.mark.parametrize(
        ("happens", "said"),
        [
            pytest.param(lambda: os._exit(3), "exit code 3", id="os._exit"),
            pytest.param(lambda: ctypes.string_at(0), "SIGSEGV", id="a segmentation fault"),
        ],
    )
    def test_a_crash_is_tried_once_more_in_jobs_that_stay(
        self, slurm_workers: acs.Slurm, tmp_path: Path, happens: Callable[[], Any], said: str
    ) -> None:
        def crash() -> None:
            _tried(tmp_path / "tries")
            happens()

        outcomes = outcomes_of(slurm_workers, happening_on("sin", crash))
        failed = outcomes.pop("sin")
        assert failed.state is TrialState.FAILED
        assert re.search(said, failed.reason), failed.reason
        assert values_of(outcomes) == {"relu": 0.0, "tanh": 2.0, "elu": 3.0}
        jobs = (tmp_path / "tries").read_text().split()
        assert len(jobs) == 2
        assert all(psutil.pid_exists(int(pid)) for pid in jobs)

    def test_a_hang_is_killed_and_not_tried_again(
        self, slurm_workers: acs.Slurm, tmp_path: Path
    ) -> None:
        def hang() -> None:
            _tried(tmp_path / "tries")
            re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter for years

        outcomes = outcomes_of(slurm_workers, happening_on("sin", hang))
        assert outcomes["sin"].reason == "no result after 15 s (trial_timeout)"
        assert [outcome.value for outcome in outcomes.values()].count(None) == 1
        assert len((tmp_path / "tries").read_text().split()) == 1

    def test_a_job_that_is_killed_takes_the_trial_along_so_often_as_retries_say(
        self, tmp_path: Path, local_slurm: Callable[..., acs.Slurm]
    ) -> None:
        def kill_job() -> None:
            _tried(tmp_path / "tries")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)

        with local_slurm(1, retries=1) as one:
            outcomes = outcomes_of(one, happening_on("sin", kill_job))
        assert outcomes["sin"].state is TrialState.FAILED
        assert "its job is gone" in outcomes["sin"].reason
        assert len(set((tmp_path / "tries").read_text().split())) == 2
        assert outcomes["elu"].value == 3.0

    def test_a_job_that_is_preempted_costs_no_trial(
        self,
        tmp_path: Path,
        local_slurm: Callable[..., acs.Slurm],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """By the signal on which submitit has a job queued again."""

        def preempt_once() -> None:
            if not (tmp_path / "preempted").exists():
                (tmp_path / "preempted").touch()
                os.kill(os.getppid(), signal.SIGUSR2)
                time.sleep(60)

        with caplog.at_level(logging.WARNING, logger="actsearch"), local_slurm(1) as one:
            outcomes = outcomes_of(one, happening_on("sin", preempt_once))
        assert values_of(outcomes) == {"relu": 0.0, "sin": 1.0, "tanh": 2.0, "elu": 3.0}
        assert "and waits again; trained again" in caplog.text


class TestWhatTravels:
    def test_code_of_the_driver_and_what_trials_print(
        self,
        tmp_path: Path,
        local_slurm: Callable[..., acs.Slurm],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "only_here.py").write_text("VALUE = 7.0\n")
        monkeypatch.syspath_prepend(tmp_path)

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            import only_here  # type: ignore[import-not-found]

            print("TRIAL", run.number, flush=True)
            return float(only_here.VALUE)

        with local_slurm(1) as one:
            assert set(values_of(outcomes_of(one, objective)).values()) == {7.0}
        assert capfd.readouterr().err.count("TRIAL") == 4
        assert list((tmp_path / "jobs").iterdir()) == []

    def test_data_are_once_on_a_machine_and_what_a_trial_writes_is_its_own(
        self, tmp_path: Path, local_slurm: Callable[..., acs.Slurm]
    ) -> None:
        """40 MB of data, two workers; a model that writes on its input changes nobody else's."""

        class Writes(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                (tmp_path / f"smaps-{os.getpid()}").write_text(
                    Path("/proc/self/smaps").read_text()
                )
                out: torch.Tensor = self.layers(x * 1.0)
                return out

        task = small_task(Writes, rows=2_000_000, epochs=1, batch_size=65_536)
        with local_slurm(2, batch=1) as two:
            trials = searched(task, two, 6)
        found = [_mapped(path.read_text()) for path in tmp_path.glob("smaps-*")]
        maps = [sizes for sizes in found if sizes["Size"]]  # not this process's
        assert trials == searched(task, acs.Local(batch=1), 6)
        assert len(maps) == 2
        for size in maps:
            assert size["Size"] > 20_000
            assert size["Private_Dirty"] < 100

    def test_data_of_equal_content_are_told_apart(self, slurm_workers: acs.Slurm) -> None:
        task = alike_task()
        assert searched(task, slurm_workers, 2) == searched(task, acs.Local(batch=1), 2)


def _mapped(smaps: str) -> dict[str, int]:
    """Kilobytes of data files in the memory of a process."""
    sums = {"Size": 0, "Private_Dirty": 0}
    counts = False
    for line in smaps.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            counts = "/data/" in line and "/actsearch-" in line
        elif counts and line.split(":")[0] in sums:
            sums[line.split(":")[0]] += int(line.split()[1])
    return sums
