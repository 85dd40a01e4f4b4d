"""The contract of a strategy, and what all of them read from a history."""

from __future__ import annotations

import abc
import dataclasses
import enum
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from actsearch.checks import check_field, check_integer
from actsearch.errors import SpaceError
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.seeds import derive
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.space import Space

__all__ = [
    "Context",
    "Earlier",
    "Feature",
    "Strategy",
    "observations",
    "objective_points",
    "observed_value",
    "pending",
    "worst_value",
]


class Feature(enum.Enum):
    """What a study may ask of its strategy."""

    OBJECTIVES = "several objectives"
    GROUPS = "an activation for each group of sites"
    PRUNING = "trials that are given up early"


@dataclass(frozen=True)
class Earlier:
    """What an earlier study found, as it stood when the study that learns from it was made.

    Attributes:
        name: of the study.
        formulas: functions that were trained there.
        values: what each came to, larger is better.
    """

    name: str
    formulas: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Context:
    """What a strategy may know besides the history.

    Attributes:
        space: what may be proposed, every name in full.
        seed: the study's seed.
        direction: which way values are better.
        groups: of the sites, where the space alone does not say them.
        directions: of every objective where there are several, ``direction`` first; else empty.
        own: what the model has at the sites of each key of a group, where that is one function of one number.
        sites: paths of the sites of each key of a group, where the model is known.
        earlier: what earlier studies found, for a strategy that learns from them.
    """

    space: Space
    seed: int
    direction: Literal["maximize", "minimize"]
    groups: SiteGroups | None = None
    directions: tuple[str, ...] = ()
    own: Mapping[str, ActivationRecord] = field(default_factory=dict)
    sites: Mapping[str, Sequence[str]] = field(default_factory=dict)
    earlier: tuple[Earlier, ...] = ()

    @functools.cached_property
    def site_groups(self) -> SiteGroups:
        """Which sites get an activation of their own.

        Raises:
            SpaceError: for "per_site" while the sites of the model are not known.
        """
        groups = self.groups or self.space.site_groups()
        if groups is None:
            raise SpaceError("sites='per_site': the sites of the model are not known yet")
        return groups

    def proposal_seed(self, history: Sequence[TrialRecord]) -> int:
        """Seed of one proposal: depends on the study's seed and the number of trials alone."""
        return derive(self.seed, "propose", len(history)) % 2**32  # numpy takes no larger seed

    def is_better(self, a: float, b: float) -> bool:
        """Whether value a is better than b."""
        return a > b if self.direction == "maximize" else a < b


@dataclass(frozen=True)
class Strategy(abc.ABC):
    """A function of the history, with settings.

    ``propose`` is called by a study's driver whenever every proposed trial has ended; it must depend on its
    arguments alone, so that a killed and resumed study proposes the same; another seed of the study, or a longer
    history, gives other proposals. A subclass is a frozen dataclass of
    JSON-ready settings; a fresh instance must propose what an old one would.

    With ``parallel=V`` it is called whenever one of V workers is free on a virtual clock, which counts the epochs, or
    evaluations, that trials train: those that have not ended there are WAITING in the history, without values.

    Attributes:
        name: in ``STRATEGIES``.
        parallel: workers of the virtual clock, 1 to 4096; None: a logical batch ends before the next is proposed.
        supports: studies that ask for something else are refused.
        learns_from_studies: whether it reads what earlier studies found, ``context.earlier``.
        proposes_in_steps: whether each logical batch follows from the one before, so that ``parallel`` divides none.
        before: what a stored study without a setting was made with, for settings that are younger than the strategy.
    """

    name: ClassVar[str]
    supports: ClassVar[frozenset[Feature]] = frozenset()
    learns_from_studies: ClassVar[bool] = False
    proposes_in_steps: ClassVar[bool] = False
    before: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    parallel: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SpaceError: one has no meaning.
        """
        if self.parallel is not None:
            check_field(self, "parallel", check_integer, SpaceError, low=1, high=_MOST_WORKERS)

    @property
    def prunes_by_default(self) -> bool:
        """Whether a new study of it gets a pruner, where none is asked for or refused."""
        return False

    @property
    def learns_shapes(self) -> bool:
        """Whether it proposes passes of shape learning, which train copies of a Task's model."""
        return False

    @abc.abstractmethod
    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """How many candidates are proposed together now: the logical batch."""

    @abc.abstractmethod
    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Up to n candidates to try next.

        Args:
            history: every trial so far, in order of number; none waiting or running, unless there is ``parallel``.
            n: how many, as ``batch_size`` said; with ``parallel`` fewer, once a trial has ended.
            context: space, seed and direction.

        Returns:
            Candidates; none where there is nothing more, or, with ``parallel``, nothing until another trial ends.
        """

    def first_pass(self, context: Context) -> CandidateRecord | None:
        """Where shape learning begins, to be checked before any trial; None where there is none."""
        return None

    def remarks(self, context: Context) -> list[str]:
        """What a user should know before the search goes on, as sentences: what it cannot make use of, and why."""
        return []

    def describe(self) -> dict[str, Any]:
        """Name and settings as JSON data; two that differ are different strategies."""
        settings = dataclasses.asdict(self)
        if self.parallel is None:  # as studies were stored before there was one
            del settings["parallel"]
        return {"name": self.name, "settings": settings}


_MOST_WORKERS = 4096


def _is_measured(trial: TrialRecord) -> bool:
    """Whether a trial has a value of its own, at its end or where it was pruned."""
    # "is", as thousands of trials are asked each time: an enum's hash takes longer
    state = trial.state
    return trial.value is not None and (state is TrialState.COMPLETE or state is TrialState.PRUNED)


def observations(history: Sequence[TrialRecord], *, rejected: bool) -> Iterator[TrialRecord]:
    """Trials that tell something of an activation, in order: a DUPLICATE does not, nor does a pass of shape learning;
    refusals only if asked for."""
    for trial in history:
        if trial.candidate.learns_shape:
            continue
        state = trial.state
        is_refused = state is TrialState.FAILED or (rejected and state is TrialState.REJECTED)
        if is_refused or _is_measured(trial):
            yield trial


def pending(history: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials that were proposed and of which nothing is known yet, in order; there are none without ``parallel``."""
    return [trial for trial in history if trial.state.is_open]


def worst_value(history: Sequence[TrialRecord], context: Context) -> float:
    """The worst finite value so far (0 if there is none): what REJECTED and FAILED count as."""
    values = (trial.value for trial in history if _is_measured(trial))
    finite = [value for value in values if value is not None and math.isfinite(value)]
    # never NaN or an infinity: DEAP compares NaN as greater both ways, and TPE refuses infinities
    return (min if context.direction == "maximize" else max)(finite, default=0.0)


def observed_value(trial: TrialRecord, worst: float) -> float:
    """What an observation counts as: its value, or the worst one where it has none or is not finite."""
    value = trial.value
    if value is not None and math.isfinite(value) and _is_measured(trial):
        return value
    return worst


def objective_points(trials: Sequence[TrialRecord], context: Context) -> list[tuple[float, ...]]:
    """What observations count as in each of several objectives: their values, or the worst finite ones.

    Args:
        trials: what :func:`observations` gave.
        context: with several directions.
    """
    points = [_finite_values(trial, len(context.directions)) for trial in trials]
    complete = [point for point in points if point is not None]
    worst = tuple(
        (min if direction == "maximize" else max)(
            (point[index] for point in complete), default=0.0
        )
        for index, direction in enumerate(context.directions)
    )
    return [worst if point is None else point for point in points]


def _finite_values(trial: TrialRecord, count: int) -> tuple[float, ...] | None:
    """A complete trial's values, if it has all of them."""
    values = tuple(v for v in trial.values if v is not None and math.isfinite(v))
    return values if trial.state is TrialState.COMPLETE and len(values) == count else None
