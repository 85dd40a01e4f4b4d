"""A Ray cluster that loses workers and nodes: no trial is lost with them, and none blamed that is not at fault."""

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

import pytest
from ray_clusters import added_node, kill_node
from ray_jobs import happening_on, outcomes_of, searched, values_of

import actsearch as acs
from actsearch.records import TrialState


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
        self, ray_workers: acs.Ray, tmp_path: Path, happens: Callable[[], Any], said: str
    ) -> None:
        def crash() -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            happens()

        outcomes = outcomes_of(ray_workers, happening_on("sin", crash))
        failed = outcomes.pop("sin")
        assert failed.state is TrialState.FAILED
        assert re.search(said, failed.reason), failed.reason
        assert values_of(outcomes) == {"relu": 0.0, "tanh": 2.0, "elu": 3.0}
        assert (tmp_path / "tries").read_text() == "xx"

    @pytest.mark.slow
    def test_a_crash_that_does_not_come_again_costs_nothing(
        self, ray_workers: acs.Ray, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def crash_once() -> None:
            if not (tmp_path / "crashed").exists():
                (tmp_path / "crashed").touch()
                os._exit(3)

        with caplog.at_level(logging.WARNING, logger="actsearch"):
            outcomes = outcomes_of(ray_workers, happening_on("sin", crash_once))
        assert values_of(outcomes) == {"relu": 0.0, "sin": 1.0, "tanh": 2.0, "elu": 3.0}
        assert (
            "trial 1: its process ended by itself with exit code 3; trained once more"
            in caplog.text
        )

    @pytest.mark.slow
    def test_a_hang_is_killed_and_not_tried_again(
        self, ray_workers: acs.Ray, tmp_path: Path
    ) -> None:
        def hang() -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter for years

        outcomes = outcomes_of(ray_workers, happening_on("sin", hang))
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
            outcomes = outcomes_of(one, happening_on("sin", kill_actor))
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

        unbroken = searched(objective, None, 16)
        node = added_node(ray_cluster, num_cpus=2, resources={"second": 2})
        ended: list[int] = []

        def lose_node(study: acs.Study, trial: acs.Trial) -> None:
            ended.append(trial.number)
            if len(ended) == 5:
                kill_node(node)

        with caplog.at_level(logging.WARNING, logger="actsearch"), acs.Ray(4, num_cpus=1) as four:
            trials = searched(objective, four, 16, callbacks=[lose_node])
        assert trials == unbroken
        assert {state for _, state, *_ in trials} == {"COMPLETE"}
        assert "was lost, with its node or ended from outside; trained again" in caplog.text

    @pytest.mark.slow
    def test_a_search_without_any_node_says_so_and_goes_on_when_one_is_back(
        self, ray_cluster: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("actsearch.execution.seats.SAY_SECONDS", 2.0)
        node = added_node(ray_cluster, num_cpus=1, resources={"only": 1})
        back: list[Any] = []

        class AddNode(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "no worker has been there" in record.getMessage():
                    back.append(added_node(ray_cluster, num_cpus=1, resources={"only": 1}))

        handler = AddNode()
        logging.getLogger("actsearch").addHandler(handler)

        def lose_node(study: acs.Study, trial: acs.Trial) -> None:
            if _count(study) == 2:
                kill_node(node)

        with (
            caplog.at_level(logging.WARNING, logger="actsearch"),
            acs.Ray(1, num_cpus=0.5, resources={"only": 1}) as one,
        ):
            trials = searched(_slow, one, 6, callbacks=[lose_node])
        logging.getLogger("actsearch").removeHandler(handler)
        assert [number for number, *_ in trials] == [value for *_, value in trials]
        assert len(trials) == 6
        assert "Ctrl-C ends the call; what has ended is stored" in caplog.text
        assert "a worker is there: trials go on" in caplog.text
        for node in back:  # said twice, there are two
            kill_node(node)

    @pytest.mark.slow
    def test_a_search_without_any_node_ends_at_its_timeout_and_is_resumed(
        self, ray_cluster: Any, sqlite_url: str
    ) -> None:
        node = added_node(ray_cluster, num_cpus=1, resources={"only": 1})
        study = acs.create_study(
            study_name="s", storage=sqlite_url, strategy="random", direction="minimize"
        )

        def lose_node(study: acs.Study, trial: acs.Trial) -> None:
            if _count(study) == 2:
                kill_node(node)

        one = acs.Ray(1, num_cpus=0.5, resources={"only": 1})
        begun = time.monotonic()
        study.optimize(
            _slow, n_trials=6, timeout=30, executor=one, callbacks=[lose_node], show_progress_bar=False
        )  # fmt: skip
        assert time.monotonic() - begun < 60
        assert 2 <= _count(study) < 6
        assert not any(t.state is TrialState.RUNNING for t in study.trials)
        study.optimize(_slow, total_trials=6, show_progress_bar=False)
        assert _count(study) == 6
