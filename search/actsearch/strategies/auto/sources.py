"""Where the default strategy takes its proposals from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actsearch.naming.functions import Numbers
from actsearch.records import CandidateRecord, TrialRecord
from actsearch.strategies.auto.shapes import SHAPES
from actsearch.strategies.base import Context
from actsearch.strategies.genetic.strategy import Bred
from actsearch.strategies.known import KNOWN, Known
from actsearch.strategies.population import Child, Member, compose
from actsearch.strategies.space import Space
from actsearch.strategies.surrogate import (
    Elsewhere,
    Features,
    compute_curve,
    compute_curves,
    describe_curves,
    has_parameters,
    join_features,
    small_features,
    small_formulas,
)

__all__ = ["CATALOG_ROW", "SHAPE", "Pool", "Source", "count_credits"]

CATALOG_ROW, SMALL, TPE, CHILD, SHAPE = "catalog", "small formula", "tpe", "child", "shape"
"""Operations of candidates, by which a source is known again; those of children are the ones of genetic search,
and those of shapes the ones of gradient search."""

_GOOD = 0.25  # of all trials, the share whose sources have brought something
_CREDITS = (0.5, 2.0)


@dataclass(frozen=True)
class Source:
    """Functions of one origin.

    Attributes:
        name: by which it is credited.
        features: of each function.
        make: makes one a candidate, by its position; an ActsearchError where it breaks the rules of the space.
    """

    name: str
    features: Features
    make: Callable[[int], Child]


@dataclass(frozen=True)
class Pool:
    """What there is to choose from.

    Attributes:
        sources: with functions each.
    """

    sources: Sequence[Source]

    @classmethod
    def gather(
        cls,
        context: Context,
        known: Known | None,
        prior: Elsewhere | None,
        bred: Sequence[Bred],
        tuned: Sequence[CandidateRecord],
    ) -> Pool:
        """The benchmark's functions, every small formula, children, and settings of catalog rows."""
        made = [
            _known_source(known, prior) if known else None,
            _small_source(context.space, prior),
            _children(bred, context.space, prior),
            _settings(tuned, prior),
        ]
        return cls([source for source in made if source is not None])

    @functools.cached_property
    def features(self) -> Features:
        """Of all functions, source after source."""
        return join_features([source.features for source in self.sources])

    def weights(self, credits: Mapping[str, float]) -> Numbers:
        """What each function's promise counts; (functions,)."""
        counts = [len(source.features) for source in self.sources]
        return np.repeat([credits.get(source.name, 1.0) for source in self.sources], counts)

    def turns(self) -> list[npt.NDArray[np.bool_]]:
        """Two of three choices are made among what other tasks have tried, the third among all."""
        counts = [len(source.features) for source in self.sources]
        known = np.repeat([source.name == KNOWN for source in self.sources], counts)
        return [known, known, np.ones_like(known)] if known.any() else []

    def make(self, place: int) -> Child:
        """A candidate of the function at a position."""
        for source in self.sources:
            if place < len(source.features):
                return source.make(place)
            place -= len(source.features)
        raise IndexError(place)


def _known_source(known: Known, prior: Elsewhere | None) -> Source:
    features = _extend(_known_features(known), prior)
    return Source(KNOWN, features, lambda place: ([known.items[place]], KNOWN, ()))


def _small_source(space: Space, prior: Elsewhere | None) -> Source | None:
    small = small_formulas(space.operator_names)
    if not small.parts:
        return None
    return Source(
        SMALL,
        _extend(small_features(space.operator_names), prior),
        lambda place: ([compose(small.tree(place), space)], SMALL, ()),
    )


def _children(bred: Sequence[Bred], space: Space, prior: Elsewhere | None) -> Source | None:
    curves = compute_curves([tree for tree, _, _ in bred])
    found = [(one, curve) for one, curve in zip(bred, curves, strict=True) if curve is not None]
    if not found:
        return None
    features = describe_curves(
        np.array([curve for _, curve in found]), [bool(one[0].parameters) for one, _ in found]
    )

    def make(place: int) -> Child:
        tree, operation, parents = found[place][0]
        return [compose(tree, space)], operation, parents

    return Source(CHILD, _extend(features, prior), make)


def _settings(tuned: Sequence[CandidateRecord], prior: Elsewhere | None) -> Source | None:
    items = [candidate.activations["*"] for candidate in tuned]
    found = [(item, curve) for item in items if (curve := compute_curve(item.formula)) is not None]
    if not found:
        return None
    features = describe_curves(
        np.array([curve for _, curve in found]),
        [has_parameters(item.formula) for item, _ in found],
    )
    return Source(TPE, _extend(features, prior), lambda place: ([found[place][0]], TPE, ()))


def _extend(features: Features, prior: Elsewhere | None) -> Features:
    return prior.extend(features) if prior else features


@functools.lru_cache(maxsize=16)
def _known_features(known: Known) -> Features:
    curves = known.table.curves[list(known.places)].astype(np.float64)
    learned = [known.table.functions[place].learned for place in known.places]
    return describe_curves(curves, learned)


def count_credits(
    members: Sequence[Member], history: Sequence[TrialRecord], sign: float
) -> dict[str, float]:
    """How often each source brought one of the best quarter, beside how often that is to be expected.

    Args:
        members: what was tried, in order of number.
        history: every trial.
        sign: 1 where larger values are better, else -1.
    """
    operations = {trial.number: trial.candidate.operation for trial in history}
    values = np.array([sign * member.value for member in members])
    least = np.quantile(values, 1 - _GOOD) if len(values) else 0.0
    tries: dict[str, int] = {}
    hits: dict[str, int] = {}
    for member, value in zip(members, values, strict=True):
        operation = operations[member.number]
        source = {CATALOG_ROW: KNOWN, **dict.fromkeys(SHAPES, SHAPE)}.get(operation, operation)
        source = source if source in (KNOWN, SMALL, TPE, SHAPE) else CHILD
        tries[source] = tries.get(source, 0) + 1
        hits[source] = hits.get(source, 0) + int(value >= least)
    low, high = _CREDITS
    return {
        source: min(max((hits[source] + 1) / (_GOOD * count + 1), low), high)
        for source, count in tries.items()
    }
