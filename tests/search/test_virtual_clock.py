"""A clock of V workers that counts epochs: what ends when, and who is pruned, whatever is really trained first."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

import actsearch as acs
from actsearch.halving import Competition
from actsearch.study.virtual_clock import VirtualClock

EPOCHS = 9
TRIALS = 60

Curve = Callable[[int], list[tuple[int, float]]]


def _competition(least: float | None = None) -> Competition:
    pruner = acs.SuccessiveHalving(1, 3, min_correlation=least)
    return Competition(pruner, "maximize", 0, EPOCHS, unit="epoch")


def _curve(number: int) -> list[tuple[int, float]]:
    level = random.Random(number).random()
    return [
        (epoch, level + random.Random(number * 97 + epoch).gauss(0, 0.05)) for epoch in (1, 3, 9)
    ]


def _told(clock: VirtualClock, *numbers: int) -> None:
    """Let trials really end."""
    for number in numbers:
        clock.end(number, is_sound=True)


def _seen(clock: VirtualClock, count: int) -> list[int]:
    return [number for number in range(count) if clock.is_over(number)]


class TestWithoutPruning:
    def test_each_proposal_knows_all_but_those_of_the_other_workers(self) -> None:
        """The lag is V - 1, from the first trial that ends on: ends at one moment come one after the other."""
        clock, added = VirtualClock(3), 0
        known = []
        for _ in range(10):
            assert (idle := clock.advance())
            for _ in range(idle):
                clock.add(added, EPOCHS, since=clock.now)
                known.append(len(_seen(clock, added)))
                _told(clock, added)
                added += 1
        assert known == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

    def test_it_stands_still_where_the_next_end_is_not_known(self) -> None:
        clock = VirtualClock(2)
        for number in range(3):
            clock.add(number, EPOCHS)
        _told(clock, 1, 2)
        assert clock.advance() == 0
        assert _seen(clock, 3) == []
        _told(clock, 0)
        assert clock.advance() == 1
        assert (_seen(clock, 3), clock.now) == ([0, 1], EPOCHS)

    def test_where_nothing_is_proposed_time_passes(self) -> None:
        clock = VirtualClock(2)
        clock.add(0, EPOCHS)
        assert clock.advance() == 1
        assert not clock.let_pass()  # it is not known yet
        _told(clock, 0)
        assert clock.let_pass()
        assert clock.now == EPOCHS
        assert not clock.let_pass()  # there is nothing to wait for

    def test_a_trial_does_not_begin_before_it_was_proposed(self) -> None:
        """As after a strategy had waited: then the clock is the same when it is made anew."""
        clock = VirtualClock(2)
        for number, since in enumerate((0, EPOCHS, EPOCHS)):
            clock.add(number, EPOCHS, since=since)
        _told(clock, 0, 1)
        clock.advance()
        assert (_seen(clock, 3), clock.now) == ([0, 1], 2 * EPOCHS)


def _search(
    workers: int, rng: random.Random, least: float | None, curve: Curve, failing: int = 0
) -> tuple[list[tuple[int, tuple[int, ...]]], dict[int, int]]:
    """What each proposal knew, and who was pruned; trials really go on, and end, in an order of chance."""
    clock = VirtualClock(workers, _competition(least))
    proposals: list[tuple[int, tuple[int, ...]]] = []
    training: dict[int, list[tuple[int, float]]] = {}
    while True:
        while (idle := clock.advance()) and len(proposals) < TRIALS:
            for _ in range(idle):
                number = len(proposals)
                proposals.append((clock.now, tuple(_seen(clock, number))))
                clock.add(number, EPOCHS, since=clock.now)
                training[number] = curve(number)
        if not training:
            return proposals, clock.given_up
        number = rng.choice(list(training))
        if failing and number % failing == 0 and len(training[number]) < 3:
            del training[number]
            clock.end(number, is_sound=False)
        elif number in clock.given_up or not training[number]:
            del training[number]
            clock.end(number, is_sound=number not in clock.given_up)
        else:
            clock.report(number, [training[number].pop(0)])


class TestPruning:
    @pytest.mark.parametrize("least", [None, 0.0, 2.0])
    @pytest.mark.parametrize("failing", [0, 4])
    @pytest.mark.parametrize("workers", [1, 5, 24])
    def test_it_is_the_same_in_whatever_order_trials_really_train(
        self, workers: int, failing: int, least: float | None
    ) -> None:
        least = None if least is None else min(least, 1.0)
        first = _search(workers, random.Random(0), least, _curve, failing)
        assert bool(first[1]) == (least != 1.0)
        for seed in range(1, 12):
            assert _search(workers, random.Random(seed), least, _curve, failing) == first

    def test_many_workers_prune_as_many_as_few(self) -> None:
        pruned = [len(_search(V, random.Random(0), None, _curve)[1]) for V in (1, 4, 16)]
        print(f"pruned of {TRIALS} with 1, 4, 16 workers: {pruned}")
        assert min(pruned) > TRIALS / 2
        assert max(pruned) - min(pruned) <= TRIALS / 20

    def test_one_worker_prunes_as_a_search_does_that_takes_one_trial_after_the_other(self) -> None:
        competition, expected = _competition(0.0), {}
        for number in range(TRIALS):
            tracker = competition.track(number)
            tracker.read(_curve(number))
            competition.enter(tracker)
            if tracker.pruned_at is not None:
                expected[number] = tracker.pruned_at
        assert _search(1, random.Random(0), 0.0, _curve)[1] == expected

    def test_a_decision_needs_no_trial_that_comes_to_the_rung_later(self) -> None:
        clock = VirtualClock(4, _competition())
        for number in range(4):
            clock.add(number, EPOCHS)
        clock.advance()
        clock.report(0, [(1, 0.9)])
        clock.report(2, [(1, 0.8)])
        clock.advance()
        assert not clock.given_up  # what trial 1 comes to decides how many go on
        clock.report(1, [(1, 0.1)])
        clock.advance()
        assert clock.given_up == {1: 1, 2: 1}

    def test_a_pruned_trial_frees_its_worker_before_it_has_really_ended(self) -> None:
        clock = VirtualClock(2, _competition())
        for number in range(2):
            clock.add(number, EPOCHS)
        clock.advance()
        clock.report(0, [(1, 0.9)])
        clock.report(1, [(1, 0.1)])
        assert clock.advance() == 1
        assert (clock.now, clock.is_over(1), clock.is_over(0)) == (1, True, False)
