"""What can be read off the text of a formula: operators, size, an estimate of what it costs, its curve."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from actsearch.errors import ActsearchError
from actsearch.expression import Call, Expression, parse
from actsearch.naming.form import Form
from actsearch.operators import OPERATORS
from actsearch.records import Curve
from actsearch.report.formulas import split_formulas

__all__ = ["Facts", "formula_curve", "formula_facts", "formula_operators"]

_REMEMBERED = 50_000  # texts; some 400 bytes each
_CURVES = 512  # 12 KB each
_REACH, _POINTS = 6.0, 481  # kinks at multiples of 0.025 fall on a point
_STEP = 1e-5  # as far to both sides a slope is measured: at a kink it is the mean of two


@dataclass(frozen=True, slots=True)
class Facts:
    """One candidate's formulas, those of all its groups of sites together.

    Attributes:
        operators: names of the operators used.
        size: nodes.
        cost: estimated work as a multiple of ReLU's, the mean over the groups.
    """

    operators: frozenset[str]
    size: int
    cost: float


@functools.lru_cache(maxsize=_REMEMBERED)
def formula_facts(text: str) -> Facts | None:
    """What a candidate's text says; None where one of its formulas cannot be read (softmax(x) has none)."""
    try:
        trees = [parse(part) for part in split_formulas(text)]
    except (ActsearchError, ValueError, TypeError, RecursionError):
        return None
    return Facts(
        frozenset().union(*(tree.operators for tree in trees)),
        sum(tree.size for tree in trees),
        sum(map(_cost, trees)) / len(trees) / OPERATORS["relu"].cost,
    )


def formula_operators(text: str) -> frozenset[str] | None:
    """Names of the operators that a candidate's text uses; None where one of its formulas cannot be read."""
    facts = formula_facts(text)
    return None if facts is None else facts.operators


@functools.lru_cache(maxsize=_CURVES)
def formula_curve(text: str) -> Curve | None:
    """A formula on [-6, 6] with its slopes, learned numbers at their start; None for what is none of one number."""
    x = np.linspace(-_REACH, _REACH, _POINTS)
    around = np.concatenate([x, x - _STEP, x + _STEP])
    try:
        form = Form(parse(text))
        with np.errstate(all="ignore"):
            y, before, after = np.split(form.compute(form.start[None], around)[0], 3)
            return Curve(x, y, (after - before) / (2 * _STEP))
    except (ActsearchError, ArithmeticError, KeyError):
        return None


def _cost(tree: Expression) -> float:
    """Sum of the operators' costs; one of many arguments does its work between each two."""
    return sum(
        node.row.cost * (max(1, len(node.arguments) - 1) if node.row.separator is not None else 1)
        for node in tree.walk()
        if isinstance(node, Call)
    )
