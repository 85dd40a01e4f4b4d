"""One order for what commutes and one spelling for what is trivially equal.

Cheap, local and exact: it never changes a value or a gradient beyond rounding, nor the number of parameters.
Equality of functions is the business of :func:`actsearch.fingerprint`; this only makes texts comparable and
gives parameters an order that does not depend on how a sum was typed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from actsearch.errors import FormulaError
from actsearch.expression.nodes import Call, Expression, Number, Parameter

__all__ = ["COMMUTATIVE", "canonical"]

COMMUTATIVE = frozenset({"add", "mul", "max", "min", "sum", "prod"})
"""Names of the operators whose arguments may stand in any order."""

_PAIR = {"sum": "add", "prod": "mul"}  # what two arguments of it are
_NEUTRAL = {"add": 0.0, "sum": 0.0, "mul": 1.0, "prod": 1.0}

_FOLDS: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "pow": math.pow,
    "abs": abs,
    "max": max,
    "min": min,
    "square": lambda a: a * a,
    "cube": lambda a: a * a * a,
    "reciprocal": lambda a: 1 / a,
    "sum": lambda *numbers: sum(numbers),
    "prod": lambda *numbers: math.prod(numbers),
    **{
        name: getattr(math, name)
        for name in (
            *("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos"),
            *("sinh", "cosh", "tanh", "atan", "asinh", "erf", "erfc"),
        )
    },
}


def canonical(tree: Expression) -> Expression:
    """Return the canonical form: commuting arguments sorted, trivial parts removed, calls of numbers worked out."""
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(canonical(argument) for argument in tree.arguments)
    if tree.operator in COMMUTATIVE:
        arguments = _gather_numbers(tree.operator, tuple(sorted(arguments, key=_order)))
        arguments = _drop_neutral(tree.operator, arguments)
        if len(arguments) == 1:
            return arguments[0]
    if tree.operator == "mix":
        arguments = _order_mix(*arguments)
    name = _PAIR.get(tree.operator, tree.operator) if len(arguments) == 2 else tree.operator
    return _simplify(Call(name, arguments))


def _order(tree: Expression) -> tuple[int, int, str]:
    """Numbers first, then small before large, then by text."""
    return (not isinstance(tree, Number), tree.size, str(tree))


def _gather_numbers(name: str, arguments: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """The numbers among sorted arguments as one, if together they are a number."""
    count = sum(isinstance(item, Number) for item in arguments)
    if count < 2:
        return arguments
    number = _fold_numbers(Call(name, arguments[:count]))
    return (number, *arguments[count:]) if isinstance(number, Number) else arguments


def _drop_neutral(name: str, arguments: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """Without zeros in a sum, ones in a product, and repeated arguments of max and min; at least one is kept."""
    if name in _NEUTRAL:
        kept = [item for item in arguments if item != Number(_NEUTRAL[name])]
    else:  # each occurrence of a learned parameter is a number of its own, not a repetition
        kept = [
            item
            for index, item in enumerate(arguments)
            if item.parameters or item not in arguments[:index]
        ]
    return tuple(kept) or arguments[:1]


def _order_mix(
    first: Expression, second: Expression, weight: Expression
) -> tuple[Expression, Expression, Expression]:
    """mix(a, b, w) is mix(b, a, 1 - w): the smaller argument comes first."""
    if _order(first) <= _order(second):
        return first, second, weight
    if isinstance(weight, Parameter):
        return second, first, Parameter(1 - weight.init, weight.per)
    assert isinstance(weight, Number)
    return second, first, Number(1 - weight.value)


def _simplify(tree: Call) -> Expression:
    first, *rest = tree.arguments
    match tree.operator:
        case "identity":
            return first
        case "neg" if isinstance(first, Call) and first.operator == "neg":
            return first.arguments[0]
        case "sub" if rest[0] == Number(0):
            return first
        case "div" | "pow" if rest[0] == Number(1):
            return first
    return _fold_numbers(tree)


def _fold_numbers(tree: Call) -> Expression:
    """The number that a call of numbers is, where it is one; torch decides about the others."""
    function = _FOLDS.get(tree.operator)
    numbers = [item.value for item in tree.arguments if isinstance(item, Number)]
    if function is None or len(numbers) != len(tree.arguments):
        return tree
    try:
        return Number(function(*numbers))
    except (ArithmeticError, ValueError, FormulaError):  # 1/0, log(-1), more than Limits.NUMBER
        return tree
