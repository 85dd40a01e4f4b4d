"""Trainings of the model unchanged at several learning rates, by the executor of the search."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from actsearch.evaluation import Request
from actsearch.execution import Executor, Job, Work
from actsearch.records import CandidateRecord, Outcome

__all__ = ["RateSweep"]


class RateSweep:
    """Trains what is asked for and is not known yet. Each training is stored as it ends.

    So a search that is killed again and again comes to its first trial as well.
    """

    def __init__(
        self,
        executor: Executor,
        work: Work,
        known: Mapping[tuple[float, int], float | None],
        *,
        store: Callable[[list[list[float | int | None]]], None],
        is_over: Callable[[], bool],
        counts: Callable[[Outcome], bool],
    ) -> None:
        """Args:
        executor: of the search; in processes, a training that crashes is one that diverged.
        work: of the study, for one value and without a pruner.
        known: scores by rate and seed that an interrupted call has stored.
        store: keeps all scores there are, each with its rate and seed.
        is_over: whether nothing more is to be started.
        counts: whether a training ended by itself.
        """
        self._executor = executor
        self._work = work
        self._scores = dict(known)
        self._store = store
        self._is_over = is_over
        self._counts = counts

    def train(self, wanted: Sequence[tuple[float, int]]) -> list[float | None] | None:
        """The score at each rate under each seed, None where it diverged; None if it was stopped."""
        own = CandidateRecord.baseline()
        new = [pair for pair in dict.fromkeys(wanted) if pair not in self._scores]
        rest = [
            Job(number, own, Request(own, (seed,), number, lr=lr, diagnose=False))
            for number, (lr, seed) in enumerate(new)
        ]
        while rest and not self._is_over():
            part = rest[: self._executor.batch_for(rest, self._work)]
            self._run(part, new)
            rest = rest[len(part) :]
        if not all(pair in self._scores for pair in wanted):
            return None
        return [self._scores[pair] for pair in wanted]

    def _run(self, jobs: Sequence[Job], pairs: Sequence[tuple[float, int]]) -> None:
        with contextlib.closing(self._executor.run(jobs, self._work)) as answers:
            for answer in answers:
                for job, outcome in answer.outcomes:
                    if self._counts(outcome):
                        self._scores[pairs[job.number]] = outcome.value
                if answer.outcomes:
                    self._store([[*pair, value] for pair, value in self._scores.items()])
                if self._is_over():
                    self._executor.stop()
