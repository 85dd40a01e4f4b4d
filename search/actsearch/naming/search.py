"""Composed formulas that come near a curve: all small ones, then larger ones grown from the best."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator

import numpy as np

from actsearch.expression import Call, Expression, Parameter
from actsearch.naming import library
from actsearch.naming.curve import EXACT, Curve
from actsearch.naming.grammar import Grammar
from actsearch.naming.pairs import Kind, best_pairs, kinds, product, with_constant
from actsearch.naming.pool import Pool
from actsearch.naming.simplify import Fitted

__all__ = ["compose"]

_SINGLES = 40  # for each unit of effort
_FAMILIES = 12  # pairs of each kind and number of operators, for each unit of effort
_PARENTS = 2  # of each size, in a round of growing
_PAIRS = 2  # of a parent with a part of the library, of each kind and number of operators
_RANDOM = 60  # exchanges in a round
_CHANCES = 60  # of these and of operators on a whole formula, those whose constants are fitted


def compose(curve: Curve, grammar: Grammar, seed: int, effort: int) -> list[Fitted]:
    """Formulas near the curve, their constants fitted, best first."""
    parts = _libraries(grammar, curve)
    pool = Pool(curve, grammar)
    pool.add(_singles(curve, parts["every"], _SINGLES * effort))
    for kind in kinds(grammar, curve, parts):
        pool.add(tree for _, tree in best_pairs(curve, kind, _FAMILIES * effort))
    rng = random.Random(seed)
    for _ in range(effort):
        if pool.smallest_share() <= EXACT:
            break
        _grow(pool, parts["small"], rng)
    return pool.ranked()


def _libraries(grammar: Grammar, curve: Curve) -> dict[str, library.Library]:
    small = library.small, library.nested
    return {
        "small": library.make_library(curve, library.small(grammar, curve)),
        "every": library.make_library(
            curve, itertools.chain(*(templates(grammar, curve) for templates in small))
        ),
        "reciprocals": library.make_library(curve, library.reciprocals(grammar, curve)),
        "edges": library.make_library(curve, library.edges(grammar, curve)),
        "steps": library.make_library(curve, library.steps(grammar, curve), constant=True),
    }


def _singles(curve: Curve, every: library.Library, count: int) -> list[Expression]:
    """The best families of a library by themselves."""
    found = []
    for family in range(len(every.forms)):
        shares = curve.compare(every.rows(family))
        row = int(np.argmin(np.round(shares, 9)))
        found.append((float(shares[row]), every.tree(family, row)))
    found.sort(key=lambda item: (round(item[0], 9), str(item[1])))
    return [tree for _, tree in found[:count]]


def _grow(pool: Pool, small: library.Library, rng: random.Random) -> None:
    """Children of the best of each size."""
    parents = _parents(pool)
    trees = [parent.form.put(parent.constants).tree for parent in parents]
    pool.add(child for tree in trees for child in _with_constants(tree, pool.grammar))
    pool.add(child for tree in trees for child in _extended(tree, pool, small))
    wrapped = [
        Call(name, (pool.grammar.scaled(tree),)) for tree in trees for name in pool.grammar.unary
    ]
    exchanged = [_exchange(rng, trees, pool.grammar) for _ in range(_RANDOM if trees else 0)]
    pool.add(itertools.chain(wrapped, exchanged), _CHANCES)


def _extended(tree: Expression, pool: Pool, small: library.Library) -> Iterator[Expression]:
    """The formula plus, or times, a small one."""
    start = [parameter.init for parameter in tree.parameters]
    own = library.make_library(pool.curve, iter([(tree, [tuple(start)])]))
    for kind in _extensions(pool.grammar, own, small):
        for _, child in best_pairs(pool.curve, kind, _PAIRS):
            yield child


def _parents(pool: Pool) -> list[Fitted]:
    """The best of each size that come nearer than all smaller ones, and the next best of it."""
    by_size: dict[int, list[Fitted]] = {}
    for found in pool.ranked():
        by_size.setdefault(found.form.short_size, []).append(found)
    chosen: list[Fitted] = []
    for size in sorted(by_size):
        nearest = min((found.share for found in chosen), default=1.0)
        near = (found for found in by_size[size] if found.share < nearest)
        good = (found for found in near if not found.is_disguised(pool.curve))
        if size < pool.grammar.max_size:
            chosen += itertools.islice(good, _PARENTS)
    return chosen


def _extensions(grammar: Grammar, own: library.Library, small: library.Library) -> Iterator[Kind]:
    if grammar.times and grammar.plus:
        yield from with_constant(grammar, own, small)
    if grammar.times:
        yield Kind(own, small, product, lambda f, g, k: grammar.multiply(f, g))


def _with_constants(tree: Expression, grammar: Grammar) -> Iterator[Expression]:
    """A free constant more at each place of a formula: what is there, times 1 or plus 0."""
    for part, put in _places(tree):
        if isinstance(part, Parameter) or part is tree:
            continue
        for operator, changed in (
            (grammar.times, grammar.scaled(part)),
            (grammar.plus, grammar.shifted(part)),
        ):
            # two factors in a row are one, and so are two terms
            child = put(changed)
            if operator is not None and not _repeats(child, operator):
                yield child


def _repeats(tree: Expression, operator: str) -> bool:
    """Whether a constant is put in twice in a row."""
    if not isinstance(tree, Call):
        return False
    if tree.operator == operator and any(isinstance(item, Parameter) for item in tree.arguments):
        for item in tree.arguments:
            inner = item.arguments if isinstance(item, Call) and item.operator == operator else ()
            if any(isinstance(part, Parameter) for part in inner):
                return True
    return any(_repeats(item, operator) for item in tree.arguments)


_Put = Callable[[Expression], Expression]
"""The whole with another part in a place."""


def _places(tree: Expression) -> Iterator[tuple[Expression, _Put]]:
    """Each part of a formula, and what the whole is with another in its place."""
    yield tree, lambda new: new
    if isinstance(tree, Call):
        for index, item in enumerate(tree.arguments):
            for part, put in _places(item):
                yield part, functools.partial(_inside, tree, index, put)


def _inside(tree: Call, index: int, put: _Put, new: Expression) -> Expression:
    before, after = tree.arguments[:index], tree.arguments[index + 1 :]
    return Call(tree.operator, (*before, put(new), *after))


def _exchange(rng: random.Random, trees: list[Expression], grammar: Grammar) -> Expression:
    """A random part of a formula replaced: by a part of another, or by an operator on it."""
    part, put = rng.choice(_parts(rng.choice(trees)))
    if grammar.unary and rng.random() < 0.5:
        return put(Call(rng.choice(grammar.unary), (part,)))
    return put(rng.choice(_parts(rng.choice(trees)))[0])


def _parts(tree: Expression) -> list[tuple[Expression, _Put]]:
    return [item for item in _places(tree) if not isinstance(item[0], Parameter)]
