"""What genetic search chooses from: catalog rows, small formulas and bred children."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from actsearch.activation_catalog import CATALOG
from actsearch.activations import build_expression, describe
from actsearch.expression import Expression
from actsearch.records import TrialRecord
from actsearch.strategies.base import Context
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.population import Child, Member, compose
from actsearch.strategies.space import Space
from actsearch.strategies.surrogate import (
    Features,
    compute_curves,
    describe_curves,
    describe_pending,
    fit_process,
    join_features,
    small_features,
    small_formulas,
)

__all__ = ["Bred", "promising"]

Bred = tuple[Expression, str, tuple[int, ...]]
"""A child's formula, the operation, and the numbers of the trials it comes from."""


@dataclass(frozen=True)
class _Source:
    """Functions of one origin: what the process sees of each, and how one is made by its position."""

    features: Features
    make: Callable[[int], Child]


def promising(
    members: Sequence[Member],
    bred: Sequence[Bred],
    count: int,
    context: Context,
    *,
    history: Sequence[TrialRecord] = (),
    first_turn: int = 0,
) -> list[Callable[[], Child]]:
    """In turn the catalog row, the small formula and the child that promise most; to be made.

    While too little is known, the children in order.

    Args:
        members: what was tried, each with one activation.
        bred: children.
        count: how many at most.
        context: with the space, and which way values are better.
        history: with trials in training, near which nothing more is to be tried; without any, it tells nothing more.
        first_turn: whose turn it is first.
    """
    process = fit_process(members, context)
    if process is None:
        return [functools.partial(_finish, one, context.space) for one in bred[:count]]
    sources = list(_gather(bred, context.space))
    if not sources:
        return []
    # Chosen among all at once, nearly all would be of the thousands of small formulas: the best of many guesses is
    # mostly luck.
    sizes = [len(source.features) for source in sources]
    origins = np.repeat(np.arange(len(sources)), sizes)
    pool = join_features([source.features for source in sources])
    turns = [origins == origin for origin in range(len(sources))]
    places = np.concatenate([np.arange(size) for size in sizes])
    training = describe_pending(history, SiteGroups.shared())
    chosen = process.choose(pool, count, turns=turns, first_turn=first_turn, pending=training)
    return [
        functools.partial(sources[origins[place]].make, int(places[place])) for place in chosen
    ]


def _gather(bred: Sequence[Bred], space: Space) -> Iterator[_Source]:
    """Those that have any function."""
    names, features = _row_features(space.activation_names)
    if features is not None:
        yield _Source(features, lambda place: ([describe(names[place])], "catalog", ()))
    small = small_formulas(space.operator_names)
    if small.parts:
        yield _Source(
            small_features(space.operator_names),
            lambda place: ([compose(small.tree(place), space)], "small formula", ()),
        )
    kept, children = _describe([tree for tree, _, _ in bred])
    if children is not None:
        yield _Source(children, lambda place: _finish(bred[kept[place]], space))


def _finish(bred: Bred, space: Space) -> Child:
    """A bred formula without the parts that change nothing."""
    tree, operation, parents = bred
    return [compose(tree, space)], operation, parents


@functools.lru_cache(maxsize=16)
def _row_features(names: tuple[str, ...]) -> tuple[list[str], Features | None]:
    """Rows with the settings they come with."""
    rows = [name for name in names if CATALOG[name].elementwise]
    kept, features = _describe([build_expression(name) for name in rows])
    return [rows[place] for place in kept], features


def _describe(trees: Sequence[Expression]) -> tuple[list[int], Features | None]:
    """Positions of those that have a curve, and what the process sees of them; None for none."""
    curves = [(place, one) for place, one in enumerate(compute_curves(trees)) if one is not None]
    if not curves:
        return [], None
    kept = [place for place, _ in curves]
    learned = [bool(trees[place].parameters) for place in kept]
    return kept, describe_curves(np.array([one for _, one in curves]), learned)
