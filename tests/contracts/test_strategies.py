"""What every strategy promises. A new one is one more line in ``STRATEGIES``, and these tests run on it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import random
from typing import Any, Literal

import numpy as np
import pytest
import torch

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe
from actsearch.expression import parse
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.screening import fingerprint
from actsearch.strategies import (
    STRATEGIES,
    Context,
    Earlier,
    Feature,
    Space,
    Strategy,
    make_strategy,
    refuse_unsupported,
)

Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = ("maximize", "minimize")

SPACES = {
    "default": Space(),
    "all": Space(activations="all", operators="all"),
    "one activation": Space(activations=["relu"]),
    "few": Space(activations=["leaky_relu", "sin", "tanh"], operators=["add", "mul", "tanh"]),
    "small": Space(max_size=5, max_depth=3),
    "fixed": Space(learned=False),
    "fixed, all": Space(activations="all", operators="all", learned=False),
    "smallest": Space(activations=["tanh"], operators=["exp"], max_size=3, max_depth=2),
}
FORMULAS = (
    "x * tanh(x)",
    "max(x, sin(x))",
    "x * sigmoid(param(1.0) * x)",
    "x + gauss(x)",
    "atan(x) * 2.0",
    'x - param(0.25, per="channel") * tanh(x)',
)


def _trial(number: int, state: TrialState, value: float | None, kind: int) -> TrialRecord:
    """One past trial; ``kind`` walks through catalog rows and formulas."""
    names = CATALOG.names(tier="recommended")
    if kind % 3 == 2:
        record = describe(FORMULAS[kind % len(FORMULAS)])
        if kind >= len(FORMULAS) * 3:
            record = describe(f"{record.formula} * {1 + kind / 100}")
    else:
        name = names[kind % len(names)]
        record = describe(name)
        for setting in CATALOG[name].hyperparameters:
            if not setting.choices and math.isfinite(setting.high):
                value_inside = setting.low + (setting.high - setting.low) * (kind % 97 + 1) / 99
                record = describe(name, **{setting.name: value_inside})
    return TrialRecord(
        number,
        state,
        CandidateRecord.shared(record, "test"),
        value,
        0.01 if state is TrialState.COMPLETE else None,
        fingerprint=fingerprint(record),
        duplicate_of=0 if state is TrialState.DUPLICATE else None,
    )


def _pending(number: int, candidate: CandidateRecord) -> TrialRecord:
    """A trial in training, as a strategy sees it."""
    identity = "shape" if candidate.learns_shape else fingerprint(candidate.activations["*"])
    return TrialRecord(number, TrialState.WAITING, candidate, fingerprint=identity)


@functools.cache
def _mixed(count: int, sign: float = 1.0) -> list[TrialRecord]:
    """A history with every state in which a trial can end, and values of both signs; only to be read."""
    ends = [TrialState.COMPLETE] * 5 + [
        TrialState.FAILED,
        TrialState.REJECTED,
        TrialState.DUPLICATE,
        TrialState.PRUNED,
    ]
    history = []
    for number in range(count):
        state = ends[number % len(ends)]
        has_value = state in (TrialState.COMPLETE, TrialState.PRUNED)
        value = sign * math.sin(number * 1.7) * 10 if has_value else None
        history.append(_trial(number, state, value, number))
    return history


def _all(state: TrialState, count: int = 30, value: float | None = None) -> list[TrialRecord]:
    return [_trial(number, state, value, number) for number in range(count)]


HISTORIES = {
    "none": [],
    "one complete": [_trial(0, TrialState.COMPLETE, 0.5, 0)],
    "one enqueued formula": [_trial(0, TrialState.COMPLETE, 0.5, 2)],
    "mixed": _mixed(45),
    "mixed, other sign": _mixed(45, -1.0),
    "all failed": _all(TrialState.FAILED),
    "all refused": _all(TrialState.REJECTED),
    "all pruned without a value": _all(TrialState.PRUNED),
    "all equal": _all(TrialState.COMPLETE, value=-3.0),
    "huge values": _all(TrialState.COMPLETE, value=-1e300),
}


def _context(
    space: Space | None = None, seed: int = 0, direction: Direction = "maximize"
) -> Context:
    return Context(space or Space(), seed, direction)


def _global_state() -> tuple[Any, ...]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is what is watched
    return (
        random.getstate(),
        json.dumps([str(part) for part in numpy_state]),
        torch.get_rng_state().tolist(),
    )


_TAKE_LONG = (("smallest", "mixed"), ("few", "none"))


@pytest.mark.parametrize("name", list(STRATEGIES))
class TestEveryStrategy:
    def _propose(
        self, name: str, history: list[TrialRecord], context: Context
    ) -> list[CandidateRecord]:
        strategy = make_strategy(name)
        return strategy.propose(history, strategy.batch_size(history, context), context)

    @pytest.mark.parametrize(
        ("space", "history"),
        [
            # where there is little that is new, looking for it takes long
            pytest.param(*case, marks=pytest.mark.slow if case in _TAKE_LONG else ())
            for case in itertools.product(SPACES, ("none", "mixed"))
        ],
    )
    def test_proposals_lie_in_the_space(self, name: str, space: str, history: str) -> None:
        allowed = SPACES[space]
        proposals = self._propose(name, HISTORIES[history], _context(allowed))
        for candidate in proposals:
            item = candidate.single
            assert item is not None
            if item.name is not None:
                if (
                    candidate.learns_shape
                ):  # where a pass begins; what it learns is named within the space
                    continue
                assert item.name in allowed.activation_names
                assert allowed.learned or not CATALOG[item.name].learned
                bound = CATALOG[item.name].bind(dict(item.hyperparameters))
                assert bound == dict(item.hyperparameters)
            else:
                tree = parse(item.formula)
                assert tree.operators <= set(allowed.operator_names)
                assert allowed.learned or not tree.parameters
                assert tree.size <= allowed.max_size
                assert tree.depth <= allowed.max_depth

    @pytest.mark.parametrize("history", ["none", "mixed"])
    def test_output_activations_are_never_proposed(self, name: str, history: str) -> None:
        proposals = self._propose(name, HISTORIES[history], _context(SPACES["all"]))
        outputs = set(CATALOG.names(role="output"))
        assert outputs
        assert not outputs & {item.activations["*"].name for item in proposals}

    @pytest.mark.parametrize("n", [1, 2, 5])
    @pytest.mark.parametrize("history", ["none", "mixed"])
    def test_as_many_as_asked_for_are_proposed(self, name: str, n: int, history: str) -> None:
        strategy, context = make_strategy(name), _context()
        wanted = (
            min(n, strategy.batch_size(HISTORIES[history], context))
            if strategy.learns_shapes
            else n
        )
        assert len(strategy.propose(HISTORIES[history], n, context)) == wanted

    @pytest.mark.parametrize("history", list(HISTORIES))
    def test_a_whole_logical_batch_is_proposed(self, name: str, history: str) -> None:
        strategy, context = make_strategy(name), _context()
        size = strategy.batch_size(HISTORIES[history], context)
        assert size >= 1
        assert len(strategy.propose(HISTORIES[history], size, context)) == size

    @pytest.mark.parametrize("direction", DIRECTIONS)
    @pytest.mark.parametrize("history", list(HISTORIES))
    def test_any_history_gives_proposals_that_can_be_built(
        self, name: str, history: str, direction: Direction
    ) -> None:
        proposals = self._propose(name, HISTORIES[history], _context(direction=direction))
        assert proposals
        for candidate in proposals:
            # a pass of shape learning has no activation of its own, but one that it begins with
            module = acs.activation(describe(candidate.activations["*"]), channels=1)
            assert module(torch.zeros(2, 1)).shape == (2, 1)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
    @pytest.mark.parametrize("share", [2, 1])
    def test_values_that_are_not_finite_end_no_search(
        self, name: str, direction: Direction, value: float, share: int
    ) -> None:
        history = [
            dataclasses.replace(trial, value=value)
            if trial.value is not None and trial.number % share == 0
            else trial
            for trial in _mixed(45)
        ]
        for seed in range(3):
            assert self._propose(name, history, _context(seed=seed, direction=direction))

    @pytest.mark.parametrize("history", ["none", "mixed", "all failed"])
    def test_a_fresh_instance_proposes_the_same(self, name: str, history: str) -> None:
        context = _context(seed=7)
        first = self._propose(name, HISTORIES[history], context)
        copies = [dataclasses.replace(trial) for trial in HISTORIES[history]]
        assert self._propose(name, copies, context) == first

    def test_nothing_is_kept_between_calls(self, name: str) -> None:
        strategy, context = make_strategy(name), _context()
        history = _mixed(45)
        first = strategy.propose(history, 6, context)
        strategy.propose(_mixed(20, -1.0), 8, _context(SPACES["all"], 3, "minimize"))
        assert strategy.propose(history, 6, context) == first
        assert strategy == make_strategy(name)

    def test_the_history_is_only_read(self, name: str) -> None:
        history = _mixed(30)
        self._propose(name, history, _context())
        assert history == _mixed(30)

    def test_another_study_seed_or_a_longer_history_draws_anew(self, name: str) -> None:
        if STRATEGIES[name]().learns_shapes:
            return  # its draws are those of a pass, which depend on the seed and its number: test_shape_learning
        start = self._propose(name, [], _context())
        history = [
            TrialRecord(number, TrialState.COMPLETE, candidate, math.sin(number), 0.01)
            for number, candidate in enumerate(start)
        ]
        longer = [*history, _trial(len(history), TrialState.COMPLETE, 0.0, 2)]
        first = self._propose(name, history, _context(seed=0))
        assert self._propose(name, history, _context(seed=1)) != first
        assert self._propose(name, longer, _context(seed=0)) != first

    @pytest.mark.parametrize("history", ["none", "mixed"])
    def test_global_random_state_is_neither_used_nor_changed(
        self, name: str, history: str
    ) -> None:
        random.seed(1)
        torch.manual_seed(1)
        before = _global_state()
        first = self._propose(name, HISTORIES[history], _context())
        assert _global_state() == before
        random.seed(2)
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        assert self._propose(name, HISTORIES[history], _context()) == first

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_a_long_history_is_fine(self, name: str, direction: Direction) -> None:
        history = _mixed(400)
        assert self._propose(name, history, _context(direction=direction))

    @pytest.mark.parametrize("direction", DIRECTIONS)
    @pytest.mark.parametrize("history", ["none", "one complete", "mixed", "all failed"])
    def test_with_trials_in_training_it_proposes_something_else(
        self, name: str, history: str, direction: Direction
    ) -> None:
        """One at a time, as for workers of a virtual clock; what follows from them in steps waits for them."""
        strategy, context = STRATEGIES[name](parallel=8), _context(direction=direction)
        known = list(HISTORIES[history])
        for _ in range(4):
            made = strategy.propose(known, 1, context)
            if strategy.proposes_in_steps and any(trial.state.is_open for trial in known):
                assert made == []
                return
            assert made == STRATEGIES[name](parallel=8).propose(list(known), 1, context)
            for candidate in made:
                ended = {trial.number for trial in known if not trial.state.is_open}
                assert set(candidate.parents) <= ended
                known.append(_pending(len(known), candidate))
        waiting = [trial.fingerprint for trial in known if trial.state.is_open]
        if name != "random":
            assert len(set(waiting)) == 4

    def test_values_of_what_is_in_training_are_not_asked_for(self, name: str) -> None:
        """Nor does it matter that the trials in training are many, or all there are."""
        strategy, context = STRATEGIES[name](parallel=64), _context()
        for history in ([], _mixed(45)):
            waiting = [
                _pending(
                    len(history) + place,
                    _trial(0, TrialState.WAITING, None, 100 + place).candidate,
                )
                for place in range(40)
            ]
            made = strategy.propose([*history, *waiting], 2, context)
            assert len(made) == (0 if strategy.proposes_in_steps else 2)

    def test_one_at_a_time_it_proposes_more_than_one_kind(self, name: str) -> None:
        strategy, context = STRATEGIES[name](parallel=1), _context()
        if strategy.proposes_in_steps:
            return
        operations = {
            strategy.propose(_mixed(count), 1, context)[0].operation for count in range(45, 81, 3)
        }
        assert len(operations) > (0 if name == "bayesian" else 1)

    def test_a_description_is_json_and_makes_the_same_strategy(self, name: str) -> None:
        strategy = make_strategy(name)
        described = strategy.describe()
        assert described["name"] == name == strategy.name
        read = json.loads(json.dumps(described, allow_nan=False))
        assert make_strategy(read) == strategy
        parallel = STRATEGIES[name](parallel=3)
        assert make_strategy(json.loads(json.dumps(parallel.describe()))) == parallel
        assert type(make_strategy(read)) is STRATEGIES[name]

    def test_every_proposal_says_how_it_was_made(self, name: str) -> None:
        for history in (HISTORIES["none"], HISTORIES["mixed"]):
            numbers = {trial.number for trial in history}
            for candidate in self._propose(name, history, _context()):
                assert candidate.operation
                assert set(candidate.parents) <= numbers

    def test_settings_cannot_be_changed_afterwards(self, name: str) -> None:
        strategy = make_strategy(name)
        for field in dataclasses.fields(strategy):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(strategy, field.name, 1)

    def test_unknown_settings_are_refused(self, name: str) -> None:
        with pytest.raises(acs.SpaceError, match=name):
            make_strategy({"name": name, "settings": {"no_such_setting": 1}})


TWO = ("maximize", "minimize")


def _with_two(history: list[TrialRecord], scale: float = 3.0) -> list[TrialRecord]:
    """A history with a second value in every trial that has a first."""
    return [
        dataclasses.replace(trial, values=(trial.value, scale * math.cos(trial.number)))
        if trial.value is not None
        else trial
        for trial in history
    ]


def _after_the_first_batch(name: str, sign: float = 1.0) -> list[TrialRecord]:
    """Every first proposal trained: equal in the first objective, different in the second."""
    strategy = make_strategy(name)
    start = strategy.propose([], strategy.batch_size([], _two()), _two())
    return [
        TrialRecord(n, TrialState.COMPLETE, made, 1.0, values=(1.0, sign * math.cos(n)))
        for n, made in enumerate(start)
    ]


def _two(seed: int = 0, space: Space | None = None) -> Context:
    return Context(space or Space(), seed, "maximize", directions=TWO)


@pytest.mark.parametrize(
    "name", [name for name, kind in STRATEGIES.items() if Feature.OBJECTIVES in kind.supports]
)
class TestTwoObjectives:
    @pytest.mark.parametrize("history", list(HISTORIES))
    def test_any_history_gives_a_whole_batch(self, name: str, history: str) -> None:
        strategy, context = make_strategy(name), _two()
        given = _with_two(HISTORIES[history])
        size = strategy.batch_size(given, context)
        proposals = strategy.propose(given, size, context)
        assert len(proposals) == size
        for candidate in proposals:
            acs.Candidate(candidate).module(channels=1)

    @pytest.mark.parametrize("scale", [1e300, 1e-300, 0.0])
    def test_values_of_any_size(self, name: str, scale: float) -> None:
        strategy, given = make_strategy(name), _with_two(_mixed(45), scale)
        assert strategy.propose(given, 4, _two())

    def test_a_fresh_instance_proposes_the_same_and_another_seed_does_not(self, name: str) -> None:
        given = _after_the_first_batch(name)
        first = make_strategy(name).propose(given, 8, _two())
        random.seed(5)
        assert make_strategy(name).propose(_after_the_first_batch(name), 8, _two()) == first
        assert make_strategy(name).propose(given, 8, _two(seed=1)) != first
        assert given == _after_the_first_batch(name)

    def test_a_long_history_is_fine(self, name: str) -> None:
        assert make_strategy(name).propose(_with_two(_mixed(400)), 8, _two())

    def test_the_second_objective_counts(self, name: str) -> None:
        """All are equal in the first; told the opposite of the second, a strategy that learns from one objective
        proposes otherwise.
        """
        made = [_after_the_first_batch(name, sign) for sign in (1, -1)]
        one, other = (make_strategy(name).propose(given, 8, _two()) for given in made)
        alone = [[dataclasses.replace(t, value=t.values[1]) for t in given] for given in made]
        first, opposite = (make_strategy(name).propose(given, 8, _context()) for given in alone)
        assert (one == other) is (first == opposite)


EARLIER = (
    Earlier("alike", FORMULAS, (1.0, 0.5, 2.0, -3.0, 0.0, 1.5)),
    Earlier("another", FORMULAS[::-1], (1e300, -1e300, 0.0, 0.0, 1e-300, 7.0)),
    Earlier("few", ("sin(x)",), (1.0,)),
    Earlier(
        "no curves", ("log(x)", "1/(x-x)", "exp(exp(exp(x)))", "sqrt(x)"), (1.0, 2.0, 3.0, 4.0)
    ),
    Earlier("all equal", FORMULAS, (1.0,) * len(FORMULAS)),
)


def _learning(direction: Direction = "maximize") -> Context:
    return dataclasses.replace(_context(direction=direction), earlier=EARLIER)


@pytest.mark.parametrize("name", list(STRATEGIES))
class TestEarlierStudies:
    @pytest.mark.parametrize("direction", DIRECTIONS)
    @pytest.mark.parametrize("history", list(HISTORIES))
    def test_any_history_gives_a_whole_batch(
        self, name: str, history: str, direction: Direction
    ) -> None:
        strategy, context = make_strategy(name), _learning(direction=direction)
        size = strategy.batch_size(HISTORIES[history], context)
        assert len(strategy.propose(HISTORIES[history], size, context)) == size

    @pytest.mark.parametrize("count", [0, 20, 45])
    def test_a_killed_and_resumed_study_proposes_the_same(self, name: str, count: int) -> None:
        """Which knows the studies from the database, and proposed other things in between or nothing."""
        strategy, history = make_strategy(name), _mixed(count)
        first = strategy.propose(history, 8, _learning())
        strategy.propose(_mixed(30, -1.0), 8, _learning(direction="minimize"))
        read = tuple(
            Earlier(str(one.name), tuple(one.formulas), tuple(one.values)) for one in EARLIER
        )
        copies = [dataclasses.replace(trial) for trial in history]
        context = dataclasses.replace(_context(), earlier=read)
        assert make_strategy(name).propose(copies, 8, context) == first

    @pytest.mark.parametrize("history", ["none", "mixed"])
    def test_only_a_strategy_that_says_so_learns(self, name: str, history: str) -> None:
        strategy, given = make_strategy(name), HISTORIES[history]
        if not strategy.learns_from_studies:
            alone = strategy.propose(given, 8, _context())
            assert strategy.propose(given, 8, _learning()) == alone


@pytest.mark.parametrize("name", list(STRATEGIES))
class TestFeatures:
    ASKING: dict[Feature, dict[str, Any]] = {
        Feature.OBJECTIVES: {"directions": 2},
        Feature.GROUPS: {"groups": True},
        Feature.PRUNING: {"pruning": True},
    }

    @pytest.mark.parametrize("feature", list(Feature))
    def test_a_study_that_asks_for_more_is_refused(self, name: str, feature: Feature) -> None:
        strategy = make_strategy(name)
        if feature in strategy.supports:
            refuse_unsupported(strategy, **self.ASKING[feature])
            return
        with pytest.raises(acs.SpaceError, match=f"{name!r} does not support {feature.value}"):
            refuse_unsupported(strategy, **self.ASKING[feature])

    def test_a_plain_study_is_never_refused(self, name: str) -> None:
        refuse_unsupported(make_strategy(name))


@pytest.mark.parametrize("name", list(STRATEGIES))
class TestMaking:
    def test_settings_of_another_type_are_refused_with_their_name(self, name: str) -> None:
        for field in dataclasses.fields(make_strategy(name)):
            with pytest.raises(acs.SpaceError, match=field.name):
                make_strategy({"name": name, "settings": {field.name: "often"}})

    def test_a_name_that_is_nearly_one_is_refused_with_the_right_one(self, name: str) -> None:
        for given in (name[:1] + name[2:], name.title()):
            with pytest.raises(acs.SpaceError, match=f"unknown strategy.*{name}"):
                make_strategy(given)

    def test_its_class_is_no_strategy(self, name: str) -> None:
        with pytest.raises(acs.SpaceError):
            make_strategy(STRATEGIES[name])  # type: ignore[arg-type]

    def test_a_strategy_is_taken_as_it_is(self, name: str) -> None:
        strategy: Strategy = make_strategy(name)
        assert make_strategy(strategy) is strategy
        assert make_strategy(strategy.describe()) == strategy


@pytest.mark.parametrize("name", ["", "x * tanh(x)"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(acs.SpaceError, match="unknown strategy"):
        make_strategy(name)


@pytest.mark.parametrize("what", [None, 3, list(STRATEGIES)])
def test_what_is_no_strategy_is_refused(what: Any) -> None:
    with pytest.raises(acs.SpaceError):
        make_strategy(what)
