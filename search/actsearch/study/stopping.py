"""Ctrl-C and SIGTERM while a study is optimised: once ends it after the running trials, twice now."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol, runtime_checkable

__all__ = ["Stoppable", "StopSignals"]

_log = logging.getLogger("actsearch")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], Any] | int


@runtime_checkable
class Stoppable(Protocol):
    """An executor that can be asked to start nothing more.

    Its ``run`` then answers the jobs that are running and ends; jobs without an answer stay open, and are trained under
    their numbers when the study goes on. Processes that it starts must ignore SIGINT: a terminal sends it to them too.
    """

    def stop(self) -> None:
        """Start no further job of the present ``run``. Called from a signal handler: it may only set a flag."""


class StopSignals:
    """While inside, the first signal asks to stop, and the second does what it would have done without us.

    When all is stored and given back, the first signal goes on to whoever handled it before: a script ends with
    KeyboardInterrupt, or by SIGTERM, as it would without a study. Signals that are ignored, or handled outside of
    Python, are left alone, and in threads other than the main one nothing is touched.

    Attributes:
        number: the signal that came; None while there was none.
    """

    def __init__(self, study_name: str, executor: object) -> None:
        """Args:
        study_name: for the log.
        executor: told to start nothing more, if it is :class:`Stoppable`.
        """
        self.number: int | None = None
        self._study_name = study_name
        self._executor = executor
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before is not None and before is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def pass_on(self) -> None:
        """Outside again: hand the signal that came to whoever handled it before us."""
        if self.number is not None:
            _deliver(self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self._restore()
            _deliver(number)
            return
        self.number = number
        if isinstance(self._executor, Stoppable):
            self._executor.stop()
        with contextlib.suppress(RuntimeError):  # it came in the middle of another message
            _log.warning(
                "study %s: %s, ends when the running trials are stored; once more stops now, "
                "and they are run again later",
                self._study_name, signal.Signals(number).name,
            )  # fmt: skip

    def _restore(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)


def _deliver(number: int) -> None:
    """Do what a signal does with the handlers as they are."""
    handler = signal.getsignal(number)
    if callable(handler):  # directly, so that its exception starts here
        handler(number, None)
    else:
        signal.raise_signal(number)
