"""Making a child formula from one or two parents. Every function draws from the global ``random``, as DEAP does;
the strategy seeds and restores it around each proposal.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any

from deap import gp

from actsearch.expression import Call, Expression, Number, Parameter, X
from actsearch.strategies.genetic.trees import from_tree, to_tree

__all__ = ["MUTATIONS", "crossover", "mutate", "random_formula"]


def random_formula(pset: Any) -> Expression:
    """Ramped half-and-half, depth 1 to 3 (Koza 1992)."""
    return from_tree(gp.PrimitiveTree(gp.genHalfAndHalf(pset, min_=1, max_=3)))


def crossover(a: Expression, b: Expression) -> Expression:
    """Swap random subtrees of two parents and keep one child (one-point crossover)."""
    first, second = gp.cxOnePoint(to_tree(a), to_tree(b))
    return from_tree(random.choice((first, second)))


def subtree(parent: Expression, pset: Any) -> Expression:
    """A random subtree is replaced by a new one of depth 0 to 2."""
    grow = functools.partial(gp.genFull, min_=0, max_=2)
    (child,) = gp.mutUniform(to_tree(parent), expr=grow, pset=pset)
    return from_tree(child)


def node(parent: Expression, pset: Any) -> Expression:
    """One operator below the root is replaced by one of its arity, or a leaf by a leaf (as DEAP does)."""
    tree = to_tree(parent)
    if len(tree) < 2:
        return parent
    index = random.randrange(1, len(tree))
    if isinstance(tree[index], gp.Terminal):
        others = pset.terminals[object]
    else:
        others = [item for item in pset.primitives[object] if item.arity == tree[index].arity]
    if not others:
        # the space has no operator of this arity, on which DEAP's mutNodeReplacement fails
        return parent
    return _replace_node(tree, index, random.choice(others))


def hoist(parent: Expression, pset: Any) -> Expression:
    """A random subtree becomes the whole formula: a step towards smaller ones (Kinnear 1993)."""
    tree = to_tree(parent)
    if len(tree) < 3:
        return parent
    start = random.randrange(1, len(tree))
    return from_tree(gp.PrimitiveTree(tree[tree.searchSubtree(start)]))


def jitter(parent: Expression, pset: Any) -> Expression:
    """One number, or the start of one parameter, moves by about a tenth of its size."""

    def move(item: Number | Parameter) -> Expression:
        value = item.value if isinstance(item, Number) else item.init
        # a number near 0 moves as one of 0.5 does: a tenth of nothing would keep it there
        new = round(value + random.gauss(0, 0.1) * max(abs(value), 0.5), 4)
        return Parameter(new, item.per) if isinstance(item, Parameter) else Number(new)

    return _change_leaf(parent, (Number, Parameter), move)


def learn(parent: Expression, pset: Any) -> Expression:
    """A number becomes a learned parameter that starts there, or a parameter its start value."""

    def swap(item: Number | Parameter) -> Expression:
        return Number(item.init) if isinstance(item, Parameter) else Parameter(item.value)

    return _change_leaf(parent, (Number, Parameter), swap)


def scope(parent: Expression, pset: Any) -> Expression:
    """A shared parameter becomes one for each channel, or the other way round."""

    def swap(item: Parameter) -> Expression:
        return Parameter(item.init, "tensor" if item.per == "channel" else "channel")

    return _change_leaf(parent, (Parameter,), swap)


def scale(parent: Expression, pset: Any) -> Expression:
    """One x becomes a scaled x, by a number or a learned parameter that starts at 1."""
    factor: Expression = random.choice((Number(0.5), Number(2.0), Parameter(1.0)))
    return _change_leaf(parent, (type(X),), lambda item: Call("mul", (factor, X)))


def _change_leaf(
    parent: Expression, kinds: tuple[type[Expression], ...], change: Callable[[Any], Expression]
) -> Expression:
    """Change one random leaf of some kind; the parent itself if it has none."""
    tree = to_tree(parent)
    indices = [
        index
        for index, item in enumerate(tree)
        if isinstance(item, gp.Terminal) and isinstance(item.value, kinds)
    ]
    if not indices:
        return parent
    index = random.choice(indices)
    return _replace_node(tree, index, *to_tree(change(tree[index].value)))


def _replace_node(tree: Any, index: int, *nodes: Any) -> Expression:
    return from_tree(gp.PrimitiveTree([*tree[:index], *nodes, *tree[index + 1 :]]))


Mutation = Callable[[Expression, Any], Expression]

# Those that change the structure are drawn about as often as those that only tune numbers.
MUTATIONS: dict[str, tuple[Mutation, float]] = {
    "subtree": (subtree, 3.0),
    "node": (node, 2.0),
    "hoist": (hoist, 1.0),
    "jitter": (jitter, 2.0),
    "learn": (learn, 1.0),
    "scope": (scope, 0.5),
    "scale": (scale, 1.5),
}
"""Mutations with the weight of their choice."""

_NAMES = list(MUTATIONS)
_CUMULATED = list(itertools.accumulate(weight for _, weight in MUTATIONS.values()))


def mutate(parent: Expression, pset: Any) -> tuple[str, Expression]:
    """Name of a random mutation and what it makes."""
    (name,) = random.choices(_NAMES, cum_weights=_CUMULATED)
    return name, MUTATIONS[name][0](parent, pset)
