"""The first batch of genetic search."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from actsearch.activation_catalog import CATALOG
from actsearch.activations import build_expression, describe
from actsearch.records import CandidateRecord
from actsearch.strategies.base import Context
from actsearch.strategies.genetic.variation import mutate, random_formula
from actsearch.strategies.known import KNOWN, known_functions
from actsearch.strategies.population import CandidateBatch, Child, compose

__all__ = ["add_first"]

_ATTEMPTS = 60  # at one variant that is new and keeps the rules


def add_first(
    batch: CandidateBatch,
    n: int,
    context: Context,
    pset: Any,
    start: str,
    draws: Sequence[CandidateRecord] = (),
) -> None:
    """What the benchmark's tasks say to begin with, or half catalog rows; variants of catalog rows for the rest.

    Args:
        batch: is filled up to n.
        n: how many.
        context: with the space.
        pset: DEAP's operators and terminals of the space.
        start: "portfolio" or "catalog".
        draws: random ones, which come behind a portfolio in the place of its last functions.
    """
    space = context.space
    known = known_functions(space) if start == "portfolio" else None
    if known:
        for item in known.portfolio(n - len(draws)):
            batch.accept(CandidateRecord.shared(item, KNOWN))
        for draw in draws:
            batch.accept(draw)
    rows = [name for name in space.activation_names if CATALOG[name].elementwise]
    if not batch.accepted:
        for name in rows if len(rows) <= n // 2 else random.sample(rows, n // 2):
            batch.accept(CandidateRecord.shared(describe(name), "catalog"))
    trees = [tree for name in rows if (tree := build_expression(name)).depth <= space.max_depth]

    def variant() -> Child:
        if not trees or random.random() < 0.1:
            tree, operation = random_formula(pset), "random formula"
        else:
            operation, tree = mutate(random.choice(trees), pset)
        return [compose(tree, space)], operation, ()

    # a small space may have fewer variants than asked for
    while len(batch.accepted) < n and batch.add(variant, _ATTEMPTS):
        pass
