"""Random search: the control that every other strategy has to beat, and the smallest example of one."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from actsearch.activation_catalog import CATALOG, Hyperparameter, Value
from actsearch.activations import describe
from actsearch.checks import check_field, check_share
from actsearch.errors import SpaceError
from actsearch.expression import Call, Expression, Number, Parameter, X
from actsearch.operators import OPERATORS
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord
from actsearch.strategies.base import Context, Feature
from actsearch.strategies.by_site import BySite, BySiteState, GroupSampler
from actsearch.strategies.space import Space

__all__ = ["RandomSearch"]

_BATCH = 16


@dataclass(frozen=True)
class RandomSearch(BySite):
    """Independent draws: catalog rows with uniform hyperparameters, and random formulas.

    By site, a draw replaces the activation of a random group in the best candidate so far.

    Attributes:
        formulas: share of proposals that are composed formulas, 0 to 1.

    Example:
        >>> acs.create_study(study_name="control", strategy=acs.RandomSearch(formulas=0.0))
        Study('control', sqlite://)
    """

    name: ClassVar[str] = "random"
    supports: ClassVar[frozenset[Feature]] = frozenset(Feature)
    formulas: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "formulas", check_share, SpaceError)

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Always 16."""
        return _BATCH

    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Draw n candidates."""
        rng = random.Random(context.proposal_seed(history))
        return [CandidateRecord.shared(*self._draw(rng, context.space)) for _ in range(n)]

    @contextlib.contextmanager
    def open_sampler(
        self, history: Sequence[TrialRecord], context: Context, state: BySiteState
    ) -> Iterator[GroupSampler]:
        """The same draws, whatever the group and what it has."""
        rng = random.Random(context.proposal_seed(history))
        yield GroupSampler(lambda group, current: self._draw(rng, context.space)[0])

    def _draw(self, rng: random.Random, space: Space) -> tuple[ActivationRecord, str]:
        """An activation, and how it was made."""
        if rng.random() < self.formulas:
            return describe(_random_expression(rng, space)), "random formula"
        name = rng.choice(space.activation_names)
        values = {setting.name: _draw_value(rng, setting) for setting in CATALOG[name].searched}
        return describe(name, **values), "random catalog"


def _draw_value(rng: random.Random, setting: Hyperparameter) -> Value:
    if setting.choices:
        return rng.choice(setting.choices)
    if isinstance(setting.default, int):
        return rng.randint(int(setting.low), int(setting.high))
    if setting.log:
        return setting.round(math.exp(rng.uniform(math.log(setting.low), math.log(setting.high))))
    return setting.round(rng.uniform(setting.low, setting.high))


def _random_expression(rng: random.Random, space: Space) -> Expression:
    """A random formula within the space's limits; depth is drawn first, then a tree is grown to it."""
    names = space.operator_names
    # an operator of weight 0 is in a space only where the user named it, and is drawn then
    weights = [max(OPERATORS[name].weight, 0.01) for name in names]

    def grow(depth: int) -> Expression:
        if depth <= 1 or rng.random() < 0.1:
            return _draw_leaf(rng)
        name = rng.choices(names, weights)[0]
        row = OPERATORS[name]
        arguments = [grow(depth - 1) for _ in range(row.usual_arity)]
        if row.number_choices:
            arguments[1] = Number(rng.choice(row.number_choices))
        return Call(name, tuple(arguments))

    while True:  # at most 4 levels: random formulas that are deeper hardly ever train
        tree = grow(rng.randint(2, min(4, space.max_depth)))
        if space.allows(tree):
            return tree


def _draw_leaf(rng: random.Random) -> Expression:
    draw = rng.random()
    if draw < 0.7:  # mostly x: a subtree without it is a number, however large it is
        return X
    return Number(round(rng.gauss(0, 1), 2)) if draw < 0.9 else Parameter(rng.choice((0.25, 1.0)))
