"""Jobs that wait for a worker, what becomes of those whose worker was lost, and outcomes in order."""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actsearch.evaluation import Outcomes
from actsearch.execution.transport import Loss
from actsearch.execution.work import Finished, Job, Work
from actsearch.records import Outcome, TrialState

__all__ = ["JobQueue", "Pass"]

_log = logging.getLogger("actsearch")


@dataclass(frozen=True)
class Pass:
    """Jobs that are trained together.

    Attributes:
        jobs: by number.
        crashes: workers that have crashed while they trained them.
        losses: workers that were lost meanwhile through no fault of theirs.
        crashed_at: place of the last that crashed; "" for none.
        is_part: whether it is half of a pass for which memory was too small.
    """

    jobs: tuple[Job, ...]
    crashes: int = 0
    losses: int = 0
    crashed_at: str = ""
    is_part: bool = False


class JobQueue:
    """The jobs of one run. It knows no process: who trains is told by :class:`Pool`.

    Attributes:
        largest_stack: most trainings in one pass that fit into memory, as far as was learned.
    """

    def __init__(self, work: Work, *, crash_retries: int, loss_retries: int) -> None:
        """Args:
        work: how they are trained.
        crash_retries: so often a job whose worker crashes is trained once more.
        loss_retries: so often one whose worker is lost through no fault of it.
        """
        self.largest_stack = work.largest_stack
        self._work = work
        self._crash_retries = crash_retries
        self._loss_retries = loss_retries
        self._waiting: collections.deque[Pass] = collections.deque()
        self._undecided: dict[int, tuple[Job, Outcome] | None] = {}

    @property
    def undecided(self) -> tuple[int, ...]:
        """Numbers of the jobs on which a pruner has not decided yet."""
        return tuple(self._undecided)

    def __len__(self) -> int:
        return len(self._waiting)

    def fill(self, jobs: Sequence[Job], each: int) -> None:
        """Put jobs in, so many to a pass; what is known of them already only waits for a pruner's decision."""
        known = {job.number: (job, job.known) for job in jobs if job.known is not None}
        if not self._work.decides_in_order:
            known = {}
        self._undecided |= {job.number: known.get(job.number) for job in jobs}
        new = [job for job in jobs if job.number not in known]
        parts = (tuple(new[start : start + each]) for start in range(0, len(new), each))
        self._waiting.extend(Pass(part) for part in parts)

    def clear(self) -> None:
        """Begin no more of them."""
        self._waiting.clear()

    def take(self, place: str, others: bool) -> Pass | None:
        """The next for a worker, if there is one: what crashed at its place is rather for another place.

        Args:
            place: of the worker.
            others: whether there are workers elsewhere.
        """
        for index, waiting in enumerate(self._waiting):
            if not (others and waiting.crashed_at and waiting.crashed_at == place):
                del self._waiting[index]
                return waiting
        return None

    def finish(self, done: Pass, outcomes: Outcomes) -> Iterator[Finished]:
        """What can be handed out now that a pass has ended."""
        self.largest_stack = min(self.largest_stack, outcomes.largest_stack)
        if done.is_part and len(done.jobs) > 1:
            self.largest_stack = min(self.largest_stack, self._trainings(done))
        return self._release_in_order(list(zip(done.jobs, outcomes, strict=True)))

    def lose(self, lost: Pass, loss: Loss, place: str) -> Iterator[Finished]:
        """Go on without the worker that trained a pass: it is trained again, in parts, or fails."""
        count, why = len(lost.jobs), loss.reason
        if loss.kind == "machine" and lost.losses < self._loss_retries:
            _log.warning("%s: %s; trained again", _describe(lost), why)
            again = [Pass(lost.jobs, lost.crashes, lost.losses + 1, is_part=lost.is_part)]
        elif count > 1 and loss.kind == "memory":
            _log.warning("%s: %s; they are trained in two halves", _describe(lost), why)
            halves = lost.jobs[: -(-count // 2)], lost.jobs[-(-count // 2) :]
            again = [Pass(half, lost.crashes, is_part=True) for half in halves]
        elif count > 1:
            # it is not known which was at fault
            _log.warning("%s: %s; they are trained one at a time", _describe(lost), why)
            again = [Pass((job,), lost.crashes + 1, crashed_at=place) for job in lost.jobs]
        elif loss.kind != "machine" and lost.crashes < self._crash_retries:
            _log.warning("%s: %s; trained once more, elsewhere if possible", _describe(lost), why)
            again = [Pass(lost.jobs, lost.crashes + 1, crashed_at=place)]
        else:
            return self.fail(lost, why)
        self._waiting.extendleft(reversed(again))
        return iter(())

    def fail(self, failed: Pass, why: str) -> Iterator[Finished]:
        """Give up the job of a pass."""
        (job,) = failed.jobs
        return self._release_in_order([(job, Outcome(TrialState.FAILED, None, reason=why))])

    def _trainings(self, done: Pass) -> int:
        return sum(
            len(job.request.seeds if job.request else self._work.seeds) for job in done.jobs
        )

    def _release_in_order(self, done: list[tuple[Job, Outcome]]) -> Iterator[Finished]:
        """Hand out at once, or, where there is a pruner, when all trials before are there."""
        if not self._work.decides_in_order:
            yield Finished(done, self.largest_stack)
            return
        self._undecided |= {job.number: (job, outcome) for job, outcome in done}
        ready = self._decide()
        decided = {job.number for job, _ in ready}
        held = [(job, outcome) for job, outcome in done if job.number not in decided]
        if ready or held:
            yield Finished(ready, self.largest_stack, held)

    def release(self) -> Iterator[Finished]:
        """Hand out what was known before, as far as all trials before it are there."""
        if self._work.decides_in_order and (ready := self._decide()):
            yield Finished(ready, self.largest_stack)

    def _decide(self) -> list[tuple[Job, Outcome]]:
        """Have the pruner decide on what has ended, up to the first that has not."""
        ready: list[tuple[Job, Outcome]] = []
        for number in sorted(self._undecided):
            ended = self._undecided[number]
            if ended is None:
                break
            del self._undecided[number]
            ready.append((ended[0], self._work.apply_pruner(*ended)))
        return ready


def _describe(lost: Pass) -> str:
    if len(lost.jobs) == 1:
        return f"trial {lost.jobs[0].number}"
    return f"{len(lost.jobs)} trials in one pass"
