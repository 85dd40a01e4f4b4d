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
from actsearch.records import ActivationRecord, TrialRecord
from actsearch.strategies.by_site import WARM_START
from actsearch.strategies.space import Space

__all__ = ["KNOWN", "Known", "has_only_begun", "known_functions", "remark_unknown"]

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

        Args:
            count: how many at most.
            rows_only: catalog rows alone.
        """
        items = dict(zip(self.places, self.items, strict=True))
        rows = [place for place, item in items.items() if item.name]
        chosen = self.table.portfolio(count, rows if rows_only else self.places, rows)
        return [items[place] for place in chosen]


def has_only_begun(history: Sequence[TrialRecord]) -> bool:
    """Whether all that was tried is what a study that learns from others took over, or its user enqueued."""
    return all(trial.candidate.operation in (WARM_START, "user") for trial in history)


def known_functions(space: Space) -> Known | None:
    """What the shipped benchmark knows of a space; None where it cannot be read or has nothing of the space."""
    try:
        known = _find(space)
    except BenchmarkError:
        return None
    return known if known.places else None


def remark_unknown(space: Space, *, rows_only: bool = False) -> list[str]:
    """Why nothing is known of a space, or of its catalog rows, as a sentence; empty where something is."""
    try:
        if any(item.name or not rows_only for item in _find(space).items):
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
