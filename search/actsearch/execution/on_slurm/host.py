"""What runs as a job: a process that holds one child process, in which trials train.

So a trial that crashes leaves its job alive, which says how it ended; another child takes its place at once, where
another job would wait in the queue. This process needs no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pickle
import platform
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actsearch.execution import versions
from actsearch.execution.child import dump_message
from actsearch.execution.children import Child
from actsearch.execution.delivery import Delivery
from actsearch.execution.guard import Guard
from actsearch.execution.on_slurm.channel import (
    BEAT_SECONDS,
    LEFT,
    Channel,
    Pace,
    Silence,
    is_private,
)

__all__ = ["Host", "Order"]

_PAUSE = 2.0  # seconds before a file is written or read again that could not be
_TRIES = 10
_SAME_SECONDS = 0.5  # within which a signal to all processes of a job arrives at each
_LAST_SECONDS = 600.0
"""That Slurm has to kill a job after SIGTERM. One that ended by itself meanwhile would not be queued again."""


@dataclass(frozen=True)
class Order:
    """What a driver wants of a host.

    Attributes:
        kind: "start" a child, in the place of any other; "deliver" a parcel to it, or "pass" it a message; "stop" it;
            "quit".
        generation: of the child.
        content: the message; of a parcel the digest of its first part, and the files of all.
    """

    kind: str
    generation: int = 0
    content: Any = None


@dataclass
class Host:
    """Called in the job.

    Attributes:
        folder: of its channel.
        key: of its driver.
        path, argv, working: ``sys.path``, ``sys.argv`` and current folder of the driver.
        threads: that torch may use.
        level: of what is logged.
        patience: seconds without a sign of life of the driver after which it ends.
    """

    folder: str
    key: bytes
    path: list[str]
    argv: list[str]
    working: str
    threads: int
    level: int
    patience: float

    def __call__(self) -> None:
        """Train until the driver says so, or is no more."""
        self._running = _Running(self)
        self._running.run()

    def again(self) -> Host:
        """End what runs, since the job goes back to the queue; what is started then."""
        with contextlib.suppress(AttributeError):  # it has not begun
            self._running.leave()
        return dataclasses.replace(self)


class _Running:
    def __init__(self, host: Host) -> None:
        folder = Path(host.folder)
        if not is_private(folder.parent):
            raise PermissionError(f"{folder.parent} is not this user's alone")
        self._host = host
        self._channel = Channel(folder, host.key, "host")
        self._pace = Pace()
        self._guard: Guard | None = None
        self._child: Child | None = None
        self._inbox: queue.SimpleQueue[bytes | memoryview | None] = queue.SimpleQueue()
        self._ends = False
        self._is_terminated = threading.Event()

    def run(self) -> None:
        # a Ctrl-C in the terminal of a driver whose jobs run on its own machine is not for them
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGTERM, lambda *_: self._is_terminated.set())
        sys.path[:] = [*self._host.path, *(at for at in sys.path if at not in self._host.path)]
        sys.argv[:] = self._host.argv
        if os.path.isdir(self._host.working):
            os.chdir(self._host.working)
        self._post(0, "hello", pickle.dumps(_describe()))
        threading.Thread(target=self._beat, daemon=True).start()
        silence = Silence()
        try:
            while not self._ends:
                beat = None
                with contextlib.suppress(OSError):  # the folder is gone, or out of reach
                    beat = self._channel.look()
                    for message in self._channel.take(beat):
                        self._try(pickle.loads(message))
                if self._is_terminated.is_set():
                    self.leave()
                    time.sleep(_LAST_SECONDS)
                elif silence.note(beat) > self._host.patience:
                    print(
                        "actsearch: no sign of life of the driver; this job ends", file=sys.stderr
                    )
                    self._ends = True
                self._pace.wait()
        finally:
            self._ends = True
            self._stop()
            if self._guard is not None:
                self._guard.close()

    def leave(self) -> None:
        """In a signal handler: the process ends after it."""
        self._ends = True
        with contextlib.suppress(Exception):  # it may have come in the middle of anything
            self._stop()
        with contextlib.suppress(OSError):
            self._channel.beat(LEFT)

    def _try(self, order: Order) -> None:
        self._pace.quicken()
        try:
            self._obey(order)
        except OSError as error:
            self._stop()
            why = f"its machine {platform.node()} cannot do what it is to: {error}"
            self._post(order.generation, "ended", pickle.dumps((why, "machine")))

    def _obey(self, order: Order) -> None:
        if order.kind == "start":
            self._stop()
            self._start(order.generation)
        elif order.kind == "deliver":
            self._inbox.put(_deliver(*order.content))
        elif order.kind == "pass":
            self._inbox.put(order.content)
        else:
            self._stop()
            self._ends = order.kind == "quit"

    def _start(self, generation: int) -> None:
        self._guard = self._guard or Guard()
        receive = functools.partial(self._receive, generation)
        child = Child(receive, self._guard, self._host.threads, None, self._host.level)
        self._child, self._inbox = child, queue.SimpleQueue()
        # in a thread: a child that holds its interpreter reads nothing, and this process has to hear that it is to end
        threading.Thread(target=_feed, args=(child, self._inbox), daemon=True).start()

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._inbox.put(None)
            child.kill()

    def _receive(self, generation: int, kind: str, data: bytes) -> None:
        """In the thread that listens to the child."""
        if kind == "ended" and self._is_terminated.wait(_SAME_SECONDS):
            return  # Slurm has ended the child with all of its job, and it is not to blame
        self._post(generation, kind, data)
        if kind not in ("log", "reached"):
            self._pace.quicken()  # the next order comes soon

    def _post(self, generation: int, kind: str, data: bytes) -> None:
        message = pickle.dumps((generation, kind, data))
        while True:
            try:
                self._channel.post(message)
                return
            except OSError as error:  # no room, or no server: until the driver is given up
                if self._ends:
                    return
                print(f"actsearch: cannot write to {self._host.folder}: {error}", file=sys.stderr)
                time.sleep(_PAUSE)

    def _beat(self) -> None:
        while not self._ends:
            with contextlib.suppress(OSError):
                self._channel.beat()
            time.sleep(BEAT_SECONDS)


def _feed(child: Child, inbox: queue.SimpleQueue[bytes | memoryview | None]) -> None:
    while (message := inbox.get()) is not None:
        child.send(message)


def _deliver(digest: str, pickled: str, files: list[str]) -> memoryview:
    """A parcel as a message to the child; of its parts only the first is code.

    Raises:
        OSError: they cannot be read here.
    """
    for left in reversed(range(_TRIES)):
        try:
            content = Path(pickled).read_bytes()
            for file in files:
                os.stat(file)
            if hashlib.blake2b(content, digest_size=16).hexdigest() != digest:
                raise OSError(f"{pickled} is not what the driver has written")
            return dump_message(Delivery(content, files))
        except OSError:  # it was written elsewhere a moment ago
            if not left:
                raise
            time.sleep(_PAUSE)
    raise AssertionError


def _describe() -> dict[str, str]:
    return {**versions.describe(), "node": platform.node()}
