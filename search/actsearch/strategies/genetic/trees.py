"""Formulas as DEAP trees and back. Trees are never compiled or read from text: both of DEAP's ways call eval."""

from __future__ import annotations

import functools
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

    The set is untyped, so that DEAP picks crossover points by index alone. It is shared: only draw from it.
    """
    return _primitive_set(space.operator_names)


@functools.lru_cache(maxsize=16)  # each proposal asks for it
def _primitive_set(operators: tuple[str, ...]) -> Any:
    pset = gp.PrimitiveSet("formulas", 0)
    for name in operators:
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


class _Operation(gp.Primitive):  # type: ignore[misc]
    """A primitive that carries the call it stands for."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        super().__init__(call.operator, [_TYPE] * len(call.arguments), _TYPE)
        self.call = call


def to_tree(expression: Expression) -> Any:
    """A DEAP tree (nodes in prefix order) of a formula."""
    return gp.PrimitiveTree(_nodes(expression))


@functools.lru_cache(maxsize=1024)  # a parent has many children
def _nodes(expression: Expression) -> tuple[Any, ...]:
    def read(tree: Expression) -> Iterator[Any]:
        if isinstance(tree, Call):
            yield _Operation(tree)
            for argument in tree.arguments:
                yield from read(argument)
        else:
            yield leaf(tree)

    return tuple(read(expression))


def from_tree(tree: Any) -> Expression:
    """The formula of a DEAP tree; what is whole of a parent's is the parent's own part, and not made again.

    Raises:
        FormulaError: it is not a valid formula, as with a power of numbers that overflows.
    """
    made: list[Expression] = []  # from the end: a node's arguments are the last ones made
    for node in reversed(tree):
        if isinstance(node, gp.Terminal):
            made.append(node.value)
        else:
            arguments = tuple(reversed(made[-node.arity :]))
            made[-node.arity :] = [_call(node, arguments)]
    (formula,) = made
    return formula


def _call(node: Any, arguments: tuple[Expression, ...]) -> Call:
    """What a primitive makes of its arguments."""
    if isinstance(node, _Operation) and arguments == node.call.arguments:
        return node.call
    row = OPERATORS[node.name]
    if row.learned and not all(
        isinstance(number, (Number, Parameter)) for number in arguments[row.arity :]
    ):
        # crossover has put a subtree in the place of a learned number
        arguments = arguments[: row.arity]
    return Call(node.name, arguments)
