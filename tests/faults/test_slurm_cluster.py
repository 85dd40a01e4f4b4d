"""``acs.Slurm`` on a real Slurm: jobs that wait, are preempted, cancelled, requeued, or not taken."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from ray_jobs import searched

import actsearch as acs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster, to which Slurm's commands in this process and those that it starts lead."""
    pytest.importorskip(
        "submitit", reason="submitit is not installed (pip install 'actsearch[slurm]')"
    )
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with (
        slurm_cluster.running_cluster(tmp_path_factory.mktemp("slurm")) as conf,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", str(conf))
        yield


def _jobs(*options: str) -> list[str]:
    """Jobs that wait or run."""
    command = ["squeue", "--noheader", "--format=%A", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _slow(candidate: acs.Candidate, run: acs.Run) -> float:
    time.sleep(0.3)
    return len(candidate.formula) + run.number / 100


def _after(count: int, happens: Callable[[], object]) -> Callable[[acs.Study, acs.Trial], None]:
    ended: list[int] = []

    def callback(study: acs.Study, trial: acs.Trial) -> None:
        ended.append(trial.number)
        if len(ended) == count:
            happens()

    return callback


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.usefixtures("slurm")
class TestARealSlurm:
    def test_trials_are_those_of_this_process_and_nothing_is_left(self, tmp_path: Path) -> None:
        with acs.Slurm(2, folder=tmp_path, partition="low", mem_gb=1, account="x") as two:
            trials = searched(_slow, two, 8)
            assert len(_jobs("--states=running")) == 2
        assert trials == searched(_slow, None, 8)
        assert _jobs() == []
        assert list(tmp_path.iterdir()) == []

    def test_a_job_that_is_preempted_comes_back(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A job of a higher partition takes the machine; the search waits, and goes on in the same job."""

        def preempt() -> None:
            wrap = "--wrap=sleep 8"
            _run("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", wrap)

        before: list[str] = []
        with (
            caplog.at_level(logging.WARNING, logger="actsearch"),
            acs.Slurm(1, folder=tmp_path, partition="low") as one,
        ):
            trials = searched(
                _slow, one, 12,
                callbacks=[_after(2, lambda: before.extend(_jobs())), _after(3, preempt)],
            )  # fmt: skip
            assert _jobs("--states=running") == before
        assert trials == searched(_slow, None, 12)
        assert re.search("preempted.*trained again", caplog.text), caplog.text

    @pytest.mark.parametrize("command", [("scontrol", "requeue"), ("scancel",)])
    def test_a_job_that_is_requeued_or_cancelled_costs_no_trial(
        self, tmp_path: Path, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            caplog.at_level(logging.WARNING, logger="actsearch"),
            acs.Slurm(2, folder=tmp_path) as two,
        ):
            trials = searched(
                _slow,
                two,
                16,
                callbacks=[_after(4, lambda: _run(*command, _jobs("--states=running")[0]))],
            )
        assert trials == searched(_slow, None, 16)
        assert "trained again" in caplog.text

    def test_a_job_at_its_time_limit_comes_back(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Submitit has Slurm warn it before: here 50 s before the minute is over."""

        def longer(candidate: acs.Candidate, run: acs.Run) -> float:
            time.sleep(2)
            return float(run.number)

        with (
            caplog.at_level(logging.WARNING, logger="actsearch"),
            acs.Slurm(1, folder=tmp_path, timeout_min=1, signal_delay_s=50) as one,
        ):
            trials = searched(longer, one, 12)
        assert [number for number, *_ in trials] == [value for *_, value in trials]
        assert re.search("reached its time limit, and waits again; trained again", caplog.text)

    def test_what_slurm_does_not_take_is_said(self, tmp_path: Path) -> None:
        for settings, said in (
            ({"partition": "none"}, "the job is not taken: .*partition"),
            ({"gpus_per_node": 2}, "the job is not taken: "),
            ({"parttion": "low"}, r"Unknown argument 'parttion'.*Valid arguments:.*partition"),
        ):
            with pytest.raises(acs.StudyError, match=said):
                searched(_slow, acs.Slurm(1, folder=tmp_path, **settings), 2)
            assert list(tmp_path.iterdir()) == []

    def test_a_job_that_cannot_start_is_said_with_what_it_printed(self, tmp_path: Path) -> None:
        lines = ["export PYTHONPATH=/nowhere", "export PYTHONHOME=/nowhere"]
        broken = acs.Slurm(1, folder=tmp_path, setup=lines)
        with pytest.raises(
            acs.StudyError, match=r"job \d+: its job failed, and said: .*no Python frame"
        ):
            searched(_slow, broken, 2)
        assert list(tmp_path.iterdir()) == []

    def test_a_driver_that_is_killed_leaves_no_job(self, tmp_path: Path) -> None:
        """Jobs that run end when they have heard nothing of it for a while; those that wait, when they start."""
        code = (
            "import time, actsearch as acs\n"
            "from actsearch.execution.on_slurm import slot\n"
            "slot.PATIENCE = 8.0\n"
            "study = acs.create_study(study_name='s', strategy='random', direction='minimize')\n"
            "def objective(c, r):\n    time.sleep(100 * bool(r.number))\n    return 1.0\n"
            f"study.optimize(objective, n_trials=4, executor=acs.Slurm({1 + (os.cpu_count() or 1)}, "
            f"folder={str(tmp_path)!r}), callbacks=[lambda s, t: print('DONE', flush=True)])\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as driver:
            assert driver.stdout is not None
            driver.stdout.readline()
            time.sleep(2)
            assert _jobs()
            driver.kill()
        until = time.monotonic() + 90
        while _jobs() and time.monotonic() < until:
            time.sleep(0.5)
        assert _jobs() == []
        with contextlib.closing(acs.Slurm(1, folder=tmp_path)) as after:
            searched(_slow, after, 2)
        assert list(tmp_path.iterdir()) == []
