"""Formulas as immutable trees: parse, write, order canonically. No torch."""

from actsearch.expression.canonical import canonical
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
from actsearch.expression.parse import parse

__all__ = [
    "Call",
    "Expression",
    "Limits",
    "Number",
    "Parameter",
    "Variable",
    "X",
    "canonical",
    "from_json",
    "parse",
]
