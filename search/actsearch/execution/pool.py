"""Workers that train at the same time, wherever they run: what is no transport is here."""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.checks import check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Pruner, Subject
from actsearch.execution.flow import GivenUp
from actsearch.execution.holding import Held
from actsearch.execution.job_queue import JobQueue, Pass
from actsearch.execution.local import check_batch
from actsearch.execution.trainer import Assignment, Question, terms_of
from actsearch.execution.transport import Event, Loss, Transport, Worker
from actsearch.execution.work import Finished, Job, Work

__all__ = ["Pool"]

_log = logging.getLogger("actsearch")

_all = weakref.WeakSet["Pool"]()  # for the hook that runs in a fork

_IDLE_SECONDS = 1.0  # from one look at the clock to the next, while no worker is there
_MOST_FAILED_STARTS = 10  # workers in a row that are lost with their machines before they train
_SAY_SECONDS = 30.0  # that workers are waited for before that is said


class Pool(Held):
    """Executor whose workers a :class:`Transport` starts.

    It queues jobs, sends each worker its next, watches the clock, replaces workers that are lost, lets a pruner decide
    in order, and hands out what ends. The first worker measures what depends on the machine: how long a training takes,
    and how many to train in one pass.

    Attributes:
        count: of workers; of a place that was not reached yet, as far as is known.
        trial_timeout: seconds that one trial may take, or None.
        batch: candidates trained in one pass; 1 for one after the other, None and numbers as in :class:`Local`.
    """

    def __init__(
        self,
        transport: Transport,
        count: int,
        *,
        trial_timeout: float | None,
        batch: int | None,
        crash_retries: int = 0,
        loss_retries: int = 0,
    ) -> None:
        """Args:
        transport: starts workers.
        count: see above.
        trial_timeout: a trial that takes longer fails. In one pass, n trials may take n times as long.
        batch: see above.
        crash_retries: so often a trial whose worker crashes is trained once more.
        loss_retries: so often one whose worker is lost with its machine.

        Raises:
            StudyError: a setting has no meaning.
        """
        if trial_timeout is not None:
            check_number(
                "trial_timeout (seconds)", trial_timeout, StudyError, above=0, finite=False
            )
        self.count = count
        self.trial_timeout = trial_timeout
        self.batch = check_batch(batch)
        self._transport = transport
        self._retries = {"crash_retries": crash_retries, "loss_retries": loss_retries}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._seats: list[_Seat] = []
        self._subject: Subject | None = None
        self._stops = False
        self._failed_starts = 0  # since the last that came to train
        self._alone_since: float | None = None  # without a worker; by the monotonic clock
        self._has_said_alone = False
        _all.add(self)

    def batch_for(self, jobs: Sequence[Job], work: Work) -> int:
        """All that wait: a free worker takes what is next."""
        return max(1, len(jobs))

    def open(self, work: Work) -> None:
        """Reach the place where workers run.

        Raises:
            StudyError: there is none, or it lacks what was asked for; or the work cannot be done elsewhere.
        """
        if work.decides_in_order and not work.subject.can_prune_afterwards:
            raise StudyError(
                "a pruner decides on trials in order, and an objective of your own may ask it at any time: "
                "use acs.Local() with it, or a Task"
            )
        self.count = self._transport.open(work.subject)

    def forecast_seconds(self, work: Work) -> float | None:
        """Seconds of one training of the model unchanged, as a worker measures it; None where that is not known."""
        if not work.subject.has_model:
            return work.subject.forecast_seconds()
        self._stops = False
        try:
            self.open(work)
            self._start(work.subject, 1)
            asking = self._ask(Question((), terms_of(work)))
            while True:
                next(asking)
        except StopIteration as answered:
            return answered.value  # type: ignore[no-any-return]
        except BaseException:
            self._kill()
            raise

    def run(self, jobs: Sequence[Job], work: Work) -> Generator[Finished]:
        """Train every job and hand out outcomes in the order in which they come.

        Raises:
            StudyError: the objective cannot be sent to another process, or built there; or as :meth:`open`.
        """
        self._stops = False
        if not jobs:
            return
        waiting = JobQueue(work, **self._retries)
        try:
            self.open(work)
            self._start(work.subject, min(self.count, len(jobs)))
            most = yield from self._most_jobs(jobs, work)
            waiting.fill(jobs, self._jobs_each(jobs, most))
            yield from waiting.release()
            while True:
                if self._stops:
                    waiting.clear()
                else:
                    self._take_more(waiting, work, most)
                self._assign(waiting, work)
                self._tell_given_up(work)
                if not len(waiting) and not any(seat.at for seat in self._seats):
                    return
                yield from self._wait(waiting, work)
        except BaseException:
            # also GeneratorExit: a driver that asks no further wants no more trained
            self._kill()
            raise

    def stop(self) -> None:
        """Start no further job of the present run."""
        self._stops = True

    def close(self) -> None:
        """End the workers."""
        self._end(now=False)
        self._transport.close()

    def _kill(self) -> None:
        self._end(now=True)
        if not self._holders:
            self._transport.close()

    def _end(self, *, now: bool) -> None:
        for seat in self._seats:
            seat.worker.end(now=now)
        self._forget()

    def _leave_to_parent(self) -> None:
        """In a fork of this process: the workers are those of its parent, and end with that one."""
        self._transport.close(in_fork=True)
        self._forget()

    def _forget(self) -> None:
        self._seats, self._subject = [], None
        self._alone_since, self._has_said_alone = None, False
        # threads of ended workers may still write to the old one
        self._events = queue.SimpleQueue()

    # workers

    def _start(self, subject: Subject, count: int) -> None:
        """Have so many workers that train a subject, or will once they have loaded it."""
        if self._subject is not subject:
            self._subject = subject
            for seat in self._seats:
                self._equip(seat)
        while len(self._seats) < count:
            self._seats.append(self._new_seat())

    def _new_seat(self) -> _Seat:
        seat = _Seat(self._transport.start(self._events))
        self._equip(seat)
        return seat

    def _equip(self, seat: _Seat) -> None:
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

    def _most_jobs(self, jobs: Sequence[Job], work: Work) -> Generator[Finished, None, int]:
        """How many can be trained in one pass."""
        if self.batch is not None:
            return self.batch
        if len(jobs) < 2 or not work.subject.has_model:
            return 1
        return (yield from self._measure_batch(jobs, work))

    def _jobs_each(self, jobs: Sequence[Job], most: int) -> int:
        """How many to train in one pass: as many as fit, but no less for one worker than for another."""
        return min(most, -(-len(jobs) // self.count))  # divided with rounding up

    def _take_more(self, waiting: JobQueue, work: Work, most: int) -> None:
        """Where there is a flow, ask for further jobs if a worker would have none."""
        busy = sum(seat.at is not None for seat in self._seats)
        if work.flow is None or busy + len(waiting) >= self.count:
            return
        if jobs := work.flow.take():
            waiting.fill(jobs, self._jobs_each(jobs, most))
            self._start(work.subject, min(self.count, busy + len(waiting)))

    def _measure_batch(self, jobs: Sequence[Job], work: Work) -> Generator[Finished, None, int]:
        answer = yield from self._ask(Question(tuple(jobs), terms_of(work)))
        if answer is None:
            return 1
        batch, gain, threads = answer
        work.subject.note_stack_gain(gain, threads)
        return int(batch)

    def _ask(self, question: Question) -> Generator[Finished, None, Any]:
        """What a worker says; None if it is lost meanwhile, or the run is stopped."""
        asked: _Seat | None = None
        while not self._stops:
            ready = [seat for seat in self._seats if seat.is_ready]
            if asked is None and ready:
                asked = ready[0]
                asked.worker.send(question)
            event = self._next_event(None)
            if event is None:
                yield Finished(())  # whoever drives may look at the clock
                continue
            seat, kind, content = event
            if kind == "answer":
                return content
            if kind == "lost":
                self._replace(seat, content)
                if seat is asked:
                    _log.warning("while it measured: %s", content.reason)
                    return None
        return None

    def _assign(self, waiting: JobQueue, work: Work) -> None:
        places = {seat.worker.place for seat in self._seats if seat.is_ready}
        for seat in self._seats:
            if not seat.is_ready or seat.at is not None:
                continue
            seat.at, seat.told = waiting.take(seat.worker.place, len(places) > 1), set()
            if seat.at is None:
                continue
            pruner = None
            if work.decides_in_order:
                assert work.competition is not None
                pruner = Pruner(work.competition, waiting.undecided)
            terms = terms_of(dataclasses.replace(work, largest_stack=waiting.largest_stack))
            seat.worker.send(Assignment(seat.at.jobs, terms, pruner, self.batch is not None))
            if self.trial_timeout is not None:
                # monotonic: the other clock may be set
                seat.deadline = time.monotonic() + self.trial_timeout * len(seat.at.jobs)

    def _tell_given_up(self, work: Work) -> None:
        """Have workers end the trials that the driver has given up since they began."""
        if work.flow is None:
            return
        for seat in self._seats:
            if seat.at is None or not seat.worker.hears:
                continue
            numbers = {job.number for job in seat.at.jobs} - seat.told
            if own := {n: at for n, at in work.flow.given_up.items() if n in numbers}:
                seat.told |= own.keys()
                seat.worker.send(GivenUp(own))

    # events

    def _wait(self, waiting: JobQueue, work: Work) -> Iterator[Finished]:
        """Wait for a worker to say something, or for one to have taken too long."""
        now = time.monotonic()
        late = [seat for seat in self._seats if seat.deadline is not None and seat.deadline <= now]
        for seat in late:
            yield from self._give_up(seat, waiting)
        if late:
            return
        deadlines = [seat.deadline for seat in self._seats if seat.deadline is not None]
        event = self._next_event(max(0.0, min(deadlines) - now) if deadlines else None)
        if event is None:
            if not any(seat.is_ready for seat in self._seats):
                yield Finished(())  # whoever drives may look at the clock
            return
        seat, kind, content = event
        at = seat.at
        if kind == "done" and at is not None:
            seat.at = seat.deadline = None
            yield from waiting.finish(at, content)
        elif kind == "reached" and work.flow is not None:
            work.flow.report(*content)
        elif kind == "lost":
            place = seat.worker.place
            self._replace(seat, content)
            if at is not None:
                yield from waiting.lose(at, content, place)

    def _give_up(self, seat: _Seat, waiting: JobQueue) -> Iterator[Finished]:
        why = f"no result after {self.trial_timeout:g} s (trial_timeout)"
        at, place = seat.at, seat.worker.place
        self._replace(seat, Loss(why))
        if at is not None and len(at.jobs) > 1:
            yield from waiting.lose(at, Loss(why), place)
        elif at is not None:
            yield from waiting.fail(at, why)

    def _next_event(self, timeout: float | None) -> tuple[_Seat, str, Any] | None:
        """The next event of a worker that is still there; None if none came in time.

        Raises:
            StudyError: the subject cannot be trained where the workers are.
        """
        is_alone = not any(seat.is_ready for seat in self._seats)
        if is_alone:
            self._say_alone()
            timeout = _IDLE_SECONDS if timeout is None else min(timeout, _IDLE_SECONDS)
        try:
            worker, kind, content = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        seat = next((seat for seat in self._seats if seat.worker is worker), None)
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

    def _be_ready(self, seat: _Seat) -> None:
        seat.is_ready = seat.was_ready = True
        self._failed_starts = 0
        if self._has_said_alone:
            _log.warning("a worker is there: trials go on")
        self._alone_since, self._has_said_alone = None, False

    def _say_alone(self) -> None:
        """Say that no worker is there, once, where that takes long."""
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if not self._has_said_alone and now - self._alone_since > _SAY_SECONDS:
            self._has_said_alone = True
            _log.warning(
                "no worker has been there for %.0f s: trials go on when one is. Ctrl-C ends the call; what has "
                "ended is stored, and the same call goes on from there",
                now - self._alone_since,
            )

    def _replace(self, seat: _Seat, loss: Loss) -> None:
        """Have another worker in the place of one that is lost, or is given up."""
        if not seat.was_ready:
            # it never came to train: its successors would fare alike, without end
            self._failed_starts += 1
            if loss.kind != "machine" or self._failed_starts >= _MOST_FAILED_STARTS:
                raise self._start_error(loss.reason)
        seat.worker.end(now=True)
        self._seats[self._seats.index(seat)] = self._new_seat()

    def _start_error(self, why: str) -> StudyError:
        what = "see what it printed above"
        if "memory_limit" in why:
            what = "torch and the objective's data alone take that much: raise memory_limit"
        return StudyError(f"a worker process did not start: {why}; {what}")


@dataclass
class _Seat:
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


def _leave_all_to_parent() -> None:
    for pool in list(_all):
        pool._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
