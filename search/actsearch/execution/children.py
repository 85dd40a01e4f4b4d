"""Processes that train for this one, and what they say."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

import psutil

from actsearch.execution.child import LOST_DEVICE, read_message, write_message
from actsearch.execution.guard import Guard, end_group

__all__ = ["Child", "Event"]

Event = tuple["Child", str, Any]
"""The child that sends a message, the kind of message, and its content: ("ended", None) is the last."""

_CODE = """
import sys
sys.path[:], sys.argv[:] = {path!r}, {argv!r}
from actsearch.execution.child import main
main({threads}, {level}, {place})
"""
_END_SECONDS = 5.0  # that an idle child has to end by itself, before it is killed
_CHECK_SECONDS = 0.1  # between two checks of the memory in use


class Child:
    """One process, started afresh: it shares no thread, lock or file with this one.

    Attributes:
        limit: most bytes of memory that it may use, or None.
        place: its number among the children that are there, from 0; of several GPUs it takes the one in its turn.
    """

    def __init__(
        self, events: queue.SimpleQueue[Event], guard: Guard, threads: int, limit: int | None
    ) -> None:
        """Args:
        events: where its messages go.
        guard: ends it should this process be killed.
        threads: that torch may use in it.
        limit: see above.
        """
        self.limit = limit
        self._events = events
        self._guard = guard
        self.place = guard.take_place()
        self._was_over_limit = False
        level = logging.getLogger("actsearch").getEffectiveLevel()
        code = _CODE.format(
            path=sys.path, argv=sys.argv, threads=threads, level=level, place=self.place
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # a terminal sends Ctrl-C to all of a group; the parent decides
        )
        guard.add(self.pid)
        # daemons: neither may keep this process from ending
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Hand it something; one that is gone says so by its last event.

        Raises:
            Exception: what cannot be sent, as pickling has it.
        """
        assert self._process.stdin is not None
        # a broken pipe: the child has ended, and its last event says so
        with contextlib.suppress(OSError):
            write_message(self._process.stdin, message)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(self.pid).children(recursive=True)
            for process in started:  # also those that left its group
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self._process.kill()
        self._release()

    def close(self) -> None:
        """End it; it does nothing at the time."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._release()

    def disconnect(self) -> None:
        """In a fork of the process that started it: hold its standard input open no longer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _release(self) -> None:
        self._process.wait()
        self._watcher.join()  # it has then ended the group, which the guard may forget
        self._guard.remove(self.pid)
        self._guard.free_place(self.place)
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def is_over_limit(self) -> bool:
        """Whether it uses more memory than it may."""
        if self.limit is None:
            return False
        try:
            used = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return False
        # remembered for describe_end: the memory of an ended process cannot be read
        self._was_over_limit |= used > self.limit
        return used > self.limit

    def _watch(self) -> None:
        """End it when it uses too much memory, and with it all that it started and left behind.

        From here, since a call in it may hold its interpreter for long.
        """
        while True:
            try:
                self._process.wait(None if self.limit is None else _CHECK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if self.is_over_limit():
                    self._process.kill()
        end_group(self.pid)  # the child leads a group, in which its own children are

    def describe_end(self) -> str:
        """In words, after its last event."""
        code = self._process.wait()
        if self._was_over_limit:
            return f"its process used more memory than memory_limit={self.limit} bytes"
        if code == LOST_DEVICE:
            return (
                "its GPU refused all further work after an error, such as an index out of range: the log has it; "
                "CUDA_LAUNCH_BLOCKING=1 in the environment shows where"
            )
        if code >= 0:
            return f"its process ended by itself with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream, contextlib.suppress(EOFError, OSError):
            while True:
                kind, content = read_message(stream)
                if kind == "log":
                    logging.getLogger(content.name).handle(content)
                else:
                    self._events.put((self, kind, content))
        self._events.put((self, "ended", None))
