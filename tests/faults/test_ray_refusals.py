"""What acs.Ray cannot do is said in a sentence."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray_jobs import outcomes_of

import actsearch as acs
from actsearch.execution.on_ray.worker import describe_difference


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
            outcomes_of(acs.Ray(1), lambda candidate, run: 1.0)

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
                r"no node of the cluster has 1 CPU, 2 GPU for a worker; they have 2 CPU",
            ),
            ({"num_cpus": 64}, "no node of the cluster has 64 CPU"),
            ({"resources": {"tpu": 1}}, "1 tpu"),
            ({"address": "127.0.0.1:1"}, "connected to the cluster at .* already"),
            ({"address": "ray://127.0.0.1:1"}, "Ray Client cannot drive a study"),
        ):
            with pytest.raises(acs.StudyError, match=said):
                outcomes_of(acs.Ray(1, **settings), lambda candidate, run: 1.0)

    @pytest.mark.slow
    def test_fewer_places_than_workers_are_said_and_used(
        self, ray_cluster: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="actsearch"), acs.Ray(3, num_cpus=1) as many:
            assert len(outcomes_of(many, lambda candidate, run: 1.0)) == 4
        assert "the cluster has room for 2 of 3 workers with 1 CPU each" in caplog.text

    @pytest.mark.slow
    def test_an_objective_that_cannot_travel_is_said(self, ray_workers: acs.Ray) -> None:
        lock = threading.Lock()

        def objective(candidate: acs.Candidate, run: acs.Run) -> float:
            with lock:
                return 1.0

        with pytest.raises(acs.StudyError, match=r"cannot be sent to another process: .*lock"):
            outcomes_of(ray_workers, objective)

    @pytest.mark.slow
    def test_an_objective_that_cannot_be_built_there_is_said(self, ray_workers: acs.Ray) -> None:
        with pytest.raises(acs.StudyError, match="cannot be built in another process: .*no such"):
            outcomes_of(ray_workers, _OnlyHere())

    @pytest.mark.slow
    def test_another_actsearch_on_a_worker_is_said(self, ray_cluster: Any, tmp_path: Path) -> None:
        (tmp_path / "actsearch").mkdir()
        (tmp_path / "actsearch" / "__init__.py").write_text('__version__ = "0.0.1"\n')
        old = {"env_vars": {"PYTHONPATH": str(tmp_path)}}
        with pytest.raises(acs.StudyError, match=r"actsearch 0\.0\.1 is installed on a worker"):
            outcomes_of(acs.Ray(1, num_cpus=0.5, runtime_env=old), lambda candidate, run: 1.0)

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
        addresses = ["127.0.0.1:1", "no.such.host.invalid:6379"]
        if not any(process.name() == "gcs_server" for process in psutil.process_iter()):
            addresses.append("auto")  # which finds the cluster of other tests that run meanwhile
        for address in addresses:
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
            assert time.monotonic() - begun < 60


class _OnlyHere:
    """Cannot be unpickled."""

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        return 1.0

    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise OSError("no such device")
