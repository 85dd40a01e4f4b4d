"""Ctrl-C and SIGTERM while a study is optimised: once ends it after the running trials, twice now."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from actsearch.execution import Executor

__all__ = ["StopSignals"]

_log = logging.getLogger("actsearch")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_inside: list[StopSignals] = []  # the outermost first

Handler = Callable[[int, FrameType | None], Any] | int


class StopSignals:
    """While inside, the first signal asks to stop, and the second does what it would have done without us.

    When all is stored and given back, the first signal goes on to the handler it had before: a script ends with
    KeyboardInterrupt, or by SIGTERM, as it would without a study. Signals that are ignored, or handled outside of
    Python, are left alone, and in threads other than the main one nothing is touched. A fork handles signals as
    before, and ends by them, but for the first Ctrl-C: a terminal sends it to all its processes, and workers of a
    DataLoader must live for the running trials to end.

    Attributes:
        number: the signal that came; None while there was none.
    """

    def __init__(self, study_name: str, executor: Executor) -> None:
        """Args:
        study_name: for the log.
        executor: is asked to start nothing more.
        """
        self.number: int | None = None
        self._study_name = study_name
        self._executor = executor
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> StopSignals:
        _inside.append(self)
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
        self.restore()
        with contextlib.suppress(ValueError):  # a fork has forgotten it
            _inside.remove(self)

    def pass_on(self) -> None:
        """Outside again: hand the signal that came to the handler it had before."""
        if self.number is not None:
            _deliver(self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self.restore()
            _deliver(number)
            return
        self.number = number
        self._executor.stop()
        with contextlib.suppress(RuntimeError):  # it came in the middle of another message
            _log.warning(
                "study %s: %s, ends when the running trials are stored; once more stops now, "
                "and they are run again later",
                self._study_name, signal.Signals(number).name,
            )  # fmt: skip

    def restore(self) -> None:
        """Give the signals back to the handlers they had before."""
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


class _AtFork(threading.local):
    """Signals wait while a thread forks, so that none reaches a fork that still handles it as its parent does."""

    mask: set[Any] | None = None  # what waited before

    def before(self) -> None:
        if _inside:
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def in_parent(self) -> None:
        if self.mask is not None:
            mask, self.mask = self.mask, None
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child(self) -> None:
        is_running = any(
            signals.number is None and signal.SIGINT in signals._before for signals in _inside
        )
        for signals in reversed(_inside):  # each gives back what it found
            signals.restore()
        _inside.clear()
        if is_running:
            _spare_one_interrupt()
        self.in_parent()


def _spare_one_interrupt() -> None:
    """Let the first Ctrl-C pass."""
    before = signal.getsignal(signal.SIGINT)

    def pass_by(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, pass_by)


if hasattr(os, "register_at_fork"):
    _at_fork = _AtFork()
    os.register_at_fork(
        before=_at_fork.before,
        after_in_parent=_at_fork.in_parent,
        after_in_child=_at_fork.in_child,
    )
