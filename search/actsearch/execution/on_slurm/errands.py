"""Commands of Slurm's, one after the other, in a thread of their own: where Slurm hangs, each may take minutes."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["Errands"]


class Errands:
    """A thread that does what it is given, in order; it ends with its process, whatever it is at."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], Any] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._do, daemon=True).start()

    def add(self, errand: Callable[..., Any], *given: Any) -> Future[Any]:
        """Have something done, when what was given before is done; it can be cancelled until then."""
        future: Future[Any] = Future()
        self._waiting.put((future, errand, given))
        return future

    def close(self) -> None:
        """End the thread, after what was given."""
        self._waiting.put(None)

    def _do(self) -> None:
        # what is started here is not in reach of Ctrl-C in a terminal, which the driver's main thread hears
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (next_one := self._waiting.get()) is not None:
            future, errand, given = next_one
            if future.set_running_or_notify_cancel():
                try:
                    result = errand(*given)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
