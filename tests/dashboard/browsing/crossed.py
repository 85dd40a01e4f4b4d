"""Which of many cases there are, and which are quick: a page takes a tenth of a second, all with all values minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import product

import pytest

__all__ = ["WITHOUT_STUDY", "only", "pairs"]

WITHOUT_STUDY = ("playground", "benchmark")
"""Pages that need no study, nor a storage."""


def only(values: Iterable[str], quick: Collection[str]) -> list[object]:
    """Each value; all but the quick ones are marked slow."""
    return [
        pytest.param(value, marks=() if value in quick else pytest.mark.slow) for value in values
    ]


def pairs(first: Collection[str], second: Collection[str]) -> list[object]:
    """Each value of one with each of the other; quick are as many as hold every value of both, the others slow."""
    count = max(len(first), len(second))
    chosen = {(index % len(first), index % len(second)) for index in range(count)}
    return [
        pytest.param(one, other, marks=() if (row, column) in chosen else pytest.mark.slow)
        for (row, one), (column, other) in product(enumerate(first), enumerate(second))
    ]
