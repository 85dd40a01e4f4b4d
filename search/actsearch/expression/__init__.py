"""Formulas as immutable trees: parse, write, order canonically. No torch."""

from actsearch.expression.canonical_form import canonical
from actsearch.expression.difference import Difference, find_difference
from actsearch.expression.form import is_well_formed
from actsearch.expression.nodes import (
    Call,
    Expression,
    Limits,
    Number,
    Parameter,
    Variable,
    X,
    from_json,
)
from actsearch.expression.parser import parse

__all__ = [
    "Call",
    "Difference",
    "Expression",
    "Limits",
    "Number",
    "Parameter",
    "Variable",
    "X",
    "canonical",
    "find_difference",
    "from_json",
    "is_well_formed",
    "parse",
]
