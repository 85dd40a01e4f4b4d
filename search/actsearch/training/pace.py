"""What a training tells of itself while it goes on, and how long it may take.

Set for this process by whoever has trainings made, as they pass through much that has nothing to do with it; of two
studies that run in two threads, the later one is told.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from actsearch.training.measures import NonFinite

__all__ = ["OutOfTime", "check_time", "following", "limited", "tell"]

Follow = Callable[[int, int, int], None]

_follow: list[Follow] = []
_deadlines: list[tuple[float, str]] = []


class OutOfTime(NonFinite):
    """A training that takes longer than it may; ends like one whose loss is not finite."""


@contextlib.contextmanager
def following(follow: Follow) -> Iterator[None]:
    """Have evaluations told.

    Args:
        follow: called with how many evaluations are done, of how many, and how many trainings are made together.
    """
    _follow.append(follow)
    try:
        yield
    finally:
        _follow.remove(follow)


def tell(done: int, evaluations: int, together: int = 1) -> None:
    """So many evaluations are done."""
    if _follow:
        _follow[-1](done, evaluations, together)


@contextlib.contextmanager
def limited(seconds: float | None, reason: str) -> Iterator[None]:
    """Let trainings take so many seconds from now on, all of them together.

    Args:
        seconds: how many; None for any number.
        reason: what is said of those that do not come to their end.
    """
    if seconds is None:
        yield
        return
    limit = (time.monotonic() + seconds, reason)
    _deadlines.append(limit)
    try:
        yield
    finally:
        _deadlines.remove(limit)


def check_time() -> None:
    """After each training step.

    Raises:
        OutOfTime: the time is used up.
    """
    if _deadlines and time.monotonic() > _deadlines[-1][0]:
        raise OutOfTime(_deadlines[-1][1])
