"""The contract of a strategy, and what all of them read from a history."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from actsearch.errors import SpaceError
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.seeds import derive
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.space import Space

__all__ = [
    "Context",
    "Strategy",
    "observations",
    "points_of",
    "value_of",
    "worst_value",
]


@dataclass(frozen=True)
class Context:
    """What a strategy may know besides the history.

    Attributes:
        space: what may be proposed, every name spelt out.
        seed: the study's seed.
        direction: which way values are better.
        groups: of the sites, where the space alone does not say them.
        directions: of every objective where there are several, ``direction`` first; else empty.
    """

    space: Space
    seed: int
    direction: Literal["maximize", "minimize"]
    groups: SiteGroups | None = None
    directions: tuple[str, ...] = ()

    @functools.cached_property
    def site_groups(self) -> SiteGroups:
        """Which sites get an activation of their own.

        Raises:
            SpaceError: for "per_site" while nobody has told the sites of the model.
        """
        found = self.groups or self.space.site_groups()
        if found is None:
            raise SpaceError("sites='per_site': the sites of the model are not known yet")
        return found

    def proposal_seed(self, history: Sequence[TrialRecord]) -> int:
        """Seed of one proposal: depends on the study's seed and the number of trials alone."""
        return derive(self.seed, "propose", len(history)) % 2**32

    def is_better(self, a: float, b: float) -> bool:
        """Whether value a is better than b."""
        return a > b if self.direction == "maximize" else a < b


@dataclass(frozen=True)
class Strategy(abc.ABC):
    """A function of the history, with settings.

    ``propose`` is called by a study's driver whenever every proposed trial has ended; it must depend on its
    arguments alone, so that a killed and resumed study proposes the same. A subclass is a frozen dataclass of
    JSON-ready settings; a fresh instance must propose what an old one would.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """How many candidates are proposed together now: the logical batch."""

    @abc.abstractmethod
    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Up to n candidates to try next.

        Args:
            history: every trial so far, in order of number, none waiting or running.
            n: how many, as ``batch_size`` said.
            context: space, seed and direction.
        """

    def describe(self) -> dict[str, Any]:
        """Name and settings as JSON data; two that differ are different strategies."""
        return {"name": self.name, "settings": dataclasses.asdict(self)}


def worst_value(history: Sequence[TrialRecord], context: Context) -> float:
    """The worst finite value so far (0 if there is none): what REJECTED and FAILED count as."""
    complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
    values = [
        trial.value
        for trial in history
        if trial.value is not None
        and (trial.state is complete or trial.state is pruned)
        and math.isfinite(trial.value)
    ]
    if not values:
        return 0.0
    return min(values) if context.direction == "maximize" else max(values)


def points_of(trials: Sequence[TrialRecord], context: Context) -> list[tuple[float, ...]]:
    """What observations count as in each of several objectives: their values, or the worst finite ones.

    Args:
        trials: what :func:`observations` gave.
        context: with several directions.
    """
    count = len(context.directions)
    whole = [values for trial in trials if (values := _whole(trial, count)) is not None]
    worst = tuple(
        (min if way == "maximize" else max)(column, default=0.0)
        for way, column in zip(
            context.directions,
            ([values[at] for values in whole] for at in range(count)),
            strict=True,
        )
    )
    return [_whole(trial, count) or worst for trial in trials]


def _whole(trial: TrialRecord, count: int) -> tuple[float, ...] | None:
    """A trial's values where it has all of them."""
    known = tuple(v for v in trial.values if v is not None and math.isfinite(v))
    is_complete = trial.state is TrialState.COMPLETE and len(known) == count
    return known if is_complete else None


def observations(history: Sequence[TrialRecord], *, rejected: bool) -> Iterator[TrialRecord]:
    """Trials that tell something, in order: a DUPLICATE does not; refusals only if asked for."""
    complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
    failed, refused = TrialState.FAILED, TrialState.REJECTED
    for trial in history:
        state = trial.state
        if state is complete or state is pruned:
            if trial.value is not None:
                yield trial
        elif state is failed or (rejected and state is refused):
            yield trial


def value_of(trial: TrialRecord, worst: float) -> float:
    """What an observation counts as: its value, or the worst one where it was trained to none."""
    measured = trial.state is TrialState.COMPLETE or trial.state is TrialState.PRUNED
    return trial.value if measured and trial.value is not None else worst
