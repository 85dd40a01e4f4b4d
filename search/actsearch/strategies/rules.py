"""Which composed formulas are worth proposing."""

from __future__ import annotations

from actsearch.expression import Call, Expression, Number
from actsearch.operators import OPERATORS
from actsearch.strategies.space import Space

__all__ = ["is_allowed"]


def is_allowed(tree: Expression, space: Space) -> bool:
    """Whether a formula keeps the rules of composing.

    Within size and depth; each operator depends on x; exponents are numbers; no operator of a family (exponential,
    periodic, power) inside another of the same family; operators of the space alone, and learned numbers only where
    the space has them.
    """
    return (
        isinstance(tree, Call)
        and tree.size <= space.max_size
        and tree.depth <= space.max_depth
        and tree.operators <= set(space.operator_names)
        and (space.learned or not tree.parameters)
        and _well_formed(tree, frozenset())
    )


def _well_formed(tree: Expression, families: frozenset[str]) -> bool:
    if not isinstance(tree, Call):
        return True
    if not any(node.uses_x for node in tree.arguments):
        return False
    if tree.operator == "pow" and not isinstance(tree.arguments[1], Number):
        return False
    family = OPERATORS[tree.operator].family
    if family is not None:
        if family in families:
            return False
        families |= {family}
    return all(_well_formed(node, families) for node in tree.arguments)
