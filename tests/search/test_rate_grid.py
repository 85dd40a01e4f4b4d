"""Which learning rates a verdict tries: outwards while an edge wins and over plateaus, and not without end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from actsearch.evaluation.request import Outcomes, Request
from actsearch.evaluation.subject import Subject
from actsearch.execution import Local
from actsearch.records import (
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    TrialState,
)
from actsearch.report import PairedTest
from actsearch.study.progress import Progress
from actsearch.study.race import Race, Runner
from actsearch.study.rate_grid import RateGrid
from actsearch.study.trainings import Trainings

RECORD = CandidateRecord({})
LR = 0.01


class Fake(Subject):
    """A subject whose score depends on the learning rate alone."""

    learning_rate = LR
    device_type = "cpu"

    def __init__(self, score: Callable[[float], float | None]) -> None:
        self.score = score
        self.tried: list[float] = []

    def train(self, requests: Sequence[Request], *more: Any, **others: Any) -> Outcomes:
        return Outcomes(self._outcome(request.lr or 0.0) for request in requests)

    def _outcome(self, lr: float) -> Outcome:
        self.tried.append(lr)
        value = self.score(lr)
        state = TrialState.FAILED if value is None else TrialState.COMPLETE
        epochs = (EpochRecord(1, valid_metric=value),)
        return Outcome(state, value, evaluations=(EvaluationRecord(0, value, epochs=epochs),))

    def describe(self) -> dict[str, Any]:
        return {}

    def test_id(self, study_id: int) -> str:
        return ""


class Nothing:
    """The stored trainings of a confirmation that was not interrupted."""

    def key(self, *parts: Any) -> str:
        return repr(parts)

    def take(self, key: str) -> None:
        return None

    def add(self, *training: Any) -> None:
        return None


def tune(score: Callable[[float], float | None], sign: int = 1) -> tuple[Runner, int, list[int]]:
    """The baseline under one seed, its best step, and the steps that were tried: the rate is ``LR * 3**step``."""
    subject = Fake(score)
    nothing: Any = Nothing()
    trainings = Trainings(
        subject, RateGrid(LR, sign), Progress("test", None, False), nothing, executor=Local()
    )
    test = PairedTest(1, "maximize" if sign > 0 else "minimize", (1,))
    grid = RateGrid(LR, sign)
    (runner,) = Race(trainings, grid, [RECORD], [0], test, [False]).run()
    assert trainings.count == len(subject.tried)
    tried = sorted(round(math.log(lr / LR, 3)) for lr in subject.tried)
    return runner, runner.choose(grid)[0], tried


def test_three_rates_where_the_given_one_is_best() -> None:
    runner, best, tried = tune(lambda lr: -abs(math.log(lr / LR)))
    assert tried == [-1, 0, 1]
    assert best == 0


@pytest.mark.parametrize("best", [-4, 3, 5])
def test_the_grid_follows_the_rate_that_wins_and_one_step_beyond(best: int) -> None:
    runner, found, tried = tune(lambda lr: -abs(math.log(lr / LR, 3) - best))
    assert found == best
    assert not runner.is_at_end(RateGrid(LR, 1))
    assert tried == list(range(min(-1, best - 1), max(1, best + 1) + 1))


@pytest.mark.parametrize(("sign", "direction"), [(1, 1), (-1, 1), (1, -1)])
def test_a_grid_that_ends_at_its_best_says_so(sign: int, direction: int) -> None:
    runner, best, tried = tune(lambda lr: sign * direction * math.log(lr), sign)
    assert runner.is_at_end(RateGrid(LR, sign))
    assert best == direction * 6
    assert len(tried) == 8


def test_what_lies_beyond_a_plateau_is_found() -> None:
    """Accuracies of a model that learns nothing at small rates are all alike."""
    runner, best, _ = tune(lambda lr: 0.9 if lr > 0.2 else 0.1)
    assert runner.runs[0][best].valid == 0.9


def test_a_plateau_without_end_is_left_and_the_given_rate_is_kept() -> None:
    runner, best, tried = tune(lambda lr: 0.1)
    assert tried == list(range(-3, 4))
    assert best == 0
    assert not runner.is_at_end(RateGrid(LR, 1))


@pytest.mark.parametrize(("sign", "perfect"), [(1, 1.0), (-1, 0.0)])
def test_beyond_what_is_perfect_nothing_is_tried(sign: int, perfect: float) -> None:
    assert tune(lambda lr: perfect, sign)[2] == [-1, 0, 1]


def test_what_diverges_ends_the_grid() -> None:
    runner, best, tried = tune(lambda lr: None if lr > 0.05 else math.log(lr))
    assert tried == [-1, 0, 1, 2]
    assert best == 1
    assert not runner.is_at_end(RateGrid(LR, 1))


def test_where_all_diverge_the_grid_goes_down() -> None:
    runner, best, tried = tune(lambda lr: None if lr > 1e-3 else math.log(lr))
    assert tried == [-4, -3, -2, -1, 0, 1]
    assert best == -3
    assert tune(lambda lr: None)[2] == list(range(-6, 2))
