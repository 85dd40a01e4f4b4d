"""One search or verdict at a time in a process: the global random streams are shared by its threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from actsearch.errors import StudyError
from actsearch.seeds import global_streams

__all__ = ["only_one"]

_ING = {"optimize": "optimizing", "confirm": "confirming"}

_lock = threading.Lock()
_turns: list[_Turn] = []  # the running call, and those that it makes itself


@dataclass(frozen=True, eq=False)
class _Turn:
    study_name: str
    call: Literal["optimize", "confirm"]
    thread: threading.Thread


@contextlib.contextmanager
def only_one(study_name: str, call: Literal["optimize", "confirm"]) -> Iterator[None]:
    """Keep other threads from optimizing and confirming inside; what is called inside by this thread is let in.

    Trainings seed the global streams of torch, random and numpy, and give them back: calls within each other do not
    disturb each other, those of two threads do.

    Raises:
        StudyError: another thread is at it; says with which study.
    """
    turn = _Turn(study_name, call, threading.current_thread())
    with _lock:
        for other in _turns:
            if other.thread is not turn.thread and other.thread.is_alive():
                raise StudyError(
                    f"study {study_name!r} cannot {call} now: another thread of this process is "
                    f"{_ING[other.call]} study {other.study_name!r}, both would draw from the same random streams of "
                    "torch, random and numpy, and their trials would not be those of their seeds; call it afterwards, "
                    "or in a process of its own: another terminal, or Python's subprocess"
                )
        _turns.append(turn)
    try:
        with global_streams.wait_forever():
            yield
    finally:
        with _lock, contextlib.suppress(ValueError):  # a fork has forgotten it
            _turns.remove(turn)


def _start_free() -> None:
    """In a fork, in which no other thread runs."""
    global _lock
    _lock = threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_free)
