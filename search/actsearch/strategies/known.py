"""What a benchmark of activations knows about a space: which of its functions lie in it, and with which to begin."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe
from actsearch.benchmark import Benchmark, load
from actsearch.errors import ActsearchError, BenchmarkError
from actsearch.expression import parse
from actsearch.records import ActivationRecord
from actsearch.strategies.space import Space

__all__ = ["KNOWN", "Known", "known_functions", "remark_unknown"]

KNOWN = "benchmark"
"""Operation of candidates that the benchmark says to try."""


@dataclass(frozen=True, eq=False)
class Known:
    """Functions of the benchmark that lie in a space.

    Attributes:
        table: the benchmark.
        places: positions of the functions in it.
        items: the functions as activations.
    """

    table: Benchmark
    places: tuple[int, ...]
    items: tuple[ActivationRecord, ...]

    def portfolio(self, count: int, *, rows_only: bool = False) -> list[ActivationRecord]:
        """With which to begin: every task of the benchmark finds something good among them.

        The first half are catalog rows, where the space has so many: most of the best known functions are, each has
        been trained well by many, and a verdict compares with the best of them.

        Args:
            count: how many at most.
            rows_only: catalog rows alone.
        """
        items = dict(zip(self.places, self.items, strict=True))
        rows = [place for place, item in items.items() if item.name]
        chosen = self._choose(count if rows_only else (count + 1) // 2, rows)
        if not rows_only:
            chosen += [one for one in self._choose(count, self.places) if one not in chosen]
        return [items[place] for place in chosen[:count]]

    def _choose(self, count: int, places: Sequence[int]) -> list[int]:
        return self.table.portfolio(count, places) if places else []


def known_functions(space: Space) -> Known | None:
    """What the shipped benchmark knows of a space; None where it cannot be read or has nothing of the space."""
    try:
        known = _find(space)
    except BenchmarkError:
        return None
    return known if known.places else None


def remark_unknown(space: Space) -> list[str]:
    """Why nothing is known of a space, as a sentence; empty where something is."""
    try:
        if _find(space).places:
            return []
        reason = "none of the benchmark's functions lies in the space"
    except BenchmarkError as error:
        reason = str(error)
    return [f"the search begins without what is known from other tasks: {reason}"]


def _find(space: Space) -> Known:
    return _functions_of(
        load(), space.activation_names, space.operator_names, space.max_size, space.max_depth, space.learned,
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _functions_of(
    table: Benchmark,
    activations: Sequence[str],
    operators: Sequence[str],
    max_size: int,
    max_depth: int,
    learned: bool,
) -> Known:
    space = Space(activations, operators, max_size, max_depth, learned=learned)
    places, items = [], []
    for place, function in enumerate(table.functions):
        try:
            if function.name in activations:
                item = describe(function.name, **function.hyperparameters)
            elif space.allows(tree := parse(function.formula)):
                item = describe(tree)
            else:
                continue
        except ActsearchError:  # a row or a setting that this version does not have
            continue
        if item.name is None or CATALOG[item.name].elementwise:
            places.append(place)
            items.append(item)
    return Known(table, tuple(places), tuple(items))
