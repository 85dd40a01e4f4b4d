"""What formulas are made of, read from their text: to parse a hundred thousand of them takes half a minute."""

from __future__ import annotations

import re

from actsearch.operators import OPERATORS

__all__ = ["operators_in", "count_nodes", "split_formulas"]

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"param\([^()]*\)|[A-Za-z_]\w*|{_NUMBER}|\*\*|[-+*/]|[(),]")
_SYMBOLS = {row.symbol: row.name for row in OPERATORS.values() if row.symbol and row.name != "neg"}
_OPENING = ("(", ",", "+", "-", "*", "/", "**")  # before a minus that belongs to what follows


def _tokens(formula: str) -> list[str]:
    """Tokens that are nodes; a minus that negates is "neg", one of a number belongs to the number."""
    tokens = [
        "(",
        *_TOKEN.findall(formula),
        "",
        "",
    ]  # so that each has one before and two after it
    nodes: list[str] = []
    for before, token, after, further in zip(
        tokens, tokens[1:], tokens[2:], tokens[3:], strict=False
    ):
        if token in "(),":
            continue
        if token == "-" and before in _OPENING:
            if after[:1].isdigit() and further != "**":
                continue
            token = "neg"
        nodes.append(token)
    return nodes


def split_formulas(text: str) -> list[str]:
    """The formulas in a candidate's text, ``CandidateRecord.formula``: one, or one for each group of sites."""
    return [part.rpartition(": ")[2] for part in text.split("; ")]


def count_nodes(text: str) -> int:
    """Number of nodes of a candidate's formulas as ``str`` writes them; no check of whether they are some."""
    return sum(len(_tokens(formula)) for formula in split_formulas(text))


def operators_in(text: str) -> frozenset[str]:
    """Names of the operators in a candidate's formulas as ``str`` writes them; no check of whether they are some."""
    tokens = (
        _SYMBOLS.get(token, token) for part in split_formulas(text) for token in _tokens(part)
    )
    return frozenset(token for token in tokens if token in OPERATORS)
