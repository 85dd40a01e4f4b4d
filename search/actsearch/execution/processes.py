"""Trials in child processes, where neither a crash nor one that never ends takes the search with it."""

from __future__ import annotations

import logging
import pickle
import queue
import re
from collections.abc import Callable
from typing import Any

import torch

from actsearch.checks import check_integer
from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.execution.child import dump_message
from actsearch.execution.children import Child
from actsearch.execution.guard import Guard
from actsearch.execution.pool import Pool
from actsearch.execution.trainer import Equipment
from actsearch.execution.transport import Event, Loss

__all__ = ["Processes", "parse_bytes"]

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Processes(Pool):
    """In child processes, several at a time; each trains one candidate after the other, or several in one pass.

    A child that hangs is killed after ``trial_timeout`` and one that crashes (a segmentation fault, ``os._exit``, no
    memory left) is replaced: that trial alone fails. Children end with the process that started them. They import no
    script again: what an objective needs of one is sent along, so that no ``if __name__ == "__main__":`` is needed.

    Attributes:
        count: of children.
        trial_timeout: seconds that one trial may take, or None.
        memory_limit: bytes of main memory that one child may use, or None.
        batch: candidates trained in one pass; 1 for one after the other, None and numbers as in :class:`Local`.

    Example:
        >>> executor = acs.Processes(2, trial_timeout=600, memory_limit="4GB")
        >>> executor.count, executor.memory_limit
        (2, 4000000000)
        >>> executor.close()
    """

    def __init__(
        self,
        count: int,
        *,
        trial_timeout: float | None = None,
        memory_limit: int | str | None = None,
        batch: int | None = None,
    ) -> None:
        """Args:
        count: of children; their torch threads together are those of this process.
        trial_timeout: a trial that takes longer fails. In one pass, n trials may take n times as long.
        memory_limit: a trial that needs more fails: bytes, or text such as "4GB". It counts everything in a child,
            some 400 MB for torch alone included.
        batch: see above.

        Raises:
            StudyError: a setting has no meaning.
        """
        count = check_integer("the number of processes", count, StudyError, low=1)
        self.memory_limit = parse_bytes("memory_limit", memory_limit)
        children = _Children(count, self.memory_limit)
        super().__init__(children, count, trial_timeout=trial_timeout, batch=batch)

    def __repr__(self) -> str:
        return (
            f"Processes({self.count}, trial_timeout={self.trial_timeout}, "
            f"memory_limit={self.memory_limit}, batch={self.batch})"
        )


class _Children:
    """Starts children of this process."""

    def __init__(self, count: int, limit: int | None) -> None:
        self._count = count
        self._limit = limit
        self._guard: Guard | None = None
        self._children: set[Child] = set()  # for a fork, which has to let go of them

    def open(self, subject: Subject) -> int:
        return self._count

    def start(self, events: queue.SimpleQueue[Event]) -> _ProcessWorker:
        threads = max(1, torch.get_num_threads() // self._count)
        self._guard = self._guard or Guard()
        worker = _ProcessWorker(events, self._guard, threads, self._limit, self._children.discard)
        self._children.add(worker.child)
        return worker

    def close(self, *, in_fork: bool = False) -> None:
        if in_fork:
            for child in self._children:
                child.disconnect()
        if self._guard is not None:
            self._guard.disconnect() if in_fork else self._guard.close()
        self._children, self._guard = set(), None


class _ProcessWorker:
    """One child, of which messages arrive through a pipe."""

    place = "this machine"

    def __init__(
        self,
        events: queue.SimpleQueue[Event],
        guard: Guard,
        threads: int,
        limit: int | None,
        forget: Callable[[Child], None],
    ) -> None:
        self._events = events
        self._forget = forget
        level = logging.getLogger("actsearch").getEffectiveLevel()
        self.child = Child(self._receive, guard, threads, limit, level)

    def equip(self, subject: Subject) -> None:
        self.child.send(dump_message(Equipment(subject, subject.device_type)))

    def send(self, message: Any) -> None:
        self.child.send(dump_message(message))

    def end(self, *, now: bool) -> None:
        self.child.kill() if now else self.child.close()
        self._forget(self.child)

    def _receive(self, kind: str, data: bytes) -> None:
        """In the thread that listens to the child."""
        content = pickle.loads(data)
        if kind == "log":
            logging.getLogger(content.name).handle(content)
        elif kind == "ready" and self.child.is_over_limit():
            self.child.kill()  # and so it ends, by the limit
        elif kind == "ended":
            self._events.put((self, "lost", Loss(*content)))
        else:
            self._events.put((self, kind, content))


def parse_bytes(name: str, limit: int | str | None) -> int | None:
    """Bytes of "4GB", "512 MiB" or a number.

    Raises:
        StudyError: it says no amount of memory.
    """
    if limit is None:
        return None
    matched = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", str(limit))
    try:
        if matched is None or isinstance(limit, bool):
            raise ValueError
        amount = int(float(matched[1]) * _UNITS[matched[2].upper()])
        if amount < 1:
            raise ValueError
    except (KeyError, ValueError):
        raise StudyError(f'{name} must be bytes or text such as "4GB", not {limit!r}') from None
    return amount
