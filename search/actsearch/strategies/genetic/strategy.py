"""Steady-state genetic programming as a function of the history."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from actsearch.activations import build_expression
from actsearch.checks import check_field, check_integer, check_one_of, check_share
from actsearch.errors import ActsearchError, SpaceError
from actsearch.expression import Expression
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord
from actsearch.strategies.base import Context, Feature, objective_points
from actsearch.strategies.by_site import BySite, BySiteState, GroupSampler
from actsearch.strategies.genetic.first import add_first
from actsearch.strategies.genetic.nsga import survivors
from actsearch.strategies.genetic.pool import Bred, promising
from actsearch.strategies.genetic.trees import primitive_set
from actsearch.strategies.genetic.variation import crossover, mutate
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.known import has_only_begun, remark_unknown
from actsearch.strategies.population import (
    CandidateBatch,
    Child,
    Member,
    best_and_latest,
    compose,
    estimate_noise,
    has_tree,
    list_members,
    seeded_random,
    tournament,
)
from actsearch.strategies.random_search import RandomSearch

__all__ = ["Bred", "Breeding", "Genetic"]

_ATTEMPTS = 60  # at one child that is new and keeps the rules
_PORTFOLIO = 8  # of the first batch, as what other tasks find good is alike, and this one may be unlike them
_MORE = 2  # times as many promising functions as are wanted: of some only their identity says that they are not new


@dataclass(frozen=True)
class Genetic(BySite):
    """Formulas that breed: trees over the space's operators, numbers and learned parameters.

    ::

        first batch: 8 of a portfolio and 8 random draws, or half catalog rows, half variants of them
        population: the best of each of the last 64 shapes, and the 4 best of all (regularised evolution with elites)
        each child: tournament of 3; the best wins, but within one seed's noise the smaller formula does;
                    crossover or one of the mutations; new by identity, or drawn again
        trained:    a quarter random draws; of the rest in turn the catalog row, the small formula and the child that
                    promise most by what was trained before

    With several objectives the population is what NSGA-II keeps of all counted trials, and a tournament is won by the
    better front, then by the larger crowding distance, then by the smaller formula; every child is trained, as no one
    value says which promises most.

    A shape is a formula without the values of its numbers: one that is tuned again and again takes one place.
    Individuals that failed count as the worst finite value. Age-based replacement: Real et al. 2019,
    arXiv:1802.01548; operators: Koza 1992.

    An individual is a tuple of activations, one for each group of sites; a shared activation is a tuple of one. With
    several groups, crossover takes each group from either parent (uniform, Syswerda 1989), and a mutation replaces the
    activation of some groups by a relative, or by what a tournament winner has in any group.

    Attributes:
        population: how many of the latest shapes may be parents.
        elites: how many of the best of all are parents besides.
        first_batch: candidates in the first logical batch.
        batch: candidates in each later one.
        tournament: individuals that compete to be a parent.
        crossover: share of children with two parents.
        bred: children that are bred for each batch. What is trained is chosen in turn among the catalog rows, every
            formula of one or two operators (and some of three), and these children, by what was trained before (a
            Gaussian process over the functions' values and slopes, expected improvement); 0 to breed only what is
            trained.
        start: what the first batch is: "portfolio", functions of which every task of the benchmark of activations finds
            some good, or "catalog".
        immigrants: share of each later batch that is drawn as by random search, where there is one objective; with
            any, so is what the first batch has beyond 8 functions of a portfolio.

    Example:
        >>> acs.create_study(study_name="evolved", strategy=acs.Genetic(population=32, crossover=0.5))
        Study('evolved', sqlite://)
    """

    name: ClassVar[str] = "genetic"
    supports: ClassVar[frozenset[Feature]] = frozenset(Feature)
    before: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"bred": 0, "start": "catalog", "immigrants": 0.0}
    )
    population: int = 64
    elites: int = 4
    first_batch: int = 16
    batch: int = 8
    tournament: int = 3
    crossover: float = 0.35
    bred: int = 150
    start: str = "portfolio"
    immigrants: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("population", "elites", "first_batch", "batch", "tournament"):
            check_field(self, name, check_integer, SpaceError, low=1)
        check_field(self, "bred", check_integer, SpaceError, low=0)
        for name in ("crossover", "immigrants"):
            check_field(self, name, check_share, SpaceError)
        check_one_of("start", self.start, ("portfolio", "catalog"), SpaceError)

    def remarks(self, context: Context) -> list[str]:
        """Why the benchmark tells nothing, where it does not."""
        return remark_unknown(context.space) if self.start == "portfolio" else []

    def shared_batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """``first_batch`` at first, and while there are too few parents; then ``batch``."""
        parents = _parents(list_members(history, context, SiteGroups.shared()))
        count = sum(1 for _ in itertools.islice(parents, self.tournament))
        is_first = count < self.tournament or self._lacks_portfolio(history)
        return self.first_batch if is_first else self.batch

    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Children of the fittest; catalog rows and their variants while there are too few parents."""
        groups = SiteGroups.shared()
        batch = CandidateBatch(history, groups)
        members = list(_parents(list_members(history, context, groups)))
        with self.open_breeding(members, history, context) as breeding:
            if len(breeding.population) < self.tournament or self._lacks_portfolio(history):
                count = n - _PORTFOLIO if self.immigrants else 0
                draws = RandomSearch().propose_shared(history, count, context)
                add_first(batch, n, context, breeding.pset, self.start, draws)
                return batch.accepted
            if self.immigrants and not context.directions:
                # what the process is sure to be bad it never tries
                count = int(n * self.immigrants + random.random())
                for draw in RandomSearch().propose_shared(history, count, context):
                    batch.accept(draw)
            # one value a trial says what promises most; of several objectives none may decide alone
            chooses = bool(self.bred) and not context.directions
            for make in breeding.promising(members, n) if chooses else ():
                if len(batch.accepted) == n:
                    break
                batch.add(make, 1)
            for _ in range(n - len(batch.accepted)):
                batch.add(lambda: breeding.child([0]), _ATTEMPTS)
        return batch.accepted

    def _lacks_portfolio(self, history: Sequence[TrialRecord]) -> bool:
        """Whether what was tried so far was enqueued, so that the portfolio is still to come."""
        return self.start == "portfolio" and has_only_begun(history)

    @contextlib.contextmanager
    def open_sampler(
        self, history: Sequence[TrialRecord], context: Context, state: BySiteState
    ) -> Iterator[GroupSampler]:
        """Variants of what a group has, and what tournament winners have in any group."""
        with self.open_breeding(state.members, history, context) as breeding:
            yield breeding

    @contextlib.contextmanager
    def open_breeding(
        self, members: Sequence[Member], history: Sequence[TrialRecord], context: Context
    ) -> Iterator[Breeding]:
        """Parents to breed from, for one proposal."""
        with seeded_random(context.proposal_seed(history)):
            yield Breeding(self, members, history, context)


class Breeding(GroupSampler):
    """Selection, crossover and mutation of tuples of activations. Draws from the global ``random``."""

    def __init__(
        self,
        settings: Genetic,
        members: Sequence[Member],
        history: Sequence[TrialRecord],
        context: Context,
    ) -> None:
        super().__init__(lambda group, item: self.vary(item)[0])
        self.pset = primitive_set(context.space)
        self.population = _population(members, history, context, settings)
        self._settings = settings
        self._noise = estimate_noise(history)
        self._history = history
        self._context = context

    def parent(self) -> Member:
        """Winner of a tournament."""
        size = self._settings.tournament
        return tournament(self.population, size, self._noise, self._context)

    def child(self, groups: Sequence[int]) -> Child:
        """From two parents, or from one with some groups changed."""
        first = self.parent()
        if random.random() < self._settings.crossover:
            second = self.parent()
            numbers = (first.number, second.number)
            if len(first.items) > 1:
                pairs = zip(first.items, second.items, strict=True)
                return [random.choice(pair) for pair in pairs], "crossover", numbers
            return [self._cross(first.items[0], second.items[0])], "crossover", numbers
        items, operation = list(first.items), ""
        for group in groups:
            items[group], operation = self.vary(items[group])
        return items, operation, (first.number,)

    def promising(self, members: Sequence[Member], n: int) -> list[Callable[[], Child]]:
        """What promises most, some more than n as not all will do, best first."""
        # proposed one at a time, the first of the sources would have every turn
        turn = len(self._history) if self._settings.parallel else 0
        return promising(
            members, self.breed(self._settings.bred), _MORE * n, self._context,
            history=self._history, first_turn=turn,
        )  # fmt: skip

    def breed(self, count: int) -> list[Bred]:
        """Different children that keep the rules, of so many that are bred."""
        bred: dict[Expression, Bred] = {}
        for _ in range(count):
            with contextlib.suppress(ActsearchError):  # numbers grew beyond the limits
                tree, operation, parents = self._breed()
                if self._context.space.allows(tree):
                    bred.setdefault(tree, (tree, operation, parents))
        return list(bred.values())

    def _breed(self) -> Bred:
        """A child as it is, without a look at whether it is new or could be shorter."""
        first = self.parent()
        (tree,) = first.trees
        if random.random() < self._settings.crossover:
            second = self.parent()
            return crossover(tree, *second.trees), "crossover", (first.number, second.number)
        operation, child = mutate(tree, self.pset)
        return child, operation, (first.number,)

    def mix(self, state: BySiteState, rng: random.Random) -> Child:
        """A child of the population."""
        return self.child(state.choose_groups(rng))

    def vary(self, item: ActivationRecord) -> tuple[ActivationRecord, str]:
        """A new activation for one group, and how it was made; with several groups, half of them from elsewhere."""
        if len(self.population[0].items) > 1:
            donor = random.choice(self.parent().items)
            if random.random() < 0.5 or not (has_tree(item) and has_tree(donor)):
                return donor, "transplant"  # good activations spread over the groups
            if random.random() < self._settings.crossover:
                return self._cross(item, donor), "crossover"
        operation, tree = mutate(build_expression(item), self.pset)
        return compose(tree, self._context.space), operation

    def _cross(self, first: ActivationRecord, second: ActivationRecord) -> ActivationRecord:
        tree = crossover(build_expression(first), build_expression(second))
        return compose(tree, self._context.space)


def _parents(members: Iterator[Member]) -> Iterator[Member]:
    """Those whose activations have formulas."""
    return (member for member in members if all(map(has_tree, member.items)))


def _population(
    members: Sequence[Member],
    history: Sequence[TrialRecord],
    context: Context,
    settings: Genetic,
) -> list[Member]:
    """The latest and the best; with several objectives the survivors of NSGA-II, in order of number."""
    if not context.directions or not members:
        return best_and_latest(members, context, settings.population, settings.elites)
    trials = {trial.number: trial for trial in history}
    points = objective_points([trials[member.number] for member in members], context)
    kept = survivors(points, context.directions, settings.population)
    return [
        replace(members[one.position], rank=(one.rank, one.crowding))
        for one in sorted(kept, key=lambda one: one.position)
    ]
