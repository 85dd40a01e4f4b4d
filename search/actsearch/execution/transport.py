"""What a pool asks of the place where its workers run."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from actsearch.evaluation import Subject

__all__ = ["Event", "Loss", "Transport", "Worker"]


@dataclass(frozen=True)
class Loss:
    """Why a worker is there no more.

    Attributes:
        reason: in words, for a trial's reason and the log.
        kind: "crash" if what it trained may be at fault; "memory" if it took too much of it, where fewer trainings in
            one pass would take less; "machine" if it went with its machine, or was ended by somebody else: nothing
            that it trained is to blame.
    """

    reason: str
    kind: Literal["crash", "memory", "machine"] = "crash"


Event = tuple["Worker", str, Any]
"""A worker, the kind of its message, and the content: each message to a worker is answered by one event.

"ready" answers a subject, "done" jobs (with Outcomes), "answer" a question. While jobs train "reached" may come (the
arguments of ``Flow.report``), and those that are given up be sent, which nothing answers. Instead of any of them may
come "refused" (why the subject cannot be built there), "impossible" (why no worker can be started; both in words) or
"lost" (a Loss), after which nothing more comes.
"""


class Worker(Protocol):
    """A process that trains for this one, somewhere. Its pool alone speaks to it.

    Attributes:
        place: the machine it is on; "" while that is not known.
    """

    place: str

    def equip(self, subject: Subject) -> None:
        """Hand it what it trains from now on.

        Raises:
            Exception: it cannot be sent, as pickling has it.
        """

    def send(self, message: Any) -> None:
        """Hand it jobs, or a question; one that is gone says so by its last event."""

    def end(self, *, now: bool) -> None:
        """End it: at once, whatever it does, or, of one that does nothing, in good order."""


class Transport(Protocol):
    """How workers are started. Made with its executor, used by one pool."""

    def open(self, subject: Subject) -> int:
        """Reach the place where workers run, before signals are taken; how many there may be. Again: nothing.

        Args:
            subject: what they will train.

        Raises:
            StudyError: there is none, or it lacks what was asked for.
        """

    def start(self, events: queue.SimpleQueue[Event]) -> Worker:
        """Start one worker, without waiting for it; its messages go to ``events``."""

    def close(self, *, in_fork: bool = False) -> None:
        """Give back what :meth:`open` took; in a fork, leave it to the parent. The workers are ended by then."""
