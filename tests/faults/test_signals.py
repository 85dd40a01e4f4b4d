"""Ctrl-C and SIGTERM: once finishes what runs and stores it, twice stops now; either way the search can go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import actsearch as acs
from actsearch.execution import Finished, Job, Work
from actsearch.execution.holding import Held
from actsearch.records import TrialState
from actsearch.storage import Storage

Objective = Callable[[acs.Candidate, acs.Run], float]

SCRIPT = """
import sys, time
import torch
import torch.nn.functional as F
from torch import nn
import actsearch as acs

torch.set_num_threads(1)
url, batch, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
generator = torch.Generator().manual_seed(0)
x = torch.randn(80, 2, generator=generator)
y = (x[:, 0] * x[:, 1] > 0).long()


def model():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def slow_loss(output, target):
    print("TRAINING", flush=True)
    time.sleep(pause)
    return F.cross_entropy(output, target)


def say(study, trial):
    print("DONE", trial.number, flush=True)


task = acs.Task(model=model, train=(x[:64], y[:64]), valid=(x[64:], y[64:]), loss=slow_loss,
                metric="loss", epochs=4, batch_size=16, lr=1e-2, device="cpu")
study = acs.create_study(study_name="s", storage=url, strategy="random", seed=3, load_if_exists=True)
print("READY", flush=True)
study.optimize(task, total_trials=12, callbacks=[say], show_progress_bar=False,
               executor=acs.Local(batch))
print("END", flush=True)
"""


def _study(**settings: Any) -> acs.Study:
    given: dict[str, Any] = {"study_name": "s", "strategy": "random", "direction": "minimize"}
    return acs.create_study(**given | {"seed": 3} | settings)


def _rows(study: acs.Study) -> list[tuple[Any, ...]]:
    return [(t.number, t.state.name, t.candidate.formula, t.value) for t in study.trials]


def _states(study: acs.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


class Interrupting:
    """The objective, which sends signals to its own process in the middle of one trial."""

    __qualname__ = "objective"

    def __init__(self, distance: Objective, *signals: int, at: int = 4) -> None:
        self._distance = distance
        self._signals = signals
        self._at = at
        self.ran: list[int] = []

    def __call__(self, candidate: acs.Candidate, run: acs.Run) -> float:
        self.ran.append(run.number)
        if run.number == self._at:
            for number in self._signals:
                os.kill(os.getpid(), number)
        return self._distance(candidate, run)


def _optimize(study: acs.Study, objective: Any, total: int = 10, **settings: Any) -> None:
    study.optimize(objective, total_trials=total, show_progress_bar=False, **settings)


@pytest.fixture
def unbroken(distance: Objective) -> list[tuple[Any, ...]]:
    study = _study()
    _optimize(study, Interrupting(distance))
    return _rows(study)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever happens, what handled the signals before handles them afterwards."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


class TestOnce:
    @pytest.mark.parametrize("batch", [1, 3])
    def test_what_runs_is_stored_and_ctrl_c_is_raised(
        self, sqlite_url: str, distance: Objective, unbroken: list[Any], batch: int
    ) -> None:
        study = _study(storage=sqlite_url)
        told: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            _optimize(
                study,
                Interrupting(distance, signal.SIGINT),
                executor=acs.Local(batch),
                callbacks=[lambda _, trial: told.append(trial.number)],
            )
        states = _states(study)
        assert states[4] == "COMPLETE"
        assert "RUNNING" not in states
        assert told == [n for n, state in enumerate(states) if state in ("COMPLETE", "FAILED")]
        assert not Storage(sqlite_url).is_running(study.record.id)
        _optimize(study, Interrupting(distance), executor=acs.Local(batch))
        assert _rows(study) == unbroken

    def test_whoever_handled_it_before_gets_it_afterwards(self, distance: Objective) -> None:
        study = _study()
        seen: list[tuple[int, list[str]]] = []

        def handle(number: int, _frame: FrameType | None) -> None:
            seen.append((number, _states(study)))

        before = signal.signal(signal.SIGTERM, handle)
        try:
            _optimize(study, Interrupting(distance, signal.SIGTERM))
        finally:
            signal.signal(signal.SIGTERM, before)
        ((number, states),) = seen
        assert number == signal.SIGTERM
        assert states[4] == "COMPLETE"
        assert "RUNNING" not in states
        assert "WAITING" in states  # it did not go on to the end

    def test_one_that_is_ignored_stays_ignored(self, distance: Objective) -> None:
        """As under ``nohup``, or in a shell's background."""
        study = _study()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _optimize(study, Interrupting(distance, signal.SIGINT))
        finally:
            signal.signal(signal.SIGINT, before)
        assert _states(study).count("COMPLETE") >= 9

    def test_a_search_within_a_search_ends_both(self, distance: Objective) -> None:
        outer, inner = _study(study_name="outer"), _study(study_name="inner")

        def nested(candidate: acs.Candidate, run: acs.Run) -> float:
            _optimize(inner, Interrupting(distance, signal.SIGINT, at=1))
            return distance(candidate, run)

        with pytest.raises(KeyboardInterrupt):
            _optimize(outer, nested)
        assert _states(outer)[0] == _states(inner)[1] == "COMPLETE"
        assert "RUNNING" not in _states(outer) + _states(inner)

    def test_it_says_how_to_stop_now(
        self, distance: Objective, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            _optimize(_study(), Interrupting(distance, signal.SIGINT))
        assert "SIGINT" in caplog.text
        assert "once more stops now" in caplog.text


class TestTwice:
    def test_stops_now_and_what_ran_is_run_again(
        self, sqlite_url: str, distance: Objective, unbroken: list[Any]
    ) -> None:
        study = _study(storage=sqlite_url)
        objective = Interrupting(distance, signal.SIGINT, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            _optimize(study, objective)
        assert _states(study)[4] == "RUNNING"
        assert not Storage(sqlite_url).is_running(study.record.id)
        again = Interrupting(distance)
        _optimize(study, again)
        assert again.ran[0] == 4
        assert _rows(study) == unbroken


class OneByOne(Held):
    """An executor that can be told to start nothing more, as one with child processes can."""

    def __init__(self) -> None:
        self._stopped = False
        self.closed = False

    def stop(self) -> None:
        self._stopped = True

    def open(self, work: Work) -> None:
        """Nothing is reached."""

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        return len(jobs)

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        self._stopped = False
        try:
            for job in jobs:
                if self._stopped:
                    return
                yield Finished([(job, work.train([job])[0])])
        finally:
            self.closed = True

    def close(self) -> None:
        """Nothing is held."""


class TestExecutors:
    def test_one_that_can_stop_leaves_what_it_has_not_started(
        self, distance: Objective, unbroken: list[Any]
    ) -> None:
        study = _study()
        with pytest.raises(KeyboardInterrupt):
            _optimize(study, Interrupting(distance, signal.SIGINT), executor=OneByOne())
        trained = [t.number for t in study.trials if t.state.is_trained]
        assert max(trained) == 4
        assert {t.state.name for t in study.trials if t.state.is_open} == {"WAITING"}
        _optimize(study, Interrupting(distance), executor=OneByOne())
        assert _rows(study) == unbroken

    def test_stopped_now_it_is_closed_before_the_exception_is_seen(
        self, distance: Objective
    ) -> None:
        executor = OneByOne()
        with pytest.raises(KeyboardInterrupt):
            _optimize(
                _study(),
                Interrupting(distance, signal.SIGINT, signal.SIGINT),
                executor=executor,
            )
        assert executor.closed


def test_in_another_thread_no_signal_is_touched(distance: Objective, unbroken: list[Any]) -> None:
    study = _study()
    seen: list[Any] = []

    def look(_study: acs.Study, _trial: acs.Trial) -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(
        target=_optimize, args=(study, Interrupting(distance)), kwargs={"callbacks": [look]}
    )
    thread.start()
    thread.join(60)
    assert _rows(study) == unbroken
    assert set(seen) == {before}


class Script:
    """A search in a process of its own."""

    def __init__(self, folder: Path, url: str, batch: int, pause: float = 0.01) -> None:
        path = folder / "search_it.py"
        path.write_text(SCRIPT)
        self._process = subprocess.Popen(
            [sys.executable, str(path), url, str(batch), str(pause)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, *beginnings: str) -> None:
        """Read lines until each of these has come, in this order."""
        assert self._process.stdout is not None
        for beginning in beginnings:
            for line in self._process.stdout:
                if line.startswith(beginning):
                    break
            else:
                raise AssertionError(self._process.communicate()[1])

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        output, errors = self._process.communicate(timeout=120)
        return self._process.returncode, output, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "batch"), [(signal.SIGTERM, 4), (signal.SIGINT, 1), (signal.SIGINT, 4)]
)
def test_a_script_ends_as_it_would_without_us_but_with_all_stored(
    tmp_path: Path, sqlite_url: str, number: signal.Signals, batch: int
) -> None:
    script = Script(tmp_path, sqlite_url, batch)
    script.wait_for("READY", "DONE", "TRAINING")
    script.signal(number)
    code, output, errors = script.end()
    if number == signal.SIGTERM:
        assert code == -number, errors
    assert code != 0
    assert "END" not in output
    assert "ends when the running trials are stored" in errors
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    study = acs.load_study(study_name="s", storage=sqlite_url)
    states = [trial.state for trial in study.trials]
    assert TrialState.RUNNING not in states
    assert sum(state.is_trained for state in states) == 2 * batch  # two physical batches, whole
    assert not Storage(sqlite_url).is_running(study.record.id)


@pytest.mark.slow
def test_a_script_that_is_told_twice_ends_at_once(tmp_path: Path, sqlite_url: str) -> None:
    script = Script(
        tmp_path, sqlite_url, 4, pause=0.2
    )  # so that the second still finds them running
    script.wait_for("READY", "DONE", "TRAINING")
    script.signal(signal.SIGINT)
    script.wait_for("TRAINING")  # it goes on
    script.signal(signal.SIGINT)
    code, _, errors = script.end()
    assert code != 0
    assert "KeyboardInterrupt" in errors
    study = acs.load_study(study_name="s", storage=sqlite_url)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.RUNNING) == 4
    assert sum(state.is_trained for state in states) == 4
