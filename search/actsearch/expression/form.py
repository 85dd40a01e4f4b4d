"""Which formulas are worth composing."""

from __future__ import annotations

import functools

from actsearch.expression.nodes import Call, Expression, Number
from actsearch.operators import OPERATORS

__all__ = ["is_well_formed"]


@functools.lru_cache(maxsize=4096)  # formulas that are bred from each other share most parts
def is_well_formed(tree: Expression) -> bool:
    """No call of constants alone, no operator inside another of its family, numbers as exponents."""
    if not isinstance(tree, Call):
        return True
    if not any(node.uses_x for node in tree.arguments):
        return False
    row = tree.row
    if row.number_choices and not isinstance(tree.arguments[1], Number):
        return False
    if row.family is not None:
        inner = frozenset().union(*(node.operators for node in tree.arguments))
        if any(OPERATORS[name].family == row.family for name in inner):
            return False
    return all(map(is_well_formed, tree.arguments))
