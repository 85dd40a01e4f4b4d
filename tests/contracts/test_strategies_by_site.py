"""What every strategy promises where each group of sites has an activation of its own."""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Any

import pytest
import torch

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.activations import activation, describe
from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.screening import identify
from actsearch.strategies import (
    STRATEGIES,
    Context,
    SiteGroups,
    Space,
    make_strategy,
)
from actsearch.strategies.by_site import BySite, current_phase

NAMES = [name for name, kind in STRATEGIES.items() if issubclass(kind, BySite)]
"""Block coordinate search; what learns a shape for each group at once is another way."""

BEST = {0: "sin", 1: "relu", 2: "tanh"}
"""What each of three groups wants; no activation is good in all of them."""

CONTEXTS = {
    "per_depth": Context(Space(sites="per_depth"), 0, "maximize"),
    "per_site": Context(
        Space(sites="per_site"), 0, "maximize", SiteGroups.sites(["a.act", "b.act", "b.relu"])
    ),
    "named": Context(
        Space(sites={"stem.*": "ends", "body.*": None, "head.*": "ends", "top": None}),
        0,
        "maximize",
    ),
    "minimize": Context(Space(sites="per_depth", depth_bands=3), 5, "minimize"),
    "few": Context(
        Space(["leaky_relu", "sin", "tanh", "relu"], ["add", "mul", "tanh"], sites="per_depth"),
        0,
        "maximize",
    ),
}


@functools.cache
def _error(formula: str, group: int) -> float:
    """How far an activation is from the one that a group wants."""
    x = torch.linspace(-3, 3, 61).unsqueeze(1)
    with torch.no_grad():
        found = activation(acs.parse(formula), channels=1)(x) - activation(BEST[group])(x)
    return min(float(found.abs().mean()), 9.0) if bool(torch.isfinite(found).all()) else 9.0


def _value(candidate: CandidateRecord, context: Context) -> float | None:
    items = context.site_groups.items(candidate)
    assert items is not None
    if any(item.name and not CATALOG[item.name].elementwise for item in items):
        return None
    error = sum(_error(item.formula, group) for group, item in enumerate(items))
    return error if context.direction == "minimize" else -error


def _ended(
    number: int, candidate: CandidateRecord, context: Context, known: set[str]
) -> TrialRecord:
    """What the driver and an objective make of a proposal."""
    try:
        identity = identify(candidate)
    except ActsearchError as error:
        return TrialRecord(number, TrialState.REJECTED, candidate, reason=str(error))
    state, value = TrialState.COMPLETE, None
    if identity.identity in known:
        state = TrialState.DUPLICATE
    elif (value := _value(candidate, context)) is None:
        state = TrialState.FAILED
    known.add(identity.identity)
    return TrialRecord(
        number, state, candidate, value, fingerprint=identity.identity,
        alias=identity.alias, mirror=identity.mirror,
    )  # fmt: skip


@functools.cache
def _searched(name: str, where: str, count: int) -> tuple[TrialRecord, ...]:
    """A whole search, batch by batch."""
    context = CONTEXTS[where]
    history = list(_searched(name, where, count - 40)) if count > 40 else []
    known = {trial.fingerprint for trial in history}
    while len(history) < count:
        for candidate in _proposed(name, history, context):
            history.append(_ended(len(history), candidate, context, known))
    return tuple(history)


def _proposed(name: str, history: list[TrialRecord], context: Context) -> list[CandidateRecord]:
    strategy = make_strategy(name)
    return strategy.propose(history, strategy.batch_size(history, context), context)


def _of_phase(name: str, where: str, operation: str) -> list[TrialRecord]:
    return [t for t in _searched(name, where, 120) if t.candidate.operation == operation]


def _cases() -> list[Any]:
    """Each strategy in each context; quick are the first context, and two others that go round among strategies."""
    others = list(CONTEXTS)[1:]
    return [
        pytest.param(name, where, marks=() if where in quick else pytest.mark.slow)
        for at, name in enumerate(NAMES)
        for quick in [{"per_depth", others[at % len(others)], others[(at + 1) % len(others)]}]
        for where in CONTEXTS
    ]


@pytest.mark.parametrize(("name", "where"), _cases())
class TestEveryStrategyBySite:
    def test_it_starts_with_one_activation_for_all_groups(self, name: str, where: str) -> None:
        context = CONTEXTS[where]
        first = _searched(name, where, 120)[:32]
        assert all(context.site_groups.is_shared(trial.candidate) for trial in first)

    def test_then_changes_one_group_of_the_best_in_turn(self, name: str, where: str) -> None:
        context = CONTEXTS[where]
        history = _searched(name, where, 120)
        groups = context.site_groups
        changed = _of_phase(name, where, "one group")
        assert len(changed) >= 8 * len(groups)
        counts = [0] * len(groups)
        for trial in changed:
            (parent,) = trial.candidate.parents
            before, after = groups.items(history[parent].candidate), groups.items(trial.candidate)
            assert before is not None
            assert after is not None
            different = [i for i in range(len(groups)) if before[i] != after[i]]
            if trial.state is not TrialState.DUPLICATE:
                assert len(different) == 1
                counts[different[0]] += 1
        if where != "few":  # where little is new, a turn may be lost to a repetition
            assert max(counts) - min(counts) <= 1

    def test_the_first_of_these_come_from_the_best_shared_one(self, name: str, where: str) -> None:
        context, history = CONTEXTS[where], _searched(name, where, 120)
        first = _of_phase(name, where, "one group")[0]
        before = [
            trial for trial in history[: first.number]
            if trial.state is TrialState.COMPLETE and trial.value is not None
        ]  # fmt: skip
        pick = max if context.direction == "maximize" else min
        best = pick(trial.value for trial in before if trial.value is not None)
        (parent,) = first.candidate.parents
        assert history[parent].value == best
        assert context.site_groups.is_shared(history[parent].candidate)

    def test_then_it_mixes(self, name: str, where: str) -> None:
        numbers = {
            operation: [trial.number for trial in _of_phase(name, where, operation)]
            for operation in ("one group", "mixed groups")
        }
        assert min(numbers["mixed groups"]) > max(numbers["one group"])
        assert current_phase(_searched(name, where, 120), CONTEXTS[where]) == "mixed"

    def test_what_it_finds_is_better_than_any_shared_one(self, name: str, where: str) -> None:
        context, history = CONTEXTS[where], _searched(name, where, 120)
        pick = max if context.direction == "maximize" else min
        shared, mixed = (
            pick(
                trial.value
                for trial in history
                if trial.value is not None
                and trial.state is TrialState.COMPLETE
                and context.site_groups.is_shared(trial.candidate) is alike
            )
            for alike in (True, False)
        )
        assert context.is_better(mixed, shared)

    def test_proposals_lie_in_the_space_and_are_written_as_the_groups_write_them(
        self, name: str, where: str
    ) -> None:
        context = CONTEXTS[where]
        for trial in _searched(name, where, 120):
            assert context.site_groups.normalize(trial.candidate) == trial.candidate
            for item in trial.candidate.activations.values():
                if item.name is not None:
                    assert item.name in context.space.activation_names
                    bound = CATALOG[item.name].bind(dict(item.hyperparameters))
                    assert bound == dict(item.hyperparameters)
                else:
                    assert context.space.outside(None, item.formula) == ""
                    assert parse(item.formula).uses_x

    def test_repetitions_are_rare(self, name: str, where: str) -> None:
        made = [t for t in _searched(name, where, 120) if "group" in t.candidate.operation]
        assert sum(t.state is TrialState.DUPLICATE for t in made) <= len(made) // 10

    @pytest.mark.parametrize("count", [40, 80, 120])
    def test_a_fresh_instance_proposes_the_same(self, name: str, where: str, count: int) -> None:
        context, history = CONTEXTS[where], list(_searched(name, where, count))
        random.seed(1)
        torch.manual_seed(1)
        state = random.getstate()
        first = _proposed(name, history, context)
        assert random.getstate() == state
        random.seed(2)
        copies = [dataclasses.replace(trial) for trial in history]
        assert _proposed(name, copies, context) == first
        assert len(first) == make_strategy(name).batch_size(history, context)

    @pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.REJECTED, TrialState.PRUNED])
    def test_without_a_complete_trial_it_stays_with_shared_ones(
        self, name: str, where: str, state: TrialState
    ) -> None:
        context = CONTEXTS[where]
        history = [
            dataclasses.replace(trial, state=state, value=None)
            for trial in _searched(name, where, 40)
        ]
        assert current_phase(history, context) == "shared"
        groups = context.site_groups
        assert all(groups.is_shared(candidate) for candidate in _proposed(name, history, context))

    def test_a_warm_start_needs_no_shared_candidates_of_its_own(
        self, name: str, where: str
    ) -> None:
        context = CONTEXTS[where]
        groups = context.site_groups
        item = describe("sin")
        warm = groups.candidate([item] * len(groups), "warm start")
        history = [_ended(0, warm, context, set())]
        made = _proposed(name, history, context)
        assert {candidate.operation for candidate in made} == {"one group"}
        assert all(candidate.parents == (0,) for candidate in made)


@pytest.mark.parametrize("name", NAMES)
def test_one_group_alone_is_a_search_for_shared_activations(name: str) -> None:
    band = Context(Space(sites="per_depth", depth_bands=1), 0, "maximize")
    shared = Context(Space(), 0, "maximize")
    history = [
        dataclasses.replace(trial)
        for trial in _searched(name, "per_depth", 120)
        if trial.candidate.single is not None
    ]
    assert _proposed(name, history, band) == _proposed(name, history, shared)


@pytest.mark.parametrize("name", NAMES)
def test_sites_that_nobody_knows_are_asked_for(name: str) -> None:
    context = Context(Space(sites="per_site"), 0, "maximize")
    with pytest.raises(acs.SpaceError, match="not known yet"):
        make_strategy(name).propose([], 3, context)
