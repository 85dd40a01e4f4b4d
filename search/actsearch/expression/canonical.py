"""One order for what commutes and one spelling for what is trivially equal.

Cheap, local and exact: it never changes a value or a gradient beyond rounding, nor the number of parameters.
Equality of functions is the business of :func:`actsearch.fingerprint`; this only makes texts comparable and
gives parameters an order that does not depend on how a sum was typed.
"""

from __future__ import annotations

from actsearch.expression.nodes import Call, Expression, Number

__all__ = ["canonical"]

_COMMUTATIVE = frozenset({"add", "mul", "max", "min"})


def canonical(tree: Expression) -> Expression:
    """Return the canonical form: arguments of commutative operators sorted, trivial parts removed."""
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(canonical(argument) for argument in tree.arguments)
    if tree.operator in _COMMUTATIVE:
        arguments = tuple(sorted(arguments, key=_order))
    return _simplified(Call(tree.operator, arguments))


def _order(tree: Expression) -> tuple[int, int, str]:
    """Numbers first, then small before large, then by text."""
    return (not isinstance(tree, Number), tree.size, str(tree))


def _simplified(tree: Call) -> Expression:
    first, *rest = tree.arguments
    match tree.operator:
        case "identity":
            return first
        case "add" if first == Number(0):
            return rest[0]
        case "mul" if first == Number(1):
            return rest[0]
        case "neg" if isinstance(first, Call) and first.operator == "neg":
            return first.arguments[0]
        case "neg" if isinstance(first, Number):
            return Number(-first.value)
        case "sub" if rest[0] == Number(0):
            return first
        case "div" | "pow" if rest[0] == Number(1):
            return first
        case "max" | "min" if first == rest[0] and not first.parameters:
            return first
    return tree
