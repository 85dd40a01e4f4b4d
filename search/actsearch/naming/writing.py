"""Formulas as people write them: with a factor and an offset, differences for negative terms, and few digits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from actsearch.errors import FormulaError
from actsearch.expression import Call, Expression, Number, Variable, canonical
from actsearch.naming.curve import EXACT, Curve
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers
from actsearch.naming.grammar import Grammar
from actsearch.naming.simplify import Fitted

__all__ = ["Written", "tidy", "write"]

_SLACK = 1.2  # times the error that a factor of 1 or an offset of 0 may leave: noise moves them by about that much
_ROUNDING = 1.02  # times the error that a number with fewer digits may leave
_MOST_DIGITS = 7  # of a number; single precision has no more
_SAFE_DIGITS = 12  # of a product of numbers, so that 3 * (1 / 3) is 1
_PRODUCTS = frozenset({"mul", "prod"})
_SUMS = frozenset({"add", "sum"})
_SIGNS = frozenset({"add", "sub", "mul", "neg"})


@dataclass(frozen=True)
class Written:
    """A formula in its final form.

    Attributes:
        tree: with factor and offset.
        core: without.
        error: share of the curve's variance that is left over.
        is_plain: whether x stands in the core without factor or offset of its own.
        found: what it was written from.
    """

    tree: Expression
    core: Expression
    error: float
    is_plain: bool
    found: Fitted


def write(curve: Curve, found: Fitted, grammar: Grammar) -> Written | None:
    """The formula with the factor and offset that it needs; None for one that breaks the rules of composing."""
    core = found.tree()
    if core is None or not core.uses_x:
        return None
    words = _Words.of(found, grammar)
    plain = found.is_plain if found.form.row else not _has_number_beside_x(core)
    limit = _SLACK * max(found.share, EXACT)
    options = []
    for factor, offset in _outer(curve, found, core):
        tree = words.write(core, factor, offset)
        if tree is not None and (error := _error(curve, tree)) <= limit:
            options.append((tree.size, float(f"{error:.4g}"), str(tree), tree))
    inner = words.write(core, 1.0, 0.0)
    if inner is None:
        return None
    if options:
        tree = _shorten(curve, min(options, key=lambda option: option[:3])[-1])
        return Written(tree, inner, _error(curve, tree), plain, found)
    return Written(inner, inner, found.share, plain, found)


@dataclass(frozen=True)
class _Words:
    """Which operators write constants, and what may be written at all."""

    operators: frozenset[str]
    times: str | None
    plus: str | None
    allows: Callable[[Expression], bool]

    @classmethod
    def of(cls, found: Fitted, grammar: Grammar) -> _Words:
        """Those of a search space; all of them for a row of the catalog."""
        if found.form.row:
            return cls(_SIGNS, "mul", "add", lambda tree: True)
        return cls(frozenset(grammar.operators), grammar.times, grammar.plus, grammar.allows)

    def write(self, core: Expression, factor: float, offset: float) -> Expression | None:
        """``factor * core + offset``, or None."""
        if (factor != 1 and self.times is None) or (offset != 0 and self.plus is None):
            return None
        try:
            tree = core if factor == 1 else _multiply(core, factor, self.times or "")
            tree = tree if offset == 0 else Call(self.plus or "", (tree, Number(offset)))
            tree = _order(canonical(tree), self.operators)
        except FormulaError:  # a product of constants that is too large
            return None
        return tree if self.allows(tree) else None


def _outer(curve: Curve, found: Fitted, core: Expression) -> Iterator[tuple[float, float]]:
    """Factors and offsets worth trying: none, either, both; and factors that free a term of a sum of its own."""
    values, w = found.values(curve), curve.weights
    factors, offsets = curve.scale(values[None])
    alone = float(w @ (values * curve.y)) / max(float(w @ values**2), 1e-300)
    given = [1.0, -1.0, *(sign / own for own in _own_factors(core) for sign in (1.0, -1.0))]
    for factor in (*given, alone):
        yield factor, 0.0
    for factor in given:
        yield factor, curve.mean - factor * float(w @ values)
    yield float(factors[0]), float(offsets[0])


def _own_factors(tree: Expression) -> Iterator[float]:
    """Factors of the terms of a sum."""
    if isinstance(tree, Call) and tree.operator in _SUMS:
        for item in tree.arguments:
            yield from _own_factors(item)
            if isinstance(item, Call) and item.operator in _PRODUCTS:
                yield from (
                    part.value
                    for part in item.arguments
                    if isinstance(part, Number) and part.value
                )


def _multiply(tree: Expression, factor: float, times: str) -> Expression:
    """The factor within the formula where it takes no more nodes than before it."""
    plain = canonical(Call(times, (Number(factor), tree)))
    if not isinstance(tree, Call) or tree.operator not in _PRODUCTS | _SUMS:
        return plain
    if tree.operator in _PRODUCTS:
        parts = (_multiply(tree.arguments[0], factor, times), *tree.arguments[1:])
    else:
        parts = tuple(_multiply(item, factor, times) for item in tree.arguments)
    inside = canonical(_round_numbers(canonical(Call(tree.operator, parts))))
    # 1.5 * (x + 1) is read more easily than 1.5 * x + 1.5
    is_shift = (
        isinstance(inside, Call)
        and tree.operator in _SUMS
        and isinstance(inside.arguments[0], Number)
    )
    return plain if is_shift or inside.size > plain.size else inside


def _round_numbers(tree: Expression) -> Expression:
    if isinstance(tree, Number):
        return Number(float(f"{tree.value:.{_SAFE_DIGITS}g}"))
    if isinstance(tree, Call):
        return Call(tree.operator, tuple(map(_round_numbers, tree.arguments)))
    return tree


def tidy(tree: Expression) -> Expression:
    """With signs as people write them: ``x + 0.05`` for ``x - -0.05``, and ``-0.7 * sin(x)`` for ``0 - 0.7 * sin(x)``.

    Numbers that learn may end with another sign than that with which they were written.
    """
    return _order(_without_double_signs(tree), _SIGNS)


def _without_double_signs(tree: Expression) -> Expression:
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(map(_without_double_signs, tree.arguments))
    if tree.operator != "sub":
        return Call(tree.operator, arguments)
    left, right = arguments
    if left == Number(0):
        return _minus(right)
    positive = _negated(right)
    return Call("sub", arguments) if positive is None else Call("add", (left, positive))


def _minus(tree: Expression) -> Expression:
    """A term with the other sign."""
    if (positive := _negated(tree)) is not None:
        return positive
    if isinstance(tree, Number):
        return Number(-tree.value)
    if isinstance(tree, Call) and tree.operator == "mul" and isinstance(tree.arguments[0], Number):
        number, rest = tree.arguments
        return Call("mul", (_minus(number), rest))
    return Call("neg", (tree,))


def _order(tree: Expression, operators: Collection[str]) -> Expression:
    """Numbers behind what they are added to and before what they multiply; minus signs, where there are operators."""
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(_order(item, operators) for item in tree.arguments)
    if tree.operator == "mul":
        return _order_product(arguments[0], arguments[1], operators)
    if tree.operator != "add":
        return Call(tree.operator, arguments)
    left, right = arguments
    if isinstance(left, Number) and not isinstance(right, Number):
        left, right = right, left
    if "sub" in operators:
        for first, second in ((left, right), (right, left)):
            if (positive := _negated(second)) is not None:
                return Call("sub", (first, positive))
    return Call("add", (left, right))


def _order_product(left: Expression, right: Expression, operators: Collection[str]) -> Expression:
    if (
        isinstance(right, Call)
        and right.operator == "mul"
        and isinstance(right.arguments[0], Number)
    ):
        number, rest = right.arguments
        if not isinstance(left, Number):  # g * (2 * f) as 2 * f * g
            return Call("mul", (Call("mul", (number, rest)), left))
    if left == Number(-1) and "neg" in operators and not isinstance(right, Number):
        return Call("neg", (right,))
    return Call("mul", (left, right))


def _negated(tree: Expression) -> Expression | None:
    """A term without its minus; None if it has none."""
    if isinstance(tree, Number) and tree.value < 0:
        return Number(-tree.value)
    if isinstance(tree, Call) and tree.operator == "neg":
        return tree.arguments[0]
    if isinstance(tree, Call) and tree.operator == "mul":
        first, rest = tree.arguments
        if first == Number(-1):
            return rest
        if (positive := _negated(first)) is not None:
            return rest if positive == Number(1) else Call("mul", (positive, rest))
    return None


def _shorten(curve: Curve, tree: Expression) -> Expression:
    """Each number with the fewest digits that leave the error as it is."""
    count = sum(isinstance(node, Number) for node in tree.walk())
    for index in range(count):
        limit = max(_error(curve, tree), EXACT) * _ROUNDING
        for digits in range(1, _MOST_DIGITS + 1):
            short = _with_digits(tree, itertools.count(), index, digits)
            if _error(curve, short) <= limit or digits == _MOST_DIGITS:
                tree = short
                break
    return tree


def _with_digits(tree: Expression, numbers: Iterator[int], index: int, digits: int) -> Expression:
    """One number of a formula, counted in order, with so many digits."""
    if isinstance(tree, Number):
        own = next(numbers) == index
        return Number(float(f"{tree.value:.{digits}g}")) if own else tree
    if isinstance(tree, Call):
        return Call(
            tree.operator,
            tuple(_with_digits(item, numbers, index, digits) for item in tree.arguments),
        )
    return tree


def _error(curve: Curve, tree: Expression) -> float:
    values: Numbers = Form(tree).compute(np.zeros((1, 0)), curve.x)[0]
    error = float(curve.weights @ (values - curve.y) ** 2) / curve.variance
    return error if np.isfinite(error) else np.inf


def _has_number_beside_x(tree: Expression) -> bool:
    if not isinstance(tree, Call):
        return False
    is_line = tree.operator in _PRODUCTS | _SUMS and any(
        isinstance(item, Variable) for item in tree.arguments
    )
    numbers = any(isinstance(item, Number) for item in tree.arguments)
    return (is_line and numbers) or any(map(_has_number_beside_x, tree.arguments))
