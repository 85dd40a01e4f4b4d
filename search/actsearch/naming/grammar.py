"""What may be composed: the rules of a search space, and the words that its operators have for constants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from actsearch.checks import check_known
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Parameter, X, is_well_formed
from actsearch.operators import OPERATORS

__all__ = ["Grammar"]

_POWERS = {"square": 2.0, "cube": 3.0}
_CONSTANT = 1.0


@dataclass(frozen=True)
class Grammar:
    """Operators and limits.

    Attributes:
        operators: names.
        max_size: largest number of nodes.
        max_depth: largest number of levels.
    """

    operators: tuple[str, ...]
    max_size: int
    max_depth: int

    def __post_init__(self) -> None:
        for name in self.operators:
            check_known("operator", name, OPERATORS, ActivationError)

    @cached_property
    def plus(self) -> str | None:
        """The operator that adds."""
        return next((name for name in ("add", "sum") if name in self.operators), None)

    @cached_property
    def times(self) -> str | None:
        """The operator that multiplies."""
        return next((name for name in ("mul", "prod") if name in self.operators), None)

    @cached_property
    def unary(self) -> tuple[str, ...]:
        """Operators of one argument that bend it, in the order of the table."""
        return tuple(
            name
            for name, row in OPERATORS.items()
            if name in self.operators and row.arity == 1 and name not in ("identity", "neg")
        )

    def has(self, *names: str) -> bool:
        """Whether all of them may be used."""
        return all(name in self.operators for name in names)

    def add(self, left: Expression, right: Expression) -> Expression:
        """Their sum."""
        assert self.plus is not None
        return Call(self.plus, (left, right))

    def multiply(self, left: Expression, right: Expression) -> Expression:
        """Their product."""
        assert self.times is not None
        return Call(self.times, (left, right))

    def scaled(self, tree: Expression, factor: float = _CONSTANT) -> Expression:
        """A constant times it; itself where nothing multiplies."""
        return tree if self.times is None else self.multiply(Parameter(factor), tree)

    def shifted(self, tree: Expression, offset: float = 0.0) -> Expression:
        """A constant plus it; itself where nothing adds."""
        return tree if self.plus is None else self.add(Parameter(offset), tree)

    def allows(self, tree: Expression) -> bool:
        """Whether a formula keeps the rules of composing, as ``acs.Space.allows`` does, and the limits."""
        return (
            isinstance(tree, Call)
            and tree.size <= self.max_size
            and tree.depth <= self.max_depth
            and tree.operators <= set(self.operators)
            and is_well_formed(tree)
        )


def calls(tree: Expression) -> int:
    """Number of operators, without those that only bring in a constant."""
    if not isinstance(tree, Call):
        return 0
    constant = any(isinstance(item, Parameter) for item in tree.arguments)
    own = 0 if constant and len(tree.arguments) == 2 else 1
    return own + sum(calls(item) for item in tree.arguments)


def shape(tree: Expression) -> str:
    """The formula with all constants alike: what two forms of one family have in common."""
    if isinstance(tree, Parameter):
        return "c"
    if isinstance(tree, Call):
        return f"{tree.operator}({','.join(map(shape, tree.arguments))})"
    return str(tree)


def line(grammar: Grammar, factor: float = 1.0, offset: float | None = None) -> Expression:
    """``factor * x + offset`` with free constants; without the offset if it is None."""
    tree = grammar.scaled(X, factor)
    return tree if offset is None else grammar.shifted(tree, offset)
