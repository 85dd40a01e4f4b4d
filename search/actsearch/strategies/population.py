"""Helpers for strategies that make new candidates from good ones: possible parents, selection, what is new."""

from __future__ import annotations

import contextlib
import functools
import heapq
import random
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from actsearch.activation_catalog import CATALOG
from actsearch.activations import build_expression, describe
from actsearch.errors import ActsearchError, SpaceError
from actsearch.expression import Expression
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.screening import identify, simplify
from actsearch.seeds import global_streams
from actsearch.strategies.base import (
    Context,
    observations,
    observed_value,
    pending,
    worst_value,
)
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.space import Space

__all__ = [
    "CandidateBatch",
    "Child",
    "Member",
    "best_and_latest",
    "compose",
    "has_tree",
    "list_members",
    "list_pending",
    "estimate_noise",
    "seeded_random",
    "tournament",
]

_NUMBER = re.compile(r"(?<!\w)-?\d+(\.\d+)?(e[+-]?\d+)?")  # a minus that subtracts stands apart


@dataclass(frozen=True)
class Member:
    """A trial as its activations by group.

    Attributes:
        number: of the trial.
        items: an activation for each group.
        value: what the trial counts as: its own value, or the worst one.
        rank: with several objectives, its front and its negative crowding distance; smaller is better.
    """

    number: int
    items: tuple[ActivationRecord, ...]
    value: float
    rank: tuple[float, float] | None = None

    @functools.cached_property
    def size(self) -> int:
        """Nodes of its different formulas together; an activation without a formula counts as one."""
        # a formula that several groups share is one function to understand, so its size counts once
        distinct = {item.formula: item for item in self.items}.values()
        return sum(build_expression(item).size if has_tree(item) else 1 for item in distinct)

    @functools.cached_property
    def trees(self) -> tuple[Expression, ...]:
        """The formulas of its activations, where each has one."""
        return tuple(map(build_expression, self.items))

    @property
    def shape(self) -> tuple[str, ...]:
        """Its formulas without the values of their numbers."""
        return tuple(_NUMBER.sub("#", item.formula) for item in self.items)


Child = tuple[Sequence[ActivationRecord], str, tuple[int, ...]]
"""An activation for each group, the operation, and the numbers of the trials they come from."""


def has_tree(item: ActivationRecord) -> bool:
    """Whether an activation is a formula of one number, or a catalog row that is written as one."""
    return not item.name or CATALOG[item.name].elementwise


def list_members(
    history: Sequence[TrialRecord], context: Context, groups: SiteGroups
) -> Iterator[Member]:
    """Every observation that is made by some groups, in order of number."""
    worst = worst_value(history, context)
    for trial in observations(history, rejected=False):
        if (items := groups.items(trial.candidate)) is not None:
            yield Member(trial.number, items, observed_value(trial, worst))


def list_pending(history: Sequence[TrialRecord], groups: SiteGroups) -> list[ActivationRecord]:
    """Activations in training that have a formula, of trials with one activation, in order of number."""
    made = (
        groups.items(trial.candidate)
        for trial in pending(history)
        if not trial.candidate.learns_shape
    )
    return [items[0] for items in made if items and len(items) == 1 and has_tree(items[0])]


def best_and_latest(
    members: Sequence[Member], context: Context, latest: int, elites: int
) -> list[Member]:
    """The best of each of the latest shapes in order of number, and the best of all behind them.

    A shape is a formula without the values of its numbers: one that is tuned again and again takes one place.

    Args:
        members: in order of number.
        context: says which way is better.
        latest: how many shapes.
        elites: how many of the best of all; of equal ones the smaller, then the earlier.
    """
    sign = -1 if context.direction == "maximize" else 1
    best_of: dict[tuple[str, ...], Member] = {}
    for member in reversed(members):
        other = best_of.get(member.shape)
        if other is None and len(best_of) == latest:
            break  # regularised evolution: older shapes die, however good they are
        if other is None or sign * member.value < sign * other.value:
            best_of[member.shape] = member
    kept = sorted(best_of.values(), key=lambda member: member.number)
    best = heapq.nsmallest(elites, (sign * member.value for member in members))
    # sizes are read of those alone that can be among the best: a formula is parsed for its size
    rivals = [member for member in members if best and sign * member.value <= best[-1]]
    rivals.sort(key=lambda member: (sign * member.value, member.size, member.number))
    known = {member.number for member in kept}
    return kept + [member for member in rivals[:elites] if member.number not in known]


def tournament(pool: Sequence[Member], size: int, noise: float, context: Context) -> Member:
    """The best of some random members; of those within the noise of it, the smallest (parsimony pressure).

    With several objectives the best by rank. Draws from the global ``random``.
    """
    rivals = [random.choice(pool) for _ in range(size)]
    if context.directions:
        return min(rivals, key=lambda one: (one.rank, one.size, one.number))
    values = [rival.value for rival in rivals]  # differences within the noise are luck of the seed
    best = max(values) if context.direction == "maximize" else min(values)
    close = [rival for rival in rivals if abs(rival.value - best) <= noise]
    return min(close, key=lambda one: (one.size, one.number))


def estimate_noise(history: Iterable[TrialRecord]) -> float:
    """Median over trials of their standard deviation under one seed; 0 while unknown."""
    deviations = [
        trial.spread
        for trial in history
        if trial.state is TrialState.COMPLETE and trial.spread is not None
    ]
    return statistics.median(deviations) if deviations else 0.0


def compose(tree: Expression, space: Space) -> ActivationRecord:
    """A formula without the parts that change nothing, as an activation.

    Raises:
        SpaceError: it breaks the rules of the space.
        FormulaError: a number grew beyond the limits.
    """
    tree = simplify(tree)
    if not space.allows(tree):
        raise SpaceError(f"{tree} breaks the rules of the space")
    return describe(tree)


class CandidateBatch:
    """Collects candidates that are new by identity.

    Attributes:
        accepted: in the order in which they were made.
    """

    def __init__(self, history: Iterable[TrialRecord], groups: SiteGroups) -> None:
        self.accepted: list[CandidateRecord] = []
        self._groups = groups
        self._known = {trial.fingerprint for trial in history}

    def accept(self, candidate: CandidateRecord) -> bool:
        """Take a candidate if it is new, as each pass of shape learning is."""
        if candidate.learns_shape:
            self.accepted.append(candidate)
            return True
        identity = identify(candidate).identity
        if identity in self._known:
            return False
        self._known.add(identity)
        self.accepted.append(candidate)
        return True

    def add(self, make: Callable[[], Child], attempts: int, *, may_repeat: bool = False) -> bool:
        """Take one child, made again until it is new; whether one was taken.

        Args:
            make: makes a child; it may raise an ActsearchError for one that cannot be had.
            attempts: how many at most.
            may_repeat: take the last one, new or not, when there is no further attempt.
        """
        candidate = None
        for _ in range(attempts):
            with contextlib.suppress(ActsearchError):
                # numbers of a formula grew beyond the limits
                made = self._groups.candidate(*make())
                if self.accept(made):
                    return True
                candidate = made
        if candidate is None or not may_repeat:
            return False
        self.accepted.append(candidate)
        return True


@contextlib.contextmanager
def seeded_random(seed: int) -> Iterator[None]:
    """Seed the global ``random``, from which DEAP draws, and give its state back afterwards."""
    with global_streams:
        state = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
