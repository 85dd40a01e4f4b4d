"""Whether an activation has the properties that a space requires."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from actsearch.activation_catalog import CATALOG
from actsearch.activations import build_expression
from actsearch.bounds import find_violation
from actsearch.expression import Call, Expression, Number, Parameter
from actsearch.records import ActivationRecord
from actsearch.screening.identity import PERTURBATIONS

__all__ = ["find_missing"]


def find_missing(record: ActivationRecord, require: Sequence[str]) -> str:
    """Which required property it lacks, and a point that shows it; empty if it has all.

    Learned numbers are taken at their start and near it, where the property has to hold as well.
    """
    row = CATALOG[record.name] if record.name else None
    if row is not None and (row.random or not row.elementwise):
        why = "draws random numbers" if row.random else "depends on several numbers at once"
        return f"not {require[0]}: it {why}"
    return _find_missing(record.formula, tuple(require))


@functools.lru_cache(maxsize=4096)  # formulas are met again from one study to the next
def _find_missing(formula: str, require: tuple[str, ...]) -> str:
    tree = build_expression(formula)
    shifts = PERTURBATIONS if tree.parameters else PERTURBATIONS[:1]
    for shift in shifts:
        reason = find_violation(_shift(tree, shift), require)
        if reason:
            return reason + (f", learned numbers {shift:+g} from their start" if shift else "")
    return ""


def _shift(tree: Expression, shift: float) -> Expression:
    """Learned numbers as numbers, so far from their start."""
    if isinstance(tree, Parameter):
        return tree if tree.per == "channel" else Number(tree.init + shift)
    if not isinstance(tree, Call):
        return tree
    return Call(tree.operator, tuple(_shift(argument, shift) for argument in tree.arguments))
