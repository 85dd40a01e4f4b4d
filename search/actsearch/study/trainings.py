"""The trainings that a verdict rests on, with a grid of learning rates."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from actsearch.errors import StudyError
from actsearch.evaluation import Request, Subject
from actsearch.evaluation.request import Split
from actsearch.evaluation.run import Phase
from actsearch.execution import Executor, Job, Work
from actsearch.records import CandidateRecord, Outcome, Score
from actsearch.study.progress import Progress
from actsearch.study.rate_grid import RateGrid
from actsearch.study.unfinished import Unfinished
from actsearch.training.pace import following

__all__ = ["Stopped", "Trainings", "VerdictTraining"]

_log = logging.getLogger("actsearch")


@dataclass(frozen=True)
class VerdictTraining:
    """One training of a verdict, which has ended and is stored.

    Attributes:
        label: of the activation; "baseline" for the model unchanged.
        seed: of the training.
        lr: learning rate; None where the objective has its own.
        phase: "search" while finalists are chosen, on validation data; "confirm" on test data.
        value: the metric there; None where the training diverged.
        reason: why it has no value; else empty.
        count: trainings of the verdict so far, with this one.

    Example:
        >>> def note(study: acs.Study, training: acs.VerdictTraining) -> None:
        ...     print(training.count, training.label, training.value)
        >>> # study.confirm(task, callbacks=[note])
    """

    label: str
    seed: int
    lr: float | None
    phase: Phase
    value: float | None
    reason: str
    count: int


class Stopped(Exception):
    """A callback asked for the end; what has ended is stored."""


class Trainings:
    """Trains candidates for a verdict, many in one pass where the task allows it.

    Attributes:
        last_reason: why a training failed, the latest; empty if none has.
        count: trainings that have ended so far, those that an interrupted call stored included.
        made: those that this call has made.
    """

    def __init__(
        self,
        subject: Subject,
        grid: RateGrid,
        bar: Progress,
        unfinished: Unfinished,
        *,
        executor: Executor,
        with_rows: bool = True,
        divided: Mapping[int, Subject] = MappingProxyType({}),
        listen: Callable[[VerdictTraining], bool] = lambda training: False,
    ) -> None:
        """Args:
        subject: what is trained.
        grid: learning rates around the one of the search.
        bar: advances with each training.
        unfinished: has those that an interrupted call has made, and is given each new one as it ends.
        executor: where they run.
        with_rows: whether scores without each group of test rows are handed on.
        divided: by seed, the subject with the rows that are trained on and tested under it; the one above by default.
        listen: is told of each that has ended; whether to end with it.
        """
        self._subject = subject
        self._executor = executor
        self._work = Work(subject, seeds=())
        works = {subject: Work(subject, seeds=()) for subject in divided.values()}
        self._divided = {seed: works[subject] for seed, subject in divided.items()}
        self._largest_stack = self._work.largest_stack
        self._listen = listen
        self._grid = grid
        self._bar = bar
        self._unfinished = unfinished
        self._with_rows = with_rows
        self.last_reason = ""
        self.count = 0
        self.made = 0
        # on a GPU what was trained in a stack may have other last bits than alone, and so prove nothing
        self._is_proven = subject.may_use_gpu  # whether a stored training was made once more

    def scores(
        self,
        wanted: Sequence[tuple[int, CandidateRecord, int, int]],
        split: Split,
    ) -> list[Score]:
        """A score for each contender (its position and record), seed and step of the grid.

        On validation data, ``test`` is the validation score. Each is stored with those that were trained in the same
        pass, before the next pass begins.
        """
        requests = {}
        for position, record, seed, step in wanted:
            lr = self._grid.rate(step)
            # diagnostics are of trials: nothing of a confirmation shows them
            request = Request(record, (seed,), split=split, lr=lr, diagnose=False)
            key = self._unfinished.key(request.phase, position, record, seed, step, lr)
            requests[key] = request
        scores = self._take_stored(requests)
        self.count += len(scores)
        rest = {key: request for key, request in requests.items() if key not in scores}
        works = {key: self._work_of(request) for key, request in rest.items()}
        for work in dict.fromkeys(works.values()):
            own = {key: request for key, request in rest.items() if works[key] is work}
            scores |= self._train(own, work)
        self.last_reason = next(
            (scores[key].reason for key in reversed(requests) if scores[key].reason),
            self.last_reason,
        )
        given = [scores[key] for key in requests]
        return given if self._with_rows else [replace(score, without=()) for score in given]

    def _work_of(self, request: Request) -> Work:
        """Whoever tests other rows trains on others as well; the search's data are the same for all."""
        own = self._divided.get(request.seeds[0]) if request.split == "test" else None
        return own or self._work

    def _train(self, rest: dict[str, Request], work: Work) -> dict[str, Score]:
        scores: dict[str, Score] = {}
        while rest:
            work = (
                replace(work, largest_stack=self._largest_stack)
                if work.largest_stack > self._largest_stack
                else work
            )
            keys = list(rest)
            jobs = [Job(place, rest[key].record, rest[key]) for place, key in enumerate(keys)]
            part = jobs[: self._executor.batch_for(jobs, work)]
            # closed also on an exception, whose traceback would keep it, and its processes, alive
            with (
                following(self._bar.follow),
                contextlib.closing(self._executor.run(part, work)) as answers,
            ):
                for answer in answers:
                    self._largest_stack = min(self._largest_stack, answer.largest_stack)
                    ended = {keys[job.number]: outcome for job, outcome in answer.outcomes}
                    scores |= self._store(rest, ended)
            for job in part:
                rest.pop(keys[job.number])
        return scores

    def _store(
        self, requests: Mapping[str, Request], ended: Mapping[str, Outcome]
    ) -> dict[str, Score]:
        """What ended together, in one transaction; then whoever listens is told.

        Raises:
            StudyError: a training was ended from outside; the others are stored.
            Stopped: a listener asked for it.
        """
        scores = {
            key: self._score(requests[key], outcome)
            for key, outcome in ended.items()
            if outcome.evaluations
        }
        if scores:
            self._unfinished.add(scores, {key: _note(requests[key]) for key in scores})
        stops = False
        for key, score in scores.items():
            self.made += 1
            self.count += 1
            label = requests[key].record.label or "baseline"
            self._bar.note(f"{requests[key].phase} {label}"[:40])
            self._bar.advance()
            stops |= self._listen(
                VerdictTraining(
                    label, requests[key].seeds[0], requests[key].lr, requests[key].phase,
                    score.test, score.reason, self.count,
                )
            )  # fmt: skip
        self._refuse_unended(requests, ended)
        if stops:
            raise Stopped
        return scores

    @staticmethod
    def _refuse_unended(requests: Mapping[str, Request], ended: Mapping[str, Outcome]) -> None:
        for key, outcome in ended.items():
            if not outcome.evaluations:
                label, (seed,) = requests[key].record.label or "the baseline", requests[key].seeds
                raise StudyError(
                    f"the training of {label} under seed {seed} did not come to its end: {outcome.reason}. That "
                    "says nothing of the activation, so there is no verdict; trainings that have ended are stored. "
                    "Give it more time or memory, or train with acs.Local()"
                )

    def _take_stored(self, requests: Mapping[str, Request]) -> dict[str, Score]:
        """Results that an interrupted call stored, where the first of them comes out the same again.

        What a task or an objective describes of itself is not its source text: a ``forward`` that was changed since
        would give one verdict from two models.
        """
        scores = {
            key: score for key in requests if (score := self._unfinished.take(key)) is not None
        }
        if not scores or self._is_proven:
            return scores
        key, stored = next(iter(scores.items()))
        now = self._train_once_more(key, requests[key])
        if repr(now) != repr(replace(stored, reason=now.reason)):
            _log.warning(
                "an interrupted confirmation starts over: the training of %s under seed %d, which is stored, "
                "gives another result now; the model, the objective, what they use or the threads were changed",
                requests[key].record.label or "the baseline", requests[key].seeds[0],
            )  # fmt: skip
            self._unfinished.begin_anew()
            scores = {}
        self._is_proven = True
        return scores

    def _train_once_more(self, key: str, request: Request) -> Score:
        """Where the others are trained: with other threads than here it may have other last bits."""
        job = Job(0, request.record, request)
        with contextlib.closing(self._executor.run([job], self._work_of(request))) as answers:
            outcomes = [outcome for answer in answers for _, outcome in answer.outcomes]
        self._refuse_unended({key: request}, {key: outcomes[0]})
        return self._score(request, outcomes[0])

    def _score(self, request: Request, outcome: Outcome) -> Score:
        if outcome.reason:
            _log.info("confirm: %s: %s", request.record.label or "baseline", outcome.reason)
        evaluation = outcome.evaluations[0]
        epochs = evaluation.epochs
        valid = None if evaluation.value is None else self._subject.validation_score(epochs)
        losses = tuple(
            epoch.train_loss if epoch.valid_loss is None else epoch.valid_loss for epoch in epochs
        )
        return Score(
            valid,
            evaluation.value,
            outcome.validation_only,
            losses,
            outcome.reason,
            evaluation.without,
        )


def _note(request: Request) -> dict[str, Any]:
    """What readers are told of a training, see :class:`actsearch.storage.StoredTraining`."""
    return {
        "phase": request.phase,
        "label": request.record.label or "baseline",
        "seed": request.seeds[0],
    }
