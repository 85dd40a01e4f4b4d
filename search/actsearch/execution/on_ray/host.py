"""What runs on the cluster: an actor that holds one child process, in which trials train.

So a trial that crashes leaves its actor alive, which says how it ended; an actor that dies went with its machine. And a
trial has a process of its own, as with :class:`actsearch.Processes`, whatever Ray does in the actor's.

This module travels by value and imports nothing but the standard library before :meth:`Host.prepare`: the machine may
have another actsearch, or none.
"""

from __future__ import annotations

import importlib
import logging
import mmap
import os
import platform
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Host", "Source"]

_OF_RAY = ("thirdparty_files", os.path.join("_private", "workers"))

Source = tuple[int, int, int]
"""Process, file descriptor and size of bytes that processes of one machine share."""


class Host:
    """The actor. Its methods are called one after the other, but for :meth:`tell`."""

    def __init__(self, path: Sequence[str], argv: Sequence[str], folder: str) -> None:
        """Args:
        path: of the driver, for imports; what is on the path here alone, as of a runtime environment, comes first.
        argv: of the driver.
        folder: in which the driver runs, if there is one of that name here; "" to stay.
        """
        own = [place for place in sys.path if place not in path]
        rays = [place for place in own if place.endswith(_OF_RAY)]  # copies of libraries among it
        sys.path[:] = [*(place for place in own if place not in rays), *path, *rays]
        sys.argv[:] = argv
        if os.path.isdir(folder):
            os.chdir(folder)
        self._messages: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._shared: dict[str, tuple[int, int]] = {}
        self._child: Any = None
        self._sending = threading.Lock()

    def describe(self) -> dict[str, str]:
        """What has to be the same here as at the driver; a library that cannot be imported is ""."""
        found = {
            "Python": platform.python_version(),
            "system": platform.system(),
            # each node has a raylet, also where several are on one machine
            "node": f"{platform.node()} {os.environ.get('RAY_RAYLET_PID', os.getpid())}",
        }
        for name in ("actsearch", "cloudpickle", "psutil"):
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                found[name] = ""
        return found

    def prepare(self, threads: int, level: int) -> None:
        """Start the child."""
        from actsearch.execution.children import Child
        from actsearch.execution.guard import Guard

        # of all that Ray starts, so that Ctrl-C in a terminal does not reach it; trials want it as it usually is
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        logging.getLogger("actsearch").setLevel(level)
        self._child = Child(self._receive, Guard(), threads, None, level)

    def _receive(self, kind: str, data: bytes) -> None:
        self._messages.put((kind, data))

    def share(self, key: str, offers: Sequence[Source], data: Any) -> Source:
        """Bytes for the children of this machine, of which one host makes a copy in memory; it goes with the last.

        Args:
            key: of the bytes.
            offers: copies that other hosts of this machine have made; one may have ended meanwhile.
            data: the bytes, an array in the object store.
        """
        if key not in self._shared:
            self._shared[key] = self._adopt(key, offers) or self._copy(key, data)
        return (os.getpid(), *self._shared[key])

    def _adopt(self, key: str, offers: Sequence[Source]) -> tuple[int, int] | None:
        for pid, number, size in offers:
            link = f"/proc/{pid}/fd/{number}"
            try:
                if os.readlink(link).startswith(
                    f"/memfd:{key}"
                ):  # and no other process's of that number
                    return os.open(link, os.O_RDONLY), size
            except OSError:
                continue
        return None

    @staticmethod
    def _copy(key: str, data: Any) -> tuple[int, int]:
        number = os.memfd_create(key)
        os.ftruncate(number, data.nbytes)
        with mmap.mmap(number, data.nbytes) as memory:
            memory[:] = memoryview(data)
        return number, int(data.nbytes)

    def forget(self, keys: Sequence[str]) -> None:
        """Let go of shared bytes: the child has been given others."""
        for key in keys:
            if key in self._shared:
                os.close(self._shared.pop(key)[0])

    def tell(self, data: Any) -> None:
        """Hand the child a message that it does not answer, also while it works on another."""
        with self._sending:
            self._child.send(memoryview(data))

    def relay(self, data: Any) -> Iterator[tuple[str, bytes]]:
        """Hand the child a message; what it says, up to its answer."""
        self.tell(data)
        while True:
            kind, content = self._messages.get()
            yield kind, content
            if kind not in ("log", "reached"):
                return
