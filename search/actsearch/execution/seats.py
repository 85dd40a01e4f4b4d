"""The workers of a pool: started, replaced when they are lost, and listened to."""

from __future__ import annotations

import dataclasses
import logging
import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.execution.job_queue import Pass
from actsearch.execution.transport import Event, Loss, Transport, Worker

__all__ = ["SAY_SECONDS", "Seat", "Seats"]

_log = logging.getLogger("actsearch")

SAY_SECONDS = 30.0
"""That workers are waited for before that is said."""

_IDLE_SECONDS = 1.0  # from one look at the clock to the next, while no worker is there
_MOST_FAILED_STARTS = 10  # workers in a row that are lost with their machines before they train


@dataclass
class Seat:
    """A worker and what it is at.

    Attributes:
        worker: the process.
        at: what it trains now.
        deadline: by the monotonic clock, when it has to be done; None where there is none.
        is_ready: whether it has the objective.
        was_ready: whether it had any.
        told: numbers of the trials that it knows to be given up.
    """

    worker: Worker
    at: Pass | None = None
    deadline: float | None = None
    is_ready: bool = False
    was_ready: bool = False
    told: set[int] = dataclasses.field(default_factory=set)


class Seats:
    """As many workers as were wanted, whoever takes which place."""

    def __init__(self, transport: Transport) -> None:
        """Args:
        transport: starts workers.
        """
        self._transport = transport
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._all: list[Seat] = []
        self._subject: Subject | None = None
        self._failed_starts = 0  # since the last that came to train
        self._alone_since: float | None = None  # without a worker; by the monotonic clock
        self._has_said_alone = False

    def __iter__(self) -> Iterator[Seat]:
        return iter(self._all)

    def end(self, *, now: bool) -> None:
        """End all: at once, or those that do nothing in good order."""
        for seat in self._all:
            seat.worker.end(now=now)
        self.forget()

    def forget(self) -> None:
        """Have none, without ending those that there are."""
        self._all, self._subject = [], None
        self._alone_since, self._has_said_alone = None, False
        # threads of ended workers may still write to the old one
        self._events = queue.SimpleQueue()

    def start(self, subject: Subject, count: int) -> None:
        """Have so many workers that train a subject, or will once they have loaded it."""
        if self._subject is not subject:
            self._subject = subject
            for seat in self._all:
                self._equip(seat)
        while len(self._all) < count:
            self._all.append(self._new_seat())

    def _new_seat(self) -> Seat:
        seat = Seat(self._transport.start(self._events))
        self._equip(seat)
        return seat

    def _equip(self, seat: Seat) -> None:
        assert self._subject is not None
        seat.is_ready = False
        try:
            seat.worker.equip(self._subject)
        except Exception as error:
            seat.worker.end(now=True)
            raise StudyError(
                f"the objective cannot be sent to another process: {type(error).__name__}: {error}; "
                "make what it needs inside of it, or use acs.Local()"
            ) from error

    def next_event(self, timeout: float | None) -> tuple[Seat, str, Any] | None:
        """The next event of a worker that is still there; None if none came in time.

        Raises:
            StudyError: the subject cannot be trained where the workers are.
        """
        is_alone = not any(seat.is_ready for seat in self._all)
        if is_alone:
            self._say_alone()
            timeout = _IDLE_SECONDS if timeout is None else min(timeout, _IDLE_SECONDS)
        try:
            worker, kind, content = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        seat = next((seat for seat in self._all if seat.worker is worker), None)
        if seat is None:
            return None  # the last words of one that was replaced
        if kind == "refused":
            raise StudyError(
                f"the objective cannot be built in another process: {content}; "
                "what it needs must be importable there, or use acs.Local()"
            )
        if kind == "impossible":
            raise StudyError(content)
        if kind == "ready":
            self._be_ready(seat)
        return seat, kind, content

    def _be_ready(self, seat: Seat) -> None:
        seat.is_ready = seat.was_ready = True
        self._failed_starts = 0
        if self._has_said_alone:
            _log.warning("a worker is there: trials go on")
        self._alone_since, self._has_said_alone = None, False

    def _say_alone(self) -> None:
        """Say that no worker is there, once, where that takes long."""
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if not self._has_said_alone and now - self._alone_since > SAY_SECONDS:
            self._has_said_alone = True
            _log.warning(
                "no worker has been there for %.0f s: trials go on when one is. Ctrl-C ends the call; what has "
                "ended is stored, and the same call goes on from there",
                now - self._alone_since,
            )

    def replace(self, seat: Seat, loss: Loss) -> None:
        """Have another worker in the place of one that is lost, or is given up."""
        if not seat.was_ready:
            # it never came to train: its successors would fare alike, without end
            self._failed_starts += 1
            if loss.kind != "machine" or self._failed_starts >= _MOST_FAILED_STARTS:
                raise self._start_error(loss.reason)
        seat.worker.end(now=True)
        self._all[self._all.index(seat)] = self._new_seat()

    def _start_error(self, why: str) -> StudyError:
        what = "see what it printed above"
        if "memory_limit" in why:
            what = "torch and the objective's data alone take that much: raise memory_limit"
        return StudyError(f"a worker process did not start: {why}; {what}")
