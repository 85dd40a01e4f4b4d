"""Formulas as DEAP trees and back. Trees are never compiled or read from text: both of DEAP's ways call eval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deap import gp

from actsearch.expression import Call, Expression, Number, Parameter, X
from actsearch.operators import OPERATORS
from actsearch.strategies.space import Space

__all__ = ["from_tree", "leaf", "primitive_set", "to_tree"]

_NUMBERS = (0.0, 0.1, 0.5, 1.0, 2.0)
_STARTS = (0.25, 1.0)
_TYPE = object  # one type: crossover of typed trees depends on object addresses


def primitive_set(space: Space) -> Any:
    """Operators of the space as primitives, repeated by their weight; x, numbers and parameters as terminals.

    The set is untyped, so that DEAP picks crossover points by index alone.
    """
    pset = gp.PrimitiveSet("formulas", 0)
    for name in space.operator_names:
        row = OPERATORS[name]
        pset.addPrimitive(_never_called, row.usual_arity, name)
        primitive = pset.mapping[name]
        # DEAP picks uniformly: an operator of weight 1 stands there twice, the rarest once
        pset.primitives[_TYPE] += [primitive] * (max(1, round(2 * row.weight)) - 1)
    # Two leaves of three are x: a subtree without x is a number, however large it is.
    pset.terminals[_TYPE] += [leaf(X)] * 12
    pset.terminals[_TYPE] += [leaf(Number(value)) for value in _NUMBERS]
    pset.terminals[_TYPE] += [leaf(Parameter(value)) for value in _STARTS]
    return pset


def _never_called(*arguments: Any) -> Any:
    raise TypeError("formula trees are built into modules, not compiled by DEAP")


def leaf(expression: Expression) -> Any:
    """A terminal that carries a leaf of a formula."""
    return gp.Terminal(expression, False, _TYPE)


def to_tree(expression: Expression) -> Any:
    """A DEAP tree (nodes in prefix order) of a formula."""

    def nodes(tree: Expression) -> Iterator[Any]:
        if isinstance(tree, Call):
            yield gp.Primitive(tree.operator, [_TYPE] * len(tree.arguments), _TYPE)
            for argument in tree.arguments:
                yield from nodes(argument)
        else:
            yield leaf(tree)

    return gp.PrimitiveTree(nodes(expression))


def from_tree(tree: Any) -> Expression:
    """The formula of a DEAP tree.

    Raises:
        FormulaError: it is not a valid formula, as with a power of numbers that overflows.
    """
    position = 0

    def read() -> Expression:
        nonlocal position
        node = tree[position]
        position += 1
        if isinstance(node, gp.Terminal):
            value = node.value
            assert isinstance(value, Expression)
            return value
        arguments = tuple(read() for _ in range(node.arity))
        arity = OPERATORS[node.name].arity
        if OPERATORS[node.name].learned and not all(
            isinstance(number, (Number, Parameter)) for number in arguments[arity:]
        ):
            # crossover has put a subtree in the place of a learned number
            arguments = arguments[:arity]
        return Call(node.name, arguments)

    return read()
