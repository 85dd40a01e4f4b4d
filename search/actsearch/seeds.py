"""Deriving seeds: every random stream has a name, and its seed follows from the study's seed and that name.

The global streams of torch, random and numpy are one for all threads of a process: code that seeds and restores
them does so inside of :data:`global_streams`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from types import TracebackType

from actsearch.errors import StudyError

__all__ = ["GlobalStreams", "derive", "global_streams", "seed_list"]

# A training of another thread may hold the streams that long; were it waiting for us in turn, it would never end.
_LONGEST_WAIT = 60.0


def derive(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else (no hash randomisation)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_list(study_seed: int, purpose: str, count: int) -> list[int]:
    """The first ``count`` seeds of a purpose, each below 2**31 so that every library takes them."""
    return [derive(study_seed, purpose, index) % 2**31 for index in range(count)]


class GlobalStreams:
    """A context in which the global random streams belong to one thread; it may be entered again inside.

    Raises:
        StudyError: another thread has kept them for a minute.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._depth = 0
        self._waiting = set[int]()  # threads that wait without end

    @contextlib.contextmanager
    def wait_forever(self) -> Iterator[None]:
        """Inside, this thread waits as long as it takes: no clock may decide what becomes of a trial."""
        thread = threading.get_ident()
        is_outermost = thread not in self._waiting
        self._waiting.add(thread)
        try:
            yield
        finally:
            if is_outermost:
                self._waiting.discard(thread)

    def __enter__(self) -> None:
        timeout = -1 if threading.get_ident() in self._waiting else _LONGEST_WAIT
        if not self._lock.acquire(timeout=timeout):
            raise StudyError(
                f"another thread of this process has used the global random streams of torch, random and numpy for "
                f"{_LONGEST_WAIT:g} s, as a training does: make this call before or after it, or in another process"
            )
        self._owner = threading.get_ident()
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
        self._lock.release()

    def reset_after_fork(self) -> None:
        """In a fork: threads that held them do not run there."""
        if self._owner != threading.get_ident():
            self._lock = threading.RLock()
            self._owner, self._depth = None, 0


global_streams = GlobalStreams()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=global_streams.reset_after_fork)
