"""What a driver keeps up to date after every trial is what counting anew would give."""

from __future__ import annotations

import dataclasses
import random

import pytest

from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.report import leaderboard
from actsearch.study.history import History

ENDS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def _proposed(rng: random.Random, number: int) -> TrialRecord:
    state = rng.choice([TrialState.WAITING] * 3 + [TrialState.REJECTED, TrialState.DUPLICATE])
    return TrialRecord(
        number,
        state,
        CandidateRecord({}),
        fingerprint=rng.choice(["", "a", "b", "c"]),
        duplicate_of=0 if state is TrialState.DUPLICATE else None,
    )


def _ended(rng: random.Random, trial: TrialRecord) -> TrialRecord:
    state = rng.choice(ENDS)
    value = None if state is TrialState.FAILED else rng.choice([0.1, 0.2, 0.2, float("inf")])
    return dataclasses.replace(trial, state=state, value=value)


def _known(trials: list[TrialRecord], before: float) -> dict[str, int]:
    known: dict[str, int] = {}
    for trial in trials:
        counts = trial.fingerprint and trial.state is not TrialState.DUPLICATE
        if counts and trial.number < before:
            known.setdefault(trial.fingerprint, trial.number)
    return known


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("seed", range(5))
def test_it_answers_as_if_everything_were_counted_anew(direction: str, seed: int) -> None:
    rng = random.Random(seed)
    numbers = rng.sample(range(30), 25)  # others are enqueued by another process meanwhile
    history, plain = History(direction), dict[int, TrialRecord]()
    for number in numbers:
        trial = _proposed(rng, number)
        for step in (trial, _ended(rng, trial)):
            if step is not trial and not trial.state.is_open:
                continue
            plain[number] = step
            history.put(step)
            trials = [plain[key] for key in sorted(plain)]
            ranked = leaderboard(trials, direction)
            assert list(history) == trials
            assert history.waiting == [trial for trial in trials if trial.state.is_open]
            assert history.trained == sum(trial.state.is_trained for trial in trials)
            assert history.best == (ranked[0] if ranked else None)
            assert history.known() == _known(trials, float("inf"))
            assert history.known(before=12) == _known(trials, 12)
            assert history.first_unknown == min(set(range(31)) - plain.keys())
    assert list(History(direction, plain.values())) == list(history)
