"""Steady-state genetic programming as a function of the history."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from deap import tools

from actsearch.activation import describe, expression_of
from actsearch.catalog import CATALOG
from actsearch.checks import check_field, check_integer, check_share
from actsearch.errors import FormulaError, SpaceError
from actsearch.expression import Expression
from actsearch.records import SHARED, ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.screening import fingerprint, simplified
from actsearch.seeds import global_streams
from actsearch.strategies.base import (
    Context,
    observations,
    points_of,
    value_of,
    worst_value,
)
from actsearch.strategies.by_site import BySite, Child, Draw, Member, Standing
from actsearch.strategies.genetic.nsga import survivors
from actsearch.strategies.genetic.trees import primitive_set
from actsearch.strategies.genetic.variation import MUTATIONS, crossover, random_formula
from actsearch.strategies.rules import allowed
from actsearch.strategies.space import Space

__all__ = ["Genetic"]

_NUMBER = re.compile(r"(?<!\w)-?\d+(\.\d+)?(e[+-]?\d+)?")  # a minus that subtracts stands apart
_TRIES = 60  # attempts at one child that is new and keeps the rules


@dataclass(frozen=True)
class _Individual:
    """One member of the population."""

    number: int
    tree: Expression
    value: float
    standing: tuple[float, float] | None = None  # front and crowding; smaller is better


@dataclass(frozen=True)
class Genetic(BySite):
    """Formulas that breed: trees over the space's operators, numbers and learned parameters.

    ::

        first batch: half catalog rows, half variants of them
        population: the best of each of the last 64 shapes, and the 4 best of all (regularised evolution with elites)
        each child: tournament of 3; the best wins, but within one seed's spread the smaller formula does;
                    crossover or one of the mutations; new by identity, or drawn again

    With several objectives the population is what NSGA-II keeps of all counted trials, and a tournament is won by the
    better front, then by the larger crowding distance, then by the smaller formula.

    A shape is a formula without the values of its numbers: one that is tuned again and again takes one place.
    Individuals that failed count as the worst finite value. Age-based replacement: Real et al. 2019,
    arXiv:1802.01548; operators: Koza 1992.

    By site, the activation of a group is replaced by a parent's from any group, or changed as a formula is. Mixtures
    are children of tournament winners: uniform crossover, each group from either parent (Syswerda 1989), or some
    groups changed.

    Attributes:
        population: how many of the latest shapes may be parents.
        elites: how many of the best of all are parents besides.
        first_batch: candidates in the first logical batch.
        batch: candidates in each later one.
        tournament: individuals that compete to be a parent.
        crossover: share of children with two parents.
    """

    name: ClassVar[str] = "genetic"
    population: int = 64
    elites: int = 4
    first_batch: int = 32
    batch: int = 24
    tournament: int = 3
    crossover: float = 0.35

    def __post_init__(self) -> None:
        for name in ("population", "elites", "first_batch", "batch", "tournament"):
            check_field(self, name, check_integer, SpaceError, low=1)
        check_field(self, "crossover", check_share, SpaceError)

    def shared_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """``first_batch`` while there are too few parents, then ``batch``."""
        found = list(itertools.islice(_parents(history), self.tournament))
        return self.first_batch if len(found) < self.tournament else self.batch

    def shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Children of the fittest; catalog rows and their variants while there are too few parents."""
        with _seeded(context.proposal_seed(history)):
            nursery = _Nursery(history, context.space)
            population = self._population(history, context)
            if len(population) < self.tournament:
                return self._first(nursery, n, context.space)
            spread = _spread(history)
            for _ in range(n):
                nursery.add(lambda: self._child(population, spread, context, nursery))
            return nursery.born

    @contextlib.contextmanager
    def drawing(
        self, history: Sequence[TrialRecord], context: Context, standing: Standing
    ) -> Iterator[Draw]:
        """A relative of what the group has, or what a tournament winner has in some group."""
        pset, spread = primitive_set(context.space), _spread(history)
        pool = self._living(standing, context)

        def draw(group: int, current: ActivationRecord) -> ActivationRecord:
            donor = random.choice(self._winner(pool, spread, context).items)
            if random.random() < 0.5 or not (_has_tree(current) and _has_tree(donor)):
                return donor
            if random.random() < self.crossover:
                tree = crossover(expression_of(current), expression_of(donor))
            else:
                tree = _mutated(expression_of(current), pset)[1]
            tree = simplified(tree)
            return describe(tree) if allowed(tree, context.space) else donor

        with _seeded(context.proposal_seed(history)):
            yield draw

    def mixed(self, standing: Standing, context: Context, rng: random.Random, draw: Draw) -> Child:
        """Uniform crossover by group of two tournament winners, or one of them with groups changed."""
        pool = self._living(standing, context)
        first = self._winner(pool, 0.0, context)
        second = self._winner(pool, 0.0, context)
        if random.random() < self.crossover and first.items != second.items:
            pairs = zip(first.items, second.items, strict=True)
            return [random.choice(pair) for pair in pairs], (first.number, second.number)
        items = list(first.items)
        for group in standing.changing(rng):
            items[group] = draw(group, items[group])
        return items, (first.number,)

    def _living(self, standing: Standing, context: Context) -> list[Member]:
        """The latest members and the best."""
        sign = -1 if context.direction == "maximize" else 1
        latest = standing.members[-self.population :]
        known = {member.number for member in latest}
        best = heapq.nsmallest(
            self.elites, standing.members, key=lambda one: (sign * one.value, one.number)
        )
        return latest + [member for member in best if member.number not in known]

    def _winner(self, pool: Sequence[Member], spread: float, context: Context) -> Member:
        """Of a tournament; within the spread, the one with fewer different activations."""
        rivals: list[Member] = tools.selRandom(pool, self.tournament)
        best = rivals[0].value
        for rival in rivals:
            best = rival.value if context.is_better(rival.value, best) else best
        close = [rival for rival in rivals if abs(rival.value - best) <= spread]
        return min(close, key=lambda one: (len({i.formula for i in one.items}), one.number))

    def _first(self, nursery: _Nursery, n: int, space: Space) -> list[CandidateRecord]:
        """Half catalog rows, half variants of them."""
        rows = [name for name in space.activation_names if CATALOG[name].elementwise]
        chosen = rows if len(rows) <= n // 2 else random.sample(rows, n // 2)
        for name in chosen:
            nursery.accept(describe(name), "catalog", ())
        trees = [tree for name in rows if (tree := expression_of(name)).depth <= space.max_depth]
        while len(nursery.born) < n:
            before = len(nursery.born)
            nursery.add(lambda: self._variant(trees, nursery))
            if len(nursery.born) == before:
                break
        return nursery.born

    def _variant(
        self, trees: list[Expression], nursery: _Nursery
    ) -> tuple[Expression, str, tuple[int, ...]]:
        if not trees or random.random() < 0.1:
            return random_formula(nursery.pset), "random formula", ()
        operation, tree = _mutated(random.choice(trees), nursery.pset)
        return tree, operation, ()

    def _child(
        self, population: list[_Individual], spread: float, context: Context, nursery: _Nursery
    ) -> tuple[Expression, str, tuple[int, ...]]:
        first = self._parent(population, spread, context)
        if random.random() < self.crossover:
            second = self._parent(population, spread, context)
            child = crossover(first.tree, second.tree)
            return child, "crossover", (first.number, second.number)
        operation, child = _mutated(first.tree, nursery.pset)
        return child, operation, (first.number,)

    def _parent(
        self, population: list[_Individual], spread: float, context: Context
    ) -> _Individual:
        """Winner of a tournament with parsimony: differences within the spread are noise."""
        rivals: list[_Individual] = tools.selRandom(population, self.tournament)
        if context.directions:
            return min(rivals, key=lambda one: (one.standing, one.tree.size, one.number))
        best = rivals[0].value
        for rival in rivals:
            best = rival.value if context.is_better(rival.value, best) else best
        close = [rival for rival in rivals if abs(rival.value - best) <= spread]
        return min(close, key=lambda rival: (rival.tree.size, rival.number))

    def _population(self, history: Sequence[TrialRecord], context: Context) -> list[_Individual]:
        """The latest and the best; only their formulas are read."""
        parents, worst = list(_parents(history)), worst_value(history, context)
        if context.directions:
            return self._nondominated(parents, context)
        sign = -1 if context.direction == "maximize" else 1
        places = [sign * value_of(trial, worst) for trial in parents]
        best = heapq.nsmallest(self.elites, places)
        rivals = [
            _individual(trial, worst)
            for trial, place in zip(parents, places, strict=True)
            if best and place <= best[-1]
        ]
        elites = sorted(rivals, key=lambda one: (sign * one.value, one.tree.size, one.number))
        latest = [_individual(trial, worst) for trial in self._latest(parents, sign, worst)]
        known = {one.number for one in latest}
        return latest + [one for one in elites[: self.elites] if one.number not in known]

    def _latest(
        self, parents: Sequence[TrialRecord], sign: int, worst: float
    ) -> list[TrialRecord]:
        """The best of each of the latest shapes, in order of number."""
        best: dict[str, TrialRecord] = {}
        for trial in reversed(parents):
            shape = _shape(trial.candidate.formula)
            other = best.get(shape)
            if other is None and len(best) == self.population:
                break
            if other is None or sign * value_of(trial, worst) < sign * value_of(other, worst):
                best[shape] = trial
        return sorted(best.values(), key=lambda trial: trial.number)

    def _nondominated(self, parents: Sequence[TrialRecord], context: Context) -> list[_Individual]:
        """The survivors of NSGA-II, in order of number."""
        if not parents:
            return []
        points = points_of(parents, context)
        kept = survivors(points, context.directions, self.population)
        return [
            _Individual(
                parents[one.position].number,
                expression_of(parents[one.position].candidate.activations[SHARED]),
                points[one.position][0],
                (one.rank, one.crowding),
            )
            for one in sorted(kept, key=lambda one: one.position)
        ]


def _shape(formula: str) -> str:
    """A formula without the values of its numbers."""
    return _NUMBER.sub("#", formula)


def _parents(history: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """Every trial that may be a parent."""
    for trial in observations(history, rejected=False):
        item = trial.candidate.activations.get(SHARED)
        if item is not None and _has_tree(item):
            yield trial


def _has_tree(item: ActivationRecord) -> bool:
    return not item.name or CATALOG[item.name].elementwise


def _individual(trial: TrialRecord, worst: float) -> _Individual:
    tree = expression_of(trial.candidate.activations[SHARED])
    return _Individual(trial.number, tree, value_of(trial, worst))


class _Nursery:
    """Collects candidates that are new by identity."""

    def __init__(self, history: Sequence[TrialRecord], space: Space) -> None:
        self.pset = primitive_set(space)
        self.born: list[CandidateRecord] = []
        self._space = space
        self._seen = {trial.fingerprint for trial in history}

    def accept(self, record: ActivationRecord, operation: str, parents: tuple[int, ...]) -> bool:
        identity = fingerprint(record)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        self.born.append(CandidateRecord({SHARED: record}, operation, parents))
        return True

    def add(self, make: Any) -> None:
        """Add one child, after as many attempts as it takes within a limit."""
        for _ in range(_TRIES):
            try:
                tree, operation, parents = make()
                tree = simplified(tree)
                if allowed(tree, self._space) and self.accept(describe(tree), operation, parents):
                    return
            except FormulaError:  # a number grew beyond the limits
                continue


def _mutated(parent: Expression, pset: Any) -> tuple[str, Expression]:
    names = list(MUTATIONS)
    (name,) = random.choices(names, [MUTATIONS[name][1] for name in names])
    return name, MUTATIONS[name][0](parent, pset)


def _spread(history: Sequence[TrialRecord]) -> float:
    """Median over trials of one seed's spread; 0 while unknown."""
    spreads = [
        trial.spread
        for trial in history
        if trial.state is TrialState.COMPLETE and trial.spread is not None
    ]
    return statistics.median(spreads) if spreads else 0.0


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """DEAP draws from the global ``random``: seed it, and give its state back."""
    with global_streams:
        state = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
