"""What acs.Slurm cannot do is said in a sentence."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_jobs import outcomes_of

import actsearch as acs
from actsearch.execution.versions import describe, describe_difference


def _one(candidate: acs.Candidate, run: acs.Run) -> float:
    return 1.0


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"workers": 0}, "workers"),
            ({"workers": None}, "workers"),
            ({"folder": ""}, "folder"),
            ({"folder": 7}, "folder"),
            ({"timeout_min": 0}, "timeout_min"),
            ({"timeout_min": 1.5}, "timeout_min"),
            ({"partition": ""}, "partition"),
            ({"cpus_per_task": 0}, "cpus_per_task"),
            ({"gpus_per_node": -1}, "gpus_per_node"),
            ({"mem_gb": 0}, "mem_gb"),
            ({"mem_gb": "4GB"}, "mem_gb"),
            ({"cluster": "debug"}, "cluster must be one of slurm, local"),
            ({"batch": 0}, "batch"),
            ({"trial_timeout": 0}, "trial_timeout"),
            ({"retries": -1}, "retries"),
            ({"nodes": 2}, "nodes=2: a worker is one task on one node"),
            ({"slurm_ntasks_per_node": 4}, "a worker is one task"),
        ],
    )
    def test_settings_without_a_meaning_are_refused(
        self, tmp_path: Path, settings: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(acs.StudyError, match=named):
            acs.Slurm(**{"workers": 1, "folder": tmp_path, **settings})

    def test_without_submitit_it_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "submitit", None)
        with pytest.raises(acs.StudyError, match=r"pip install 'actsearch\[slurm\]'"):
            outcomes_of(acs.Slurm(1, folder=tmp_path), _one)
        assert list(tmp_path.iterdir()) == []

    def test_without_slurm_it_says_where_to_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_slurm: Callable[..., Any]
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(acs.StudyError, match="sbatch is not found.*login node.*'local'"):
            outcomes_of(local_slurm(1, cluster="slurm"), _one)
        assert list((tmp_path / "jobs").iterdir()) == []

    def test_a_folder_that_everybody_can_change_is_refused(
        self, tmp_path: Path, local_slurm: Callable[..., Any]
    ) -> None:
        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs").chmod(0o777)
        with pytest.raises(acs.StudyError, match="every user can change"):
            outcomes_of(local_slurm(1), _one)
        assert list((tmp_path / "jobs").iterdir()) == []

    def test_a_folder_that_is_a_file_or_cannot_be_made_is_refused(
        self, tmp_path: Path, local_slurm: Callable[..., Any]
    ) -> None:
        (tmp_path / "file").touch()
        for place in ("file", "file/deeper"):
            with pytest.raises(acs.StudyError, match="acs.Slurm: folder="):
                outcomes_of(local_slurm(1, folder=tmp_path / place), _one)

    def test_a_parameter_that_submitit_does_not_know_is_said_with_those_it_knows(
        self, tmp_path: Path, local_slurm: Callable[..., Any]
    ) -> None:
        with pytest.raises(acs.StudyError, match="'parttion'.*Valid arguments:.*partition"):
            outcomes_of(local_slurm(1, parttion="gpu"), _one)
        assert list((tmp_path / "jobs").iterdir()) == []

    def test_a_pruner_on_a_function_is_refused(self, tmp_path: Path) -> None:
        study = acs.create_study(
            study_name="s", direction="minimize", strategy="random", pruner=acs.SuccessiveHalving()
        )
        with pytest.raises(acs.StudyError, match=r"use acs\.Local\(\) with it, or a Task"):
            study.optimize(
                _one, n_trials=2, executor=acs.Slurm(1, folder=tmp_path), show_progress_bar=False
            )

    def test_another_python_or_actsearch_on_a_worker_is_said(self) -> None:
        here = describe()
        assert describe_difference(here, "acs.Slurm") == ""
        for name, other, said in (
            ("Python", "3.9.1", "Python 3.9.1 runs on a worker of acs.Slurm"),
            ("actsearch", "0.0.1", "actsearch 0.0.1 is installed on a worker"),
            ("system", "Windows", "workers run on Linux"),
        ):
            assert said in describe_difference({**here, name: other}, "acs.Slurm")

    @pytest.mark.slow
    def test_an_objective_that_cannot_travel_or_be_built_there_is_said(
        self, slurm_workers: acs.Slurm
    ) -> None:
        lock = threading.Lock()

        def locked(candidate: acs.Candidate, run: acs.Run) -> float:
            with lock:
                return 1.0

        with pytest.raises(acs.StudyError, match=r"cannot be sent to another process: .*lock"):
            outcomes_of(slurm_workers, locked)
        with pytest.raises(acs.StudyError, match="cannot be built in another process: .*no such"):
            outcomes_of(slurm_workers, _OnlyHere())
        assert len(outcomes_of(slurm_workers, _one)) == 4


class TestWhatWasLeft:
    def test_of_a_driver_that_was_killed_is_removed_and_of_others_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_slurm: Callable[..., Any]
    ) -> None:
        jobs = tmp_path / "jobs"
        left = {
            "actsearch-dead": '{"host": "HERE", "pid": 4194304, "started": 1.0}',
            "actsearch-elsewhere": '{"host": "another", "pid": 4194304, "started": 1.0}',
            "actsearch-damaged": "{",
            "mine": '{"host": "HERE", "pid": 4194304, "started": 1.0}',
        }
        for name, text in left.items():
            (jobs / name / "data").mkdir(parents=True)
            (jobs / name / "driver.json").write_text(text.replace("HERE", os.uname().nodename))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(acs.StudyError, match="sbatch"):
            outcomes_of(local_slurm(1, cluster="slurm"), _one)
        assert {path.name for path in jobs.iterdir()} == left.keys() - {"actsearch-dead"}


class _OnlyHere:
    """Cannot be unpickled."""

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        return 1.0

    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise OSError("no such device")
