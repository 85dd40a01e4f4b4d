"""Processes that train for this one, and what they say."""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import psutil

from actsearch.execution.child import LOST_DEVICE, read_message, write_data
from actsearch.execution.guard import Guard, end_group

__all__ = ["Child", "Receiver"]

Receiver = Callable[[str, bytes], None]
"""Is given the kind of each message, and its content as a pickle, in a thread that listens to the child.

"log" (a record) may come at any time; each message to the child is answered by one other, or by the last: "ended", with
why it has in words, and "memory" if it took too much of it, else "crash".
"""

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
        self, receive: Receiver, guard: Guard, threads: int, limit: int | None, level: int
    ) -> None:
        """Args:
        receive: is given its messages.
        guard: ends it should this process be killed.
        threads: that torch may use in it.
        limit: see above.
        level: of what it logs.
        """
        self.limit = limit
        self._receive = receive
        self._guard = guard
        self.place = guard.take_place()
        self._was_over_limit = False
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

    def send(self, data: bytes | memoryview) -> None:
        """Hand it a message, pickled; one that is gone says so by its last message."""
        assert self._process.stdin is not None
        # a broken pipe: the child has ended, and its last event says so
        with contextlib.suppress(OSError):
            write_data(self._process.stdin, data)

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
        # remembered for _describe_end: the memory of an ended process cannot be read
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

    def _describe_end(self) -> tuple[str, str]:
        """Why it has ended, and the kind of that."""
        code = self._process.wait()
        if self._was_over_limit:
            return f"its process used more memory than memory_limit={self.limit} bytes", "memory"
        if code == LOST_DEVICE:
            return (
                "its GPU refused all further work after an error, such as an index out of range: the log has it; "
                "CUDA_LAUNCH_BLOCKING=1 in the environment shows where"
            ), "crash"
        if code >= 0:
            return f"its process ended by itself with exit code {code}", "crash"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            return (
                f"its process was ended by {name}, as the system does when memory runs out",
                "memory",
            )
        return f"its process was ended by {name}", "crash"

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream, contextlib.suppress(EOFError, OSError):
            while True:
                self._receive(*read_message(stream))
        self._receive("ended", pickle.dumps(self._describe_end()))
