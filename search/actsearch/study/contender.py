"""The candidates that a verdict compares, and what tells them apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actsearch.activation_catalog import CATALOG
from actsearch.records import CandidateRecord, Score
from actsearch.study.unfinished import activations_json

__all__ = ["Contender", "identity", "same_training"]


@dataclass
class Contender:
    """One candidate on its way to the verdict."""

    record: CandidateRecord
    number: int | None
    searched: float = 0.0  # value in the search
    fresh: list[Score] = field(default_factory=list)  # on the fresh seeds, validation data
    others: dict[str, float] = field(default_factory=dict)  # in further objectives, in the search

    @property
    def is_catalog(self) -> bool:
        """Whether it is one catalog row at all sites; a curve of points is none that anybody knows by its name."""
        name = None if self.record.single is None else self.record.single.name
        return name is not None and name in CATALOG and not CATALOG[name].given


def identity(record: CandidateRecord) -> Any:
    """What a candidate is known by: its label, unless that leaves something out, as digits of a hyperparameter."""
    items = record.activations.values()
    is_exact = all(item.label in (item.name, item.formula) for item in items)
    return record.label if is_exact else activations_json(record)


def same_training(a: Contender, b: Contender) -> bool:
    """Whether two are one function under two names: every epoch's loss equal to the last bit on every seed.

    Scores alone would not do: accuracies on a few hundred samples coincide by chance.
    """
    return any(score.losses for score in a.fresh) and a.fresh == b.fresh
