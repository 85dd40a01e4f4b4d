"""One driver at a time, with real processes: sleeping ones, dead ones, two at once, and ``actsearch unlock``."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from driven import Launcher

import actsearch as acs
from actsearch.cli import main
from actsearch.records import TrialState
from actsearch.storage import Storage

HOLD = """
import sys
import actsearch as acs
from actsearch.storage import lease

if len(sys.argv) > 2:  # seconds that are long for a user, and too long for a test
    lease._STALE_AFTER, lease._WATCH_SECONDS, lease._HEARTBEAT_SECONDS = lease.timedelta(seconds=2), 4, 0.3
go_on = True


def objective(candidate, run):
    global go_on
    if go_on:
        print("RUNNING", flush=True)
        go_on = sys.stdin.readline() != "once\\n"
    return 1.0 + run.number


study = acs.load_study(study_name="s", storage=sys.argv[1])
print("READY", flush=True)
try:
    sys.stdin.readline()
    study.optimize(objective, total_trials=6, show_progress_bar=False)
except acs.StudyError as error:
    print("REFUSED", str(error).replace("\\n", " "), flush=True)
else:
    print("END", flush=True)
"""


def objective(candidate: acs.Candidate, run: acs.Run) -> float:
    return 1.0 + run.number


class Forked:
    """A process that waits in the middle of its first trial until it is told to go on."""

    def __init__(self, launcher: Launcher, url: str) -> None:
        self.process = launcher.start(HOLD, url)
        assert self.read() == "READY"

    def read(self) -> str:
        return self.process.read(1)[0]

    def in_a_trial(self) -> None:
        self.process.say("start")
        assert self.read() == "RUNNING"

    def close(self) -> None:
        """Kill it, and let nothing of it be left."""
        self.process.kill()
        self.process.wait()


class Driver:
    """Such a process with an interpreter of its own, which may be in a container."""

    def __init__(self, url: str, *options: str, within: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*within, sys.executable, "-c", HOLD, url, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "READY"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def in_a_trial(self) -> Driver:
        self.say("start")
        assert self.read() == "RUNNING"
        return self

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def url(sqlite_url: str) -> str:
    acs.create_study(study_name="s", storage=sqlite_url, strategy="random", direction="minimize")
    return sqlite_url


@pytest.fixture
def driver(launcher: Launcher, url: str) -> Iterator[Forked]:
    made = Forked(launcher, url)
    yield made
    if not made.process.is_over:
        made.close()


def _states(url: str) -> list[TrialState]:
    return [trial.state for trial in acs.load_study(study_name="s", storage=url).trials]


def _answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_one_that_slept_through_a_takeover_writes_nothing(
    url: str, driver: Forked, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.in_a_trial()
    driver.process.signal(signal.SIGSTOP)
    study = acs.load_study(study_name="s", storage=url)
    with pytest.raises(acs.StudyError, match=f"process {driver.process.pid}"):
        study.optimize(objective, total_trials=6, show_progress_bar=False)
    assert main(["unlock", "s", "--storage", url, "--yes"]) == 0
    said = capsys.readouterr().out
    assert f"process {driver.process.pid}" in said
    assert "That process lives" in said
    study.optimize(objective, total_trials=6, show_progress_bar=False)
    before = [(t.number, t.state, t.value, t.datetime_complete) for t in study.trials]
    driver.process.signal(signal.SIGCONT)
    driver.process.say("once")
    line = driver.read()
    assert line.startswith("REFUSED")
    assert "no longer ours to write" in line
    assert [(t.number, t.state, t.value, t.datetime_complete) for t in study.trials] == before


def test_that_of_a_killed_one_is_taken_over_at_once(url: str, driver: Forked) -> None:
    driver.in_a_trial()
    driver.close()
    started = time.monotonic()
    study = acs.load_study(study_name="s", storage=url)
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    assert time.monotonic() - started < 10
    assert study.trials[0].state is TrialState.COMPLETE


CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
"""A PID namespace of its own, under the same host name: what two containers may be to each other."""


@pytest.fixture
def container() -> Sequence[str]:
    try:
        subprocess.run([*CONTAINER, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        pytest.skip(f"no PID namespace can be made here: {said}")
    return CONTAINER


@pytest.mark.slow
def test_that_of_a_container_with_the_same_host_name_stays_while_it_lives(
    url: str, container: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process number is another process here, or none."""
    driver = Driver(url, "fast", within=container)
    try:
        driver.in_a_trial()
        study = acs.load_study(study_name="s", storage=url)
        with pytest.raises(acs.StudyError, match=r"is being run by .*\(process 1, "):
            study.optimize(objective, total_trials=6, show_progress_bar=False)
        monkeypatch.setattr("actsearch.storage.lease._STALE_AFTER", timedelta(0))
        with pytest.raises(acs.StudyError, match="is being run by"):  # it is watched, and beats
            study.optimize(objective, total_trials=6, show_progress_bar=False)
        driver.close()
        monkeypatch.setattr("actsearch.storage.lease._WATCH_SECONDS", 1)
        study.optimize(objective, total_trials=6, show_progress_bar=False)
    finally:
        driver.close()
    assert sum(state.is_trained for state in _states(url)) == 6


@pytest.mark.slow
def test_of_two_containers_with_one_host_name_one_drives(
    url: str, container: Sequence[str]
) -> None:
    """Both are process 1 in theirs. Killed, the first is followed by another."""
    first, second, third = (Driver(url, "fast", within=container) for _ in range(3))
    try:
        first.in_a_trial()
        second.say("start")
        assert second.read().startswith("REFUSED study 's' is being run by")
        first.close()
        time.sleep(3)  # a heartbeat is no longer fresh after two
        third.in_a_trial().say("once")
        assert third.read() == "END"
    finally:
        for driver in (first, second, third):
            driver.close()
    assert sum(state.is_trained for state in _states(url)) == 6


@pytest.mark.slow
def test_of_two_resumes_at_once_one_drives(url: str) -> None:
    drivers = [Driver(url), Driver(url)]
    try:
        for one in drivers:
            one.say("start")
        lines = sorted(one.read() for one in drivers)
        assert lines[0].startswith("REFUSED")
        assert "is being run by" in lines[0]
        assert lines[1] == "RUNNING"
        for one in drivers:
            if one.process.poll() is None:
                one.say("once")
        ends = [one.process.communicate()[0] for one in drivers]
        assert sum("END" in text for text in ends) == 1
    finally:
        for one in drivers:
            if one.process.poll() is None:
                one.close()
    assert sum(state.is_trained for state in _states(url)) == 6


class TestUnlock:
    def test_a_study_that_nobody_holds(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["unlock", "s", "--storage", url]) == 0
        assert "not locked" in capsys.readouterr().out

    @pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("\n", 1), ("", 1), ("y\n", 0)])
    def test_it_asks(
        self,
        url: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        answer: str,
        code: int,
    ) -> None:
        storage = Storage(url)
        lease = storage.lease(storage.study("s"))
        lease.acquire()
        _answer(monkeypatch, answer)
        assert main(["unlock", "s", "--storage", url]) == code
        said = capsys.readouterr().out
        assert f"process {os.getpid()}" in said
        assert "lives" in said
        assert "[y/N]" in said
        assert (lease.holder() is None) == (code == 0)

    def test_a_study_that_is_not_there(
        self, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert main(["unlock", "t", "--storage", url, "--yes"]) == 1
        assert "there is no study 't'" in capsys.readouterr().err
        assert main(["unlock", "s", "--storage", f"{tmp_path}/none.db", "--yes"]) == 1
        assert not (tmp_path / "none.db").exists()
