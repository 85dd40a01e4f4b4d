"""The trainings that a verdict rests on, with a grid of learning rates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from actsearch.evaluation import LARGEST_STACK, Request, Subject
from actsearch.evaluation.request import Split
from actsearch.records import CandidateRecord, Outcome, Score
from actsearch.study.progress import Progress
from actsearch.study.rate_grid import RateGrid
from actsearch.study.unfinished import Unfinished

__all__ = ["Trainings"]

_log = logging.getLogger("actsearch")


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
        with_rows: bool = True,
    ) -> None:
        """Args:
        subject: what is trained.
        grid: learning rates around the one of the search.
        bar: advances with each training.
        unfinished: has those that an interrupted call has made, and is given each new one as it ends.
        with_rows: whether scores without each group of test rows are handed on.
        """
        self._subject = subject
        self._largest_stack = LARGEST_STACK
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
        rest = [key for key in requests if key not in scores]
        while rest:
            asked = [requests[key] for key in rest]
            part = asked[: self._subject.batch_for(asked, self._largest_stack)]
            outcomes = self._subject.train(part, largest_stack=self._largest_stack)
            self._largest_stack = outcomes.largest_stack
            ended = {
                key: self._score(request, outcome)
                for key, request, outcome in zip(rest, part, outcomes, strict=False)
            }
            self._unfinished.add(ended)
            scores |= ended
            rest = rest[len(part) :]
            self.made += len(part)
            self.count += len(part)
            self._advance(part)
        self.last_reason = next(
            (scores[key].reason for key in reversed(requests) if scores[key].reason),
            self.last_reason,
        )
        given = [scores[key] for key in requests]
        return given if self._with_rows else [replace(score, without=()) for score in given]

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
        now = self._score(requests[key], self._subject.train([requests[key]])[0])
        if repr(now) != repr(replace(stored, reason=now.reason)):
            _log.warning(
                "an interrupted confirmation starts over: the training of %s under seed %d, which is stored, "
                "gives another result now; the model, the objective or what they use was changed",
                requests[key].record.label or "the baseline", requests[key].seeds[0],
            )  # fmt: skip
            self._unfinished.begin_anew()
            scores = {}
        self._is_proven = True
        return scores

    def _advance(self, part: Sequence[Request]) -> None:
        for request in part:
            self._bar.note(f"{request.phase} {request.record.label or 'baseline'}"[:40])
            self._bar.advance()

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
