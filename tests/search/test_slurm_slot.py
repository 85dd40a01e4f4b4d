"""A job of Slurm's as the driver has it, where files cannot be written or Slurm does not answer."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actsearch.execution import versions
from actsearch.execution.on_slurm import slot as slots
from actsearch.execution.on_slurm.channel import Channel
from actsearch.execution.on_slurm.host import Host
from actsearch.execution.on_slurm.jobs import Jobs, State
from actsearch.execution.on_slurm.office import Office
from actsearch.execution.on_slurm.slot import Slot, SlurmWorker
from actsearch.execution.on_slurm.store import DataFolder
from actsearch.execution.transport import Event

KEY = b"k" * 32


class OneJob:
    """Stands for Slurm: it takes a job, and that runs."""

    def submit(self, host: Host) -> Future[Any]:
        """At once."""
        taken: Future[Any] = Future()
        taken.set_result(SimpleNamespace(job_id="1"))
        return taken

    def state(self, job: Any) -> State:
        """It runs."""
        return State("running", "RUNNING")

    def printed(self, job: Any, read: dict[Path, int]) -> str:
        """Nothing."""
        return ""

    def forget(self) -> None:
        """Nothing is known."""


class Met:
    """A slot whose host has come up, and a worker that speaks through it."""

    def __init__(self, folder: Path) -> None:
        self.slot = Slot(
            folder / "job-0001", KEY, cast(Jobs, OneJob()), lambda at: cast(Host, None)
        )
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.worker = SlurmWorker(self.slot, DataFolder(folder), self.events, lambda: None)
        self.slot.serve()
        self.host = Channel(folder / "job-0001", KEY, "host")
        _say_hello(self.host)
        self.serve()
        assert self.taken() == ["start"]

    def serve(self) -> None:
        """As the clerk does it, until nothing happens."""
        while self.slot.serve():
            pass

    def taken(self) -> list[Any]:
        """Kinds of the orders that arrive, or what they hand on."""
        orders = [pickle.loads(data) for data in self.host.take(self.host.look())]
        return [pickle.loads(o.content) if o.kind == "pass" else o.kind for o in orders]


def _say_hello(host: Channel) -> None:
    hello = pickle.dumps({**versions.describe(), "node": "n1"})
    host.post(pickle.dumps((0, "hello", hello)))


@pytest.fixture
def met(tmp_path: Path) -> Met:
    """See there."""
    return Met(tmp_path)


def _fail_once(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, side: str = "driver"
) -> None:
    """Have a method of a channel raise at its n-th call, and at no other."""
    whole: Callable[..., Any] = getattr(Channel, name)
    calls: list[int] = []

    def failing(self: Any, *given: Any) -> Any:
        if self._side == side:
            calls.append(1)
            if len(calls) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, *given)

    monkeypatch.setattr(Channel, name, failing)


class TestAFileThatCannotBeWritten:
    def test_no_order_is_gone_and_they_arrive_in_order(
        self, met: Met, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_once(monkeypatch, "post", 2)
        for number in range(4):
            met.worker.send(number)
        with pytest.raises(OSError, match="No space"):
            met.serve()
        met.worker.send(4)
        met.serve()
        assert met.taken() == [0, 1, 2, 3, 4]

    def test_an_order_that_was_written_before_it_failed_arrives_once(
        self, met: Met, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_once(monkeypatch, "beat", 1)  # after the message was written
        met.worker.send(0)
        met.serve()
        met.worker.send(1)
        met.serve()
        assert met.taken() == [0, 1]

    def test_of_a_worker_that_is_gone_no_order_is_sent_again(
        self, met: Met, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _fail_once(monkeypatch, "post", 1)
        met.worker.send(0)
        with pytest.raises(OSError, match="No space"):
            met.serve()
        met.worker.end(now=True)
        met.serve()
        assert met.taken() == ["stop"]


class FakeSlurm:
    """Commands that answer as Slurm's do, or hang while a file of their name is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        words = {
            "sbatch": 'echo "Submitted batch job 7"', "squeue": 'echo "7|COMPLETED|None"', "scancel": "", "srun": "",
        }  # fmt: skip
        for name, word in words.items():
            script = folder / name
            script.write_text(
                f"#!/bin/sh\nwhile [ -e {folder}/{name}.hangs ]; do sleep 0.05; done\n{word}\n"
            )
            script.chmod(0o755)

    def hang(self, *names: str) -> None:
        """Have these say nothing."""
        for name in names:
            (self._folder / f"{name}.hangs").touch()

    def go_on(self) -> None:
        """Have all answer."""
        for path in self._folder.glob("*.hangs"):
            path.unlink()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """A Slurm that may hang."""
    pytest.importorskip(
        "submitit", reason="submitit is not installed (pip install 'actsearch[slurm]')"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    fake = FakeSlurm(tmp_path / "bin")
    yield fake
    fake.go_on()


def _wait_for(happens: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.01)


class TestASlurmThatHangs:
    def test_beats_and_orders_go_on(
        self, tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "BEAT_SECONDS", 0.02)
        slurm.hang("squeue")
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        with contextlib.closing(Office(tmp_path / "jobs", "slurm", {}, 1)) as office:
            first = office.worker(events)
            _wait_for(lambda: first._slot.job)
            host = Channel(office.folder / "job-0001", office._key, "host")
            _say_hello(host)
            slurm.hang("sbatch")
            office.worker(events)  # in another job, which is submitted while the first works
            arrived: list[str] = []

            def arrives(kind: str) -> bool:
                arrived.extend(pickle.loads(data).kind for data in host.take(host.look()))
                return kind in arrived

            try:
                _wait_for(lambda: arrives("start"))
                first.send(1)
                _wait_for(lambda: arrives("pass"))
                beats = [beat.count for beat in [host.look()] if beat is not None]
                _wait_for(lambda: (beat := host.look()) and beat.count > beats[0] + 5)
            finally:
                slurm.go_on()
            assert events.empty()
        assert list((tmp_path / "jobs").iterdir()) == []

    def test_a_job_that_was_not_submitted_yet_never_is(
        self, tmp_path: Path, slurm: FakeSlurm
    ) -> None:
        slurm.hang("sbatch")
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        office = Office(tmp_path / "jobs", "slurm", {}, 1)
        for _ in range(3):
            office.worker(events)
        submitted = office.folder / "jobs"
        _wait_for(lambda: list(submitted.glob("*.pkl")))
        assert len(list(submitted.glob("*.pkl"))) == 1
        slurm.go_on()
        office.close()
        assert list((tmp_path / "jobs").iterdir()) == []
