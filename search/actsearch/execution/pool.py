"""Workers that train at the same time, wherever they run: what is no transport is here."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from actsearch.checks import check_number
from actsearch.errors import StudyError
from actsearch.evaluation import Pruner
from actsearch.execution.flow import GivenUp
from actsearch.execution.holding import Held
from actsearch.execution.job_queue import JobQueue
from actsearch.execution.local import check_batch
from actsearch.execution.seats import SAY_SECONDS, Seat, Seats
from actsearch.execution.trainer import Assignment, Question, terms_of
from actsearch.execution.transport import Loss, Transport
from actsearch.execution.work import Finished, Job, Work

__all__ = ["Pool"]

_log = logging.getLogger("actsearch")

_all = weakref.WeakSet["Pool"]()  # for the hook that runs in a fork


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
        self._seats = Seats(transport)
        self._stops = False
        self._most: int | None = None  # jobs in one pass, where that is known
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
            self._seats.start(work.subject, 1)
            asking = self._ask(Question((), terms_of(work)))
            begun = time.monotonic()
            while True:
                next(asking)
                if time.monotonic() - begun > SAY_SECONDS and not any(
                    seat.is_ready for seat in self._seats
                ):
                    return None  # it is not worth waiting for: a search has its own limits
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
            if (
                work.flow is not None and len(jobs) < 2
            ):  # of one it is not known how many fit together
                jobs = [*jobs, *work.flow.take()]
            self._seats.start(work.subject, min(self.count, len(jobs)))
            self._most = yield from self._most_jobs(jobs, work)
            waiting.fill(jobs, self._jobs_each(jobs))
            yield from waiting.release()
            while True:
                if self._stops:
                    waiting.clear()
                else:
                    yield from self._take_more(waiting, work)
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
        self._seats.end(now=False)
        self._transport.close()

    def _kill(self) -> None:
        self._seats.end(now=True)
        if not self._holders:
            self._transport.close()

    def _leave_to_parent(self) -> None:
        """In a fork of this process: the workers are those of its parent, and end with that one."""
        self._transport.close(in_fork=True)
        self._seats.forget()

    # how many in one pass

    def _most_jobs(self, jobs: Sequence[Job], work: Work) -> Generator[Finished, None, int | None]:
        """How many can be trained in one pass; None where that is not known yet."""
        if self.batch is not None:
            return self.batch
        if not work.subject.has_model:
            return 1
        if len(jobs) < 2:
            return None
        return (yield from self._measure_batch(jobs, work))

    def _jobs_each(self, jobs: Sequence[Job]) -> int:
        """How many to train in one pass: as many as fit, but no less for one worker than for another."""
        return min(self._most or 1, -(-len(jobs) // self.count))  # divided with rounding up

    def _take_more(self, waiting: JobQueue, work: Work) -> Generator[Finished]:
        """Where there is a flow, ask for further jobs if a worker would have none."""
        busy = sum(seat.at is not None for seat in self._seats)
        if work.flow is None or busy + len(waiting) >= self.count:
            return
        if jobs := work.flow.take():
            if self._most is None and not busy:  # a worker that is at something could not be asked
                self._most = yield from self._most_jobs(jobs, work)
            waiting.fill(jobs, self._jobs_each(jobs))
            self._seats.start(work.subject, min(self.count, busy + len(waiting)))

    def _measure_batch(
        self, jobs: Sequence[Job], work: Work
    ) -> Generator[Finished, None, int | None]:
        answer = yield from self._ask(Question(tuple(jobs), terms_of(work)))
        if answer is None:
            return None
        batch, gain, threads = answer
        work.subject.note_stack_gain(gain, threads)
        return int(batch)

    def _ask(self, question: Question) -> Generator[Finished, None, Any]:
        """What a worker says; None if it is lost meanwhile, takes longer than trials may, or the run is stopped."""
        asked: Seat | None = None
        while not self._stops:
            ready = [seat for seat in self._seats if seat.is_ready]
            if asked is None and ready:
                asked = ready[0]
                asked.worker.send(question)
                if self.trial_timeout is not None:
                    allowed = self.trial_timeout * max(1, len(question.jobs))
                    asked.deadline = time.monotonic() + allowed
            left = None
            if asked is not None and asked.deadline is not None:
                left = max(0.0, asked.deadline - time.monotonic())
            event = self._seats.next_event(left)
            if event is None and left is not None and asked is not None:
                late = time.monotonic() >= (asked.deadline or 0.0)
                if late and asked in self._seats:
                    self._seats.replace(asked, Loss("trial_timeout"))
                    _log.warning(
                        "what a worker was to measure took longer than trial_timeout allows"
                    )
                    return None
            if event is None:
                yield Finished(())  # whoever drives may look at the clock
                continue
            seat, kind, content = event
            if kind == "answer":
                seat.deadline = None
                return content
            if kind == "lost":
                self._seats.replace(seat, content)
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
            if seat.at is None:
                continue
            numbers = {job.number for job in seat.at.jobs} - seat.told
            if own := {n: at for n, at in work.flow.given_up.items() if n in numbers}:
                seat.told |= own.keys()
                seat.worker.send(GivenUp(own))

    # events

    def _wait(self, waiting: JobQueue, work: Work) -> Iterator[Finished]:
        """Wait for a worker to say something, or for one to have taken too long."""
        event = self._seats.next_event(
            0.0
        )  # what came while the driver was at something else came in time
        if event is None:
            now = time.monotonic()
            deadlines = [seat.deadline for seat in self._seats if seat.deadline is not None]
            late = [
                seat for seat in self._seats if seat.deadline is not None and seat.deadline <= now
            ]
            for seat in late:
                yield from self._give_up(seat, waiting)
            if late:
                return
            event = self._seats.next_event(max(0.0, min(deadlines) - now) if deadlines else None)
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
            self._seats.replace(seat, content)
            if at is not None:
                yield from waiting.lose(at, content, place)

    def _give_up(self, seat: Seat, waiting: JobQueue) -> Iterator[Finished]:
        why = f"no result after {self.trial_timeout:g} s (trial_timeout)"
        at, place = seat.at, seat.worker.place
        self._seats.replace(seat, Loss(why))
        if at is not None and len(at.jobs) > 1:
            yield from waiting.lose(at, Loss(why), place)
        elif at is not None:
            yield from waiting.fail(at, why)


def _leave_all_to_parent() -> None:
    for pool in list(_all):
        pool._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
