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

from actsearch.execution.child import OVER_LIMIT, read_message, write_message

__all__ = ["Child", "Event"]

Event = tuple["Child", str, Any]
"""Who says something, which kind of message, and what: ("ended", None) is the last."""

_CODE = "import sys; sys.path[:] = {path!r}; from actsearch.execution.child import main; main({threads}, {limit})"
_END_SECONDS = 5.0


class Child:
    """One process, started afresh: it shares no thread, lock or file with this one.

    Attributes:
        limit: most bytes of memory that it may use, or None.
    """

    def __init__(self, events: queue.SimpleQueue[Event], threads: int, limit: int | None) -> None:
        """Args:
        events: where its messages go.
        threads: that torch may use in it.
        limit: see above.
        """
        self.limit = limit
        self._events = events
        code = _CODE.format(path=sys.path, threads=threads, limit=limit)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
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
        with contextlib.suppress(OSError):
            write_message(self._process.stdin, message)

    def kill(self) -> None:
        """End it at once, whatever it does."""
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

    def _release(self) -> None:
        self._process.wait()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def how_it_ended(self) -> str:
        """In words, after its last event."""
        code = self._process.wait()
        if code == OVER_LIMIT:
            return f"its process used more memory than memory_limit={self.limit} bytes"
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
