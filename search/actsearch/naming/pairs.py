"""Which pairs of two libraries come near a curve.

How far a sum, product or quotient of two functions is from the curve, after the best factors, follows from a few inner
products; for all pairs of rows these are products of matrices. Millions of pairs take about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from actsearch.expression import Call, Expression
from actsearch.naming.curve import Curve
from actsearch.naming.functions import Numbers
from actsearch.naming.grammar import Grammar
from actsearch.naming.library import Library

__all__ = ["Kind", "best_pairs", "kinds", "product", "with_constant"]

Score = Callable[[Curve, Numbers, Numbers], tuple[Numbers, Numbers]]
"""Shares left over by each pair of rows, and the inner constant of each: (a, points), (b, points) -> (a, b) twice."""

_CHUNK = (
    200  # rows of the first library at a time: the arrays of a step stay in the processor's cache
)
_ALIKE = (
    1e-7  # share of one function that the other does not explain, below which they count as one
)


@dataclass(frozen=True)
class Kind:
    """One way to combine two functions.

    Attributes:
        first: library of the first part.
        second: of the second part.
        score: how near pairs come.
        build: the formula of two parts and the inner constant.
    """

    first: Library
    second: Library
    score: Score
    build: Callable[[Expression, Expression, float], Expression]


def best_pairs(curve: Curve, kind: Kind, count: int) -> list[tuple[float, Expression]]:
    """The best pairs of families, up to ``count`` for each number of operators: share left over, and formula."""
    if not kind.first.forms or not kind.second.forms:
        return []
    shares = _table(curve, kind)
    operators = kind.first.calls[:, None] + kind.second.calls
    found = []
    for number in np.unique(operators):
        of_number = np.where(operators == number, shares, np.inf).ravel()
        few = np.argsort(np.round(of_number, 9), kind="stable")[:count]
        for index in few[of_number[few] < 1]:
            found.append(_best_rows(curve, kind, *divmod(int(index), shares.shape[1])))
    return found


def _table(curve: Curve, kind: Kind) -> Numbers:
    """Smallest share of each two families; (families of the first, families of the second)."""
    first, second = kind.first, kind.second
    lengths = np.array([len(item) for item in first.constants])
    parts, start = [], 0
    while start < len(lengths):
        stop = start + max(
            1, int(np.searchsorted(np.cumsum(lengths[start:]), _CHUNK, side="right"))
        )
        begin = int(first.first[start])
        rows = first.values[begin : begin + int(lengths[start:stop].sum())]
        with np.errstate(all="ignore"):
            shares = kind.score(curve, rows, second.values)[0]
        shares = np.where(np.isfinite(shares), shares, np.inf)
        shares = np.minimum.reduceat(shares, first.first[start:stop] - begin, axis=0)
        parts.append(np.minimum.reduceat(shares, second.first, axis=1))
        start = stop
    return np.concatenate(parts)


def _best_rows(curve: Curve, kind: Kind, one: int, other: int) -> tuple[float, Expression]:
    with np.errstate(all="ignore"):
        shares, inner = kind.score(curve, kind.first.rows(one), kind.second.rows(other))
    shares = np.where(np.isfinite(shares), shares, np.inf)
    row, column = divmod(int(np.argmin(np.round(shares, 9))), shares.shape[1])
    constant = float(
        np.clip(
            np.nan_to_num(np.broadcast_to(inner, shares.shape)[row, column]),
            -curve.reach,
            curve.reach,
        )
    )
    tree = kind.build(kind.first.tree(one, row), kind.second.tree(other, column), constant)
    return float(shares[row, column]), tree


def product(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """``f * g``."""
    squares, along, _ = _moments(curve, left, right)
    return 1 - along**2 / squares / curve.variance, np.zeros(1)


def product_with_offset(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """``f * (k + g)``."""
    squares, along, means = _moments(curve, left, right)
    w = curve.weights
    alone = left - (left @ w)[:, None]
    mixed = (alone * left * w) @ right.T
    square, own = (alone * alone) @ w, (alone * w) @ curve.centred
    shares, inner = _two(curve, squares, along, square[:, None], own[:, None], mixed)
    return shares, inner


def total(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """``f + k * g``."""
    w, y = curve.weights, curve.centred
    left, right = left - (left @ w)[:, None], right - (right @ w)[:, None]
    one, own = ((left * left) @ w)[:, None], ((left * w) @ y)[:, None]
    return _two(curve, one, own, (right * right) @ w, (right * w) @ y, (left * w) @ right.T)


def larger(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """``max(f, g)``."""
    return _each(curve, np.maximum(left[:, None], right))


def smaller(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """``min(f, g)``."""
    return _each(curve, np.minimum(left[:, None], right))


def _each(curve: Curve, values: Numbers) -> tuple[Numbers, Numbers]:
    shares = curve.compare(values.reshape(-1, values.shape[-1])).reshape(values.shape[:2])
    return shares, np.zeros(1)


def _moments(curve: Curve, left: Numbers, right: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Variance of each product, its inner product with the curve, and its mean; (a, b) each."""
    w = curve.weights
    means = (left * w) @ right.T
    squares = (left * left * w) @ (right * right).T
    along = (left * (w * curve.centred)) @ right.T
    variances = squares - means**2
    return np.where(variances > 1e-10 * squares, variances, np.inf), along, means


def _two(
    curve: Curve,
    first: Numbers,
    along_first: Numbers,
    second: Numbers,
    along_second: Numbers,
    mixed: Numbers,
) -> tuple[Numbers, Numbers]:
    """Shares left over by the best combination of two centred functions, and the second's factor over the first's."""
    determinant = first * second - mixed**2
    determinant = np.where(determinant > _ALIKE * first * second, determinant, np.inf)
    one = (along_first * second - along_second * mixed) / determinant
    two = (along_second * first - along_first * mixed) / determinant
    return 1 - (one * along_first + two * along_second) / curve.variance, two / one


def kinds(grammar: Grammar, curve: Curve, parts: Mapping[str, Library]) -> Iterator[Kind]:
    """Every way to combine two functions that the operators allow."""
    small, every = parts["small"], parts["every"]
    if grammar.times:
        yield Kind(every, small, product, lambda f, g, k: grammar.multiply(f, g))
    if grammar.times and grammar.plus:
        yield from with_constant(grammar, small, every)
    if grammar.has("div"):
        yield Kind(small, parts["reciprocals"].inverted(), product, _call("div"))
    if grammar.has("piecewise") and grammar.times:
        left, right = small.masked(curve.x < 0), small.masked(curve.x >= 0)
        yield Kind(
            left, right, total, lambda f, g, k: Call("piecewise", (f, grammar.scaled(g, k)))
        )
    for name, score in (("max", larger), ("min", smaller)):
        if grammar.has(name):
            yield Kind(parts["edges"], parts["steps"], score, _call(name))


def with_constant(grammar: Grammar, first: Library, second: Library) -> Iterator[Kind]:
    """``f * (k + g)`` and ``f + k * g``."""
    yield Kind(
        first,
        second,
        product_with_offset,
        lambda f, g, k: grammar.multiply(f, grammar.shifted(g, k)),
    )
    yield Kind(first, second, total, lambda f, g, k: grammar.add(f, grammar.scaled(g, k)))


def _call(name: str) -> Callable[[Expression, Expression, float], Expression]:
    return lambda f, g, k: Call(name, (f, g))
