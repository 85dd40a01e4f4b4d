"""Which formulas are worth composing."""

from __future__ import annotations

from actsearch.expression.nodes import Call, Expression, Number
from actsearch.operators import OPERATORS

__all__ = ["is_well_formed"]


def is_well_formed(tree: Expression, families: frozenset[str] = frozenset()) -> bool:
    """No call of constants alone, no operator inside another of its family, numbers as exponents.

    Args:
        tree: the formula.
        families: of operators around it.
    """
    if not isinstance(tree, Call):
        return True
    if not any(node.uses_x for node in tree.arguments):
        return False
    row = OPERATORS[tree.operator]
    if row.number_choices and not isinstance(tree.arguments[1], Number):
        return False
    if row.family is not None:
        if row.family in families:
            return False
        families |= {row.family}
    return all(is_well_formed(node, families) for node in tree.arguments)
