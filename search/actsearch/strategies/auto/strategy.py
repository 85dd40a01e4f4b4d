"""What is known of other tasks first, then what promises most by this one's trials."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from actsearch.activations import describe
from actsearch.checks import check_field, check_integer, check_one_of
from actsearch.errors import SpaceError
from actsearch.records import CandidateRecord, TrialRecord
from actsearch.strategies.auto.shapes import first_pass, next_step
from actsearch.strategies.auto.sources import CATALOG_ROW, SHAPE, Pool, count_credits
from actsearch.strategies.base import Context, Feature
from actsearch.strategies.bayesian import Bayesian
from actsearch.strategies.by_site import BySite, BySiteState, GroupSampler
from actsearch.strategies.genetic import Genetic
from actsearch.strategies.genetic.first import add_first
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.known import (
    Known,
    has_only_begun,
    known_functions,
    remark_unknown,
)
from actsearch.strategies.population import (
    CandidateBatch,
    Member,
    estimate_noise,
    has_tree,
    list_members,
)
from actsearch.strategies.random_search import RandomSearch
from actsearch.strategies.surrogate import (
    benchmark_prior,
    describe_pending,
    fit_process,
    weigh_earlier,
)

__all__ = ["Auto"]

_ATTEMPTS = 60  # at one child that is new and keeps the rules
_SPARE = 4  # promising functions besides those that are wanted: of some only their identity says that they are not new

_TUNED = 3  # settings that TPE proposes, each of which takes it longer than all else together
_LATEST = 1_000  # trials that TPE is told of: of a long history it takes longer than all else
_EARLY = 24  # trials up to which batches are small
_USUAL = ("gelu", "silu")  # what everybody tries; one in each of the first batches
_CHANCE = 8  # one of so many is drawn at random: what a process is sure to be bad it never tries


@dataclass(frozen=True)
class Auto(BySite):
    """A portfolio from a benchmark of activations, then what promises most of several sources.

    The first logical batch are functions of which every task of the benchmark finds some good: see
    ``acs.benchmark``. One place in each of the next two is for a row that everybody tries, so that whoever asks
    whether it would have done as well is answered: GELU and SiLU, as far as they are in the space. From then on a
    Gaussian process over functions, whose prior mean and covariance come from the benchmark's tasks, chooses by
    expected improvement among

    - the functions of the benchmark that lie in the space,
    - every formula of one or two operators, and some of three,
    - children of the best so far, by genetic programming,
    - settings of catalog rows, by TPE,

    each source weighed by how often it brought one of the best quarter so far. How far the other tasks are believed
    is decided by the likelihood of this one's trials: where they say nothing, the process is as without them.

    With ``shapes=1`` a round of :class:`Gradient` comes after the portfolio, each of its steps in a logical batch with
    the others: passes that learn the shape of the activation, its curve, and names for it. What it brings, the process
    learns from, and children are bred of it. Of further rounds another one begins as long as they bring more of the
    best quarter than others do. A pass takes two to three times as long as a training.

    A study that was made with ``warm_start_from=`` learns from the earlier studies as well: its first trials are their
    best, the portfolio comes next, and each of them is one more task of the prior, which counts the more the better it
    ranks what was tried here.

    With several objectives, and where groups of sites have activations of their own, it goes on as
    :class:`Genetic` does.

    Two of three are chosen among the benchmark's functions alone, as of thousands of guesses the best is mostly luck;
    one candidate of eight, on average, is drawn as :class:`RandomSearch` does.

    Attributes:
        portfolio: candidates in the first logical batch.
        batch: candidates in each later one; half as many in the first ones, up to trial 24, when each tells most.
        bred: children that are bred for each batch.
        prior: whether the benchmark is used; False searches as if nobody had ever trained a network.
        shapes: rounds of shape learning, at most. They need a Task, one activation for all sites and one objective.

    Example:
        >>> acs.create_study(study_name="evening", strategy=acs.Auto(batch=4))
        Study('evening', sqlite://)
    """

    name: ClassVar[str] = "auto"
    supports: ClassVar[frozenset[Feature]] = frozenset(Feature)
    learns_from_studies: ClassVar[bool] = True
    portfolio: int = 8
    batch: int = 8
    bred: int = 150
    prior: bool = True
    shapes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("portfolio", "batch"):
            check_field(self, name, check_integer, SpaceError, low=1)
        for name in ("bred", "shapes"):
            check_field(self, name, check_integer, SpaceError, low=0)
        check_one_of("prior", self.prior, (True, False), SpaceError)

    @property
    def _genetic(self) -> Genetic:
        start = "portfolio" if self.prior else "catalog"
        return Genetic(
            first_batch=self.portfolio,
            batch=self.batch,
            immigrants=0.0,
            start=start,
            parallel=self.parallel,
        )

    def _known(self, context: Context) -> Known | None:
        return known_functions(context.space) if self.prior else None

    @property
    def prunes_by_default(self) -> bool:
        """Where no shapes are learned: a pass is no training that could be compared."""
        return not self.learns_shapes

    @property
    def learns_shapes(self) -> bool:
        """Whether it was asked to."""
        return self.shapes > 0

    def first_pass(self, context: Context) -> CandidateRecord | None:
        """Where shape learning begins, if it was asked for.

        Raises:
            SpaceError: the model has no function there that could be written down, or the study is of several
                objectives or groups of sites.
        """
        return first_pass(context) if self.shapes else None

    def remarks(self, context: Context) -> list[str]:
        """Why the benchmark tells nothing, where it does not."""
        return remark_unknown(context.space) if self.prior else []

    def shared_batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """``portfolio`` at first, then half of ``batch`` and later ``batch``."""
        known = itertools.islice(_list_functions(history, context), self._genetic.tournament)
        if len(list(known)) < self._genetic.tournament or has_only_begun(history):
            return self.portfolio
        return max(self.batch // 2, 1) if _is_early(history, context) else self.batch

    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """The portfolio, then the most promising of all sources."""
        members = list(_list_functions(history, context))
        genetic = self._genetic
        if context.directions or len(members) < genetic.tournament:
            # of several objectives none may decide alone
            return genetic.propose_shared(history, n, context)
        known = self._known(context)
        batch = CandidateBatch(history, SiteGroups.shared())
        with genetic.open_breeding(members, history, context) as breeding:
            if has_only_begun(history):
                add_first(batch, n, context, breeding.pset, genetic.start)
                return batch.accepted
            tuned = Bayesian().draw(
                history[-_LATEST:], _TUNED, context, context.proposal_seed(history)
            )
            prior = weigh_earlier(
                benchmark_prior(known.table) if known else None,
                members, estimate_noise(history), context,
            )  # fmt: skip
            pool = Pool.gather(context, known, prior, breeding.breed(self.bred), tuned)
            process = fit_process(members, context, prior)
            sign = 1.0 if context.direction == "maximize" else -1.0
            credits = count_credits(members, history, sign)
            if self.shapes:
                credit = credits.get(SHAPE, 1.0)
                step = next_step(history, context, self.shapes, credit, self.batch)
                # a step is tried whole, also where fewer are wanted now
                for one in step if self.parallel else step[:n]:
                    batch.accept(one)
            if _is_early(history, context) and len(batch.accepted) < n:
                _add_usual(batch, context)
            if process is not None:
                weights = pool.weights(credits)
                wanted = n - int(n / _CHANCE + random.random())
                # proposed one at a time, the first would have every turn
                turn = len(history) if self.parallel else 0
                for place in process.choose(
                    pool.features, n + _SPARE, weights, pool.turns(), turn,
                    describe_pending(history, SiteGroups.shared(), prior),
                ):  # fmt: skip
                    if len(batch.accepted) >= wanted:
                        break
                    batch.add(functools.partial(pool.make, place), 1)
            for drawn in RandomSearch().propose_shared(history, n, context):
                if len(batch.accepted) >= n:
                    break
                batch.accept(drawn)
            for _ in range(n - len(batch.accepted)):
                batch.add(lambda: breeding.child([0]), _ATTEMPTS)
        return batch.accepted

    def open_sampler(
        self, history: Sequence[TrialRecord], context: Context, state: BySiteState
    ) -> AbstractContextManager[GroupSampler]:
        """As genetic search does it: variants, and what tournament winners have in any group."""
        return self._genetic.open_sampler(history, context, state)


def _is_early(history: Sequence[TrialRecord], context: Context) -> bool:
    return len(history) < _EARLY and not context.directions


def _add_usual(batch: CandidateBatch, context: Context) -> None:
    """The next of the rows that everybody tries, if one is left."""
    for name in _USUAL:
        if name in context.space.activation_names:
            candidate = CandidateRecord.shared(describe(name), CATALOG_ROW)
            if batch.accept(candidate):
                return


def _list_functions(history: Sequence[TrialRecord], context: Context) -> Iterator[Member]:
    """What was tried and is a function of one number."""
    members = list_members(history, context, SiteGroups.shared())
    return (member for member in members if has_tree(member.items[0]))
