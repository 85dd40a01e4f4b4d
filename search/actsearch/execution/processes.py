"""Trials in child processes, where neither a crash nor one that never ends takes the search with it."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import queue
import re
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch

from actsearch.checks import check_integer, check_number
from actsearch.errors import StudyError
from actsearch.evaluation import LARGEST_STACK, Outcomes, Pruner
from actsearch.execution.children import Child, Event
from actsearch.execution.flow import GivenUp
from actsearch.execution.guard import Guard
from actsearch.execution.local import check_batch
from actsearch.execution.work import Finished, Job, Work
from actsearch.records import Outcome, TrialState

__all__ = ["Processes"]

_log = logging.getLogger("actsearch")

_all = weakref.WeakSet["Processes"]()  # for the hook that runs in a fork

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Processes:
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
        if trial_timeout is not None:
            check_number(
                "trial_timeout (seconds)", trial_timeout, StudyError, above=0, finite=False
            )
        self.count = check_integer("the number of processes", count, StudyError, low=1)
        self.trial_timeout = trial_timeout
        self.memory_limit = _parse_bytes(memory_limit)
        self.batch = check_batch(batch)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._children: list[_Seat] = []
        self._guard: Guard | None = None
        self._work: Work | None = None
        self._stops = False
        self._undecided: dict[int, tuple[Job, Outcome] | None] = {}
        self._largest_stack = LARGEST_STACK
        _all.add(self)

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """All that wait: a free child takes what is next."""
        return max(1, len(jobs))

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train every job and hand out outcomes in the order in which they come.

        Raises:
            StudyError: the objective cannot be sent to another process, or built there.
        """
        self._stops = False
        if not jobs:
            return
        if work.decides_in_order and not work.subject.can_prune_afterwards:
            raise StudyError(
                "a pruner decides on trials in order, and an objective of your own may ask it at any time: "
                "use acs.Local() with it, or a Task"
            )
        self._undecided = {job.number: None for job in jobs}
        self._largest_stack = work.largest_stack
        waiting = collections.deque(self._split_jobs(jobs, work))
        try:
            self._start(work, min(self.count, len(waiting)))
            while True:
                if self._stops:
                    waiting.clear()
                else:
                    self._take_more(waiting, work)
                self._assign(waiting, work)
                self._tell_given_up(work)
                if not any(seat.jobs for seat in self._children):
                    return
                yield from self._wait_for_event(waiting, work)
        except BaseException:
            # also GeneratorExit: a driver that asks no further wants no more trained
            self._kill()
            raise

    def stop(self) -> None:
        """Start no further job of the present run."""
        self._stops = True

    def close(self) -> None:
        """End the children."""
        for seat in self._children:
            seat.child.close()
        self._forget()

    def _kill(self) -> None:
        for seat in self._children:
            seat.child.kill()
        self._forget()

    def _leave_to_parent(self) -> None:
        """In a fork of this process: the children are those of its parent, and end with that one."""
        for seat in self._children:
            seat.child.disconnect()
        if self._guard is not None:
            self._guard.disconnect()
            self._guard = None
        self._forget()

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.close()
        self._children, self._work, self._guard = [], None, None
        # threads of ended children may still write to the old one
        self._events = queue.SimpleQueue()

    def _split_jobs(self, jobs: Sequence[Job], work: Work) -> list[list[Job]]:
        """What is trained in one pass: as many as fit, but no less for one child than for another."""
        most = self.batch or work.batch_for(jobs)
        each = min(most, -(-len(jobs) // self.count))  # divided with rounding up
        return [list(jobs[start : start + each]) for start in range(0, len(jobs), each)]

    def _start(self, work: Work, count: int) -> None:
        if self._work is not work:
            self._work = work
            for seat in self._children:
                self._send(seat, work)
        while len(self._children) < count:
            self._children.append(self._new_seat(work))

    def _new_seat(self, work: Work) -> _Seat:
        threads = max(1, torch.get_num_threads() // self.count)
        self._guard = self._guard or Guard()
        seat = _Seat(Child(self._events, self._guard, threads, self.memory_limit))
        self._send(seat, work)
        return seat

    @staticmethod
    def _send(seat: _Seat, work: Work) -> None:
        seat.is_ready = False
        try:
            seat.child.send(work)
        except Exception as error:
            seat.child.kill()
            raise StudyError(
                f"the objective cannot be sent to another process: {type(error).__name__}: {error}; "
                "make what it needs inside of it, or use acs.Local()"
            ) from error

    def _take_more(self, waiting: collections.deque[list[Job]], work: Work) -> None:
        """Where there is a flow, ask for further jobs if a child would have none."""
        busy = sum(bool(seat.jobs) for seat in self._children)
        if work.flow is None or busy + len(waiting) >= self.count:
            return
        if jobs := work.flow.take():
            waiting.extend(self._split_jobs(jobs, work))
            self._start(work, min(self.count, busy + len(waiting)))

    def _assign(self, waiting: collections.deque[list[Job]], work: Work) -> None:
        for seat in self._children:
            if waiting and not seat.jobs:
                seat.jobs, seat.told = waiting.popleft(), set()
                pruner = None
                if work.decides_in_order:
                    assert work.competition is not None
                    pruner = Pruner(work.competition, tuple(self._undecided))
                seat.child.send((seat.jobs, pruner, self.batch is not None))
                if seat.is_ready:
                    self._start_clock(seat)

    def _start_clock(self, seat: _Seat) -> None:
        if self.trial_timeout is not None and seat.jobs:
            # monotonic: the other clock may be set
            seat.deadline = time.monotonic() + self.trial_timeout * len(seat.jobs)

    def _wait_for_event(
        self, waiting: collections.deque[list[Job]], work: Work
    ) -> Iterator[Finished]:
        """Wait for a child to say something, or for one to have taken too long."""
        now = time.monotonic()
        late = [
            seat for seat in self._children if seat.deadline is not None and seat.deadline <= now
        ]
        for seat in late:
            yield from self._replace(
                seat, f"no result after {self.trial_timeout:g} s (trial_timeout)", waiting, work
            )
        if late:
            return
        deadlines = [seat.deadline for seat in self._children if seat.deadline is not None]
        try:
            wait = max(0.0, min(deadlines) - now) if deadlines else None
            child, kind, content = self._events.get(timeout=wait)
        except queue.Empty:
            return
        sender = next((seat for seat in self._children if seat.child is child), None)
        if sender is None:
            return  # the last words of one that was replaced
        if kind == "done":
            outcomes: Outcomes = content
            done = list(zip(sender.jobs, outcomes, strict=True))
            sender.jobs, sender.deadline = [], None
            yield from self._release_in_order(Finished(done, outcomes.largest_stack), work)
        elif kind == "reached":
            if work.flow is not None:
                work.flow.report(*content)
        elif kind == "ready":
            if child.is_over_limit():
                child.kill()
                raise self._start_error(child.describe_end())
            sender.is_ready = True
            self._start_clock(sender)
        elif kind == "refused":
            raise StudyError(
                f"the objective cannot be built in another process: {content}; "
                "what it needs must be importable there, or use acs.Local()"
            )
        else:
            yield from self._replace(sender, child.describe_end(), waiting, work)

    def _tell_given_up(self, work: Work) -> None:
        """Have children end the trials that the driver has given up since they began."""
        if work.flow is None:
            return
        for seat in self._children:
            numbers = {job.number for job in seat.jobs} - seat.told
            if own := {n: at for n, at in work.flow.given_up.items() if n in numbers}:
                seat.told |= own.keys()
                seat.child.send(GivenUp(own))

    def _replace(
        self, seat: _Seat, why: str, waiting: collections.deque[list[Job]], work: Work
    ) -> Iterator[Finished]:
        """Replace a child. Of several jobs it is not known which was at fault: each is trained alone next."""
        # it never came to train: its successors would fare alike, without end
        if not seat.is_ready and seat.deadline is None:
            raise self._start_error(why)
        jobs, index = seat.jobs, self._children.index(seat)
        seat.child.kill()
        self._children[index] = self._new_seat(work)
        if len(jobs) > 1:
            _log.warning(
                "%d trials in one pass: %s; they are trained one at a time", len(jobs), why
            )
            waiting.extendleft([job] for job in reversed(jobs))
        elif jobs:
            failed = Outcome(TrialState.FAILED, None, reason=why)
            yield from self._release_in_order(Finished([(jobs[0], failed)]), work)

    def _start_error(self, why: str) -> StudyError:
        what = "see what it printed above"
        if "memory_limit" in why:
            what = "torch and the objective's data alone take that much: raise memory_limit"
        return StudyError(f"a child process did not start: {why}; {what}")

    def _release_in_order(self, done: Finished, work: Work) -> Iterator[Finished]:
        """Hand out at once, or, where there is a pruner, when all trials before are there."""
        self._largest_stack = min(self._largest_stack, done.largest_stack)
        if not work.decides_in_order:
            yield done
            return
        self._undecided |= {job.number: (job, outcome) for job, outcome in done.outcomes}
        ready: list[tuple[Job, Outcome]] = []
        for number in sorted(self._undecided):
            ended = self._undecided[number]
            if ended is None:
                break
            del self._undecided[number]
            ready.append((ended[0], work.apply_pruner(*ended)))
        if ready:
            yield Finished(ready, self._largest_stack)

    def __repr__(self) -> str:
        return (
            f"Processes({self.count}, trial_timeout={self.trial_timeout}, "
            f"memory_limit={self.memory_limit}, batch={self.batch})"
        )


@dataclass
class _Seat:
    """A child and what it is at.

    Attributes:
        child: the process.
        jobs: that it trains now.
        deadline: by the monotonic clock, when it has to be done; None while it starts, or where there is none.
        is_ready: whether it has the objective.
    """

    child: Child
    jobs: list[Job] = dataclasses.field(default_factory=list)
    told: set[int] = dataclasses.field(default_factory=set)  # numbers that it knows to be given up
    deadline: float | None = None
    is_ready: bool = False


def _leave_all_to_parent() -> None:
    for processes in list(_all):
        processes._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def _parse_bytes(limit: int | str | None) -> int | None:
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
        raise StudyError(
            f'memory_limit must be bytes or text such as "4GB", not {limit!r}'
        ) from None
    return amount
