"""Progress on standard error, when asked for; in a notebook, which shows that like an error, on standard output."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from actsearch.records import TrialRecord

__all__ = ["Progress", "announce"]

_log = logging.getLogger("actsearch")

_INTERVAL = 0.5  # seconds: of tiny tasks, tens of trials end in one

_shown = weakref.WeakSet["Progress"]()


class _Bar(tqdm):  # type: ignore[misc]
    """With a lock of this process alone.

    tqdm's own is shared with forks: one that is killed while it holds the lock stops all others for good.
    """

    monitor_interval = 0  # no thread that draws what is late: every update looks at the clock


_Bar.set_lock(threading.RLock())


class Progress:
    """A bar over trainings that shows the best so far."""

    def __init__(
        self, title: str, total: int | None, shown: bool, unit: str = "trial", done: int = 0
    ) -> None:
        self._bar = _Bar(
            desc=title,
            total=total,
            initial=done,
            unit=unit,
            disable=not shown,
            file=_stream(),
            dynamic_ncols=True,
            mininterval=_INTERVAL,
            miniters=1,
        )
        self._said = ""
        self._last = time.monotonic()
        _shown.add(self)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, trial: TrialRecord | None = None, best: TrialRecord | None = None) -> None:
        """One more is done."""
        if best is not None and best.value is not None:
            label = best.candidate.label
            label = label if len(label) <= 28 else label[:27] + "…"  # the bar is one line
            self._said = f"best {best.value:.4f} {label}"
        self._bar.set_postfix_str(self._said, refresh=False)
        if self._bar.total is not None and self._bar.n >= self._bar.total:
            self._bar.total = self._bar.n + 1  # the number was a forecast
        self._bar.update()

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return not self._bar.disable

    def follow(self, done: int, evaluations: int, together: int) -> None:
        """So much is done of what trains now, which may be long: a training, or many in one pass."""
        if time.monotonic() - self._last < _INTERVAL or self._bar.disable:
            return
        self._last = time.monotonic()
        what = f"{together} in training" if together > 1 else "training"
        said = [self._said] * bool(self._said) + [f"{what}: {done / evaluations:.0%}"]
        self._bar.set_postfix_str(", ".join(said))

    def expect(self, more: int) -> None:
        """So many are still to come."""
        self._bar.total = self._bar.n + more
        self._bar.refresh()

    def clear(self) -> None:
        """Leave the line to a message; the bar is drawn again when something is done."""
        self._bar.clear()

    def note(self, text: str) -> None:
        """Say what is being done now."""
        self._said = text
        self._bar.set_postfix_str(text, refresh=False)

    def abandon(self) -> None:
        """Show nothing more: the bar is the parent's."""
        self._bar.disable = True


def _abandon_all() -> None:
    _Bar.set_lock(threading.RLock())  # a thread of the parent may have held the old one
    for progress in list(_shown):
        progress.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def announce(text: str, shown: bool) -> None:
    """Say a line in the log, or, where nobody reads that, on standard error between the bars.

    Args:
        text: the line.
        shown: whether progress is shown at all.
    """
    if _log.isEnabledFor(logging.INFO):
        _log.info("%s", text)
    elif shown:
        _Bar.write(text, file=_stream())


def _stream() -> TextIO:
    """Where progress goes."""
    is_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    return sys.stdout if is_notebook else sys.stderr
