"""Bayesian optimisation by Optuna's tree-structured Parzen estimator. The only door of the search to Optuna."""

from __future__ import annotations

import contextlib
import datetime
import functools
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from actsearch.activation import describe
from actsearch.catalog import CATALOG, Hyperparameter, Value
from actsearch.checks import check_field, check_integer
from actsearch.errors import SpaceError
from actsearch.pareto import fronts
from actsearch.records import SHARED, ActivationRecord, CandidateRecord, TrialRecord
from actsearch.silence import silence
from actsearch.strategies.base import (
    Context,
    observations,
    points_of,
    value_of,
    worst_value,
)
from actsearch.strategies.by_site import BySite, Draw, Standing

__all__ = ["Bayesian"]

_HISTORY = 300  # told to the sampler: its cost grows with each trial it is told
_TRIES = 12  # draws for one proposal before a repetition is let through
_LARGEST_BATCH = 8  # proposed together without news in between, more would be random search
_CHOICE = "activation"


@dataclass(frozen=True)
class Bayesian(BySite):
    """Which catalog activation, and its hyperparameters conditional on that choice.

    The first logical batch is every activation of the space at its defaults, so that the known baselines are
    measured first; then TPE proposes ``batch`` at a time. Activations that could only be repeated, since they have no
    settings to search or a few that were all tried, are neither told nor drawn. Drawn numbers have 3 digits. Of a long
    history the best quarter and the latest are told, 300 at most. With several objectives it is Optuna's
    multi-objective TPE (Ozaki et al. 2022, JAIR 73).

    By site, each group has a choice and hyperparameters of its own in the sampler's model, and a draw for one group
    holds the others at the best candidate so far; trials with one activation at all sites count for every group.

    Attributes:
        batch: candidates proposed together after the start, 1 to 8; a larger batch would be random search.
        candidates: draws from the model among which TPE picks by expected improvement.
    """

    name: ClassVar[str] = "bayesian"
    batch: int = 8
    candidates: int = 24

    def __post_init__(self) -> None:
        check_field(self, "batch", check_integer, SpaceError, low=1, high=_LARGEST_BATCH)
        check_field(self, "candidates", check_integer, SpaceError, low=1)

    def shared_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """The baselines not yet proposed, all together; then ``batch``."""
        return len(self._missing(history, context)) or self.batch

    def shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Baselines first, then draws from the model of what was good so far."""
        if missing := self._missing(history, context):
            return [CandidateRecord({SHARED: item}, operation="baseline") for item in missing[:n]]
        seen = _Seen(history)
        with silence("optuna", optuna.exceptions.ExperimentalWarning):
            names = _choices(history, context)
            study = self._study(history, context, names)
            return [self._ask(study, names, seen) for _ in range(n)]

    def _missing(self, history: Sequence[TrialRecord], context: Context) -> list[ActivationRecord]:
        defaults = [describe(name) for name in context.space.activation_names]
        missing = {_key(CandidateRecord({SHARED: item})): item for item in defaults}
        for trial in history:  # all of them are among the first, as a rule
            if not missing:
                break
            missing.pop(_key(trial.candidate), None)
        return list(missing.values())

    @contextlib.contextmanager
    def drawing(
        self, history: Sequence[TrialRecord], context: Context, standing: Standing
    ) -> Iterator[Draw]:
        """TPE for one group: its activation, and hyperparameters conditional on that."""
        names, groups = context.space.activation_names, context.site_groups
        chosen = frozenset(names)

        def read(trial: TrialRecord) -> dict[str, ActivationRecord]:
            items = groups.items(trial.candidate) or ()
            return {f"{group}.": item for group, item in enumerate(items) if item.name in chosen}

        with silence("optuna", optuna.exceptions.ExperimentalWarning):
            study = self._study(history, context, names, read)
            yield lambda group, current: self._drawn(study, names, f"{group}.")

    def _study(
        self,
        history: Sequence[TrialRecord],
        context: Context,
        names: Sequence[str],
        read: Callable[[TrialRecord], Mapping[str, ActivationRecord]] | None = None,
    ) -> optuna.Study:
        """An Optuna study in memory, filled from the history.

        Args:
            history: every trial so far.
            context: of the study.
            names: what is chosen from.
            read: a trial's activations that are told, by the prefix of their parameters; the shared one by default.
        """
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=0,
            n_ei_candidates=self.candidates,
            multivariate=False,  # with a condition on the choice, each parameter has its own history
            group=False,
            constant_liar=True,  # proposals of one batch keep away from each other
            seed=context.proposal_seed(history),
        )
        study = optuna.create_study(
            directions=[
                optuna.study.StudyDirection[way.upper()]
                for way in context.directions or (context.direction,)
            ],
            sampler=sampler,
        )
        distributions = functools.cache(functools.partial(_distributions, names))
        for items, values in self._told(history, context, read or _shared_among(names)):
            parameters: dict[str, Any] = {}
            known: dict[str, BaseDistribution] = {}
            for prefix, item in items.items():
                name = str(item.name)
                parameters[prefix + _CHOICE] = name
                for setting in CATALOG[name].searched:
                    value_of_setting = item.hyperparameters[setting.name]
                    parameters[f"{prefix}{name}.{setting.name}"] = value_of_setting
                known |= distributions(name, prefix)
            study.add_trial(_Told.of(parameters, known, values))
        return study

    def _told(
        self,
        history: Sequence[TrialRecord],
        context: Context,
        read: Callable[[TrialRecord], Mapping[str, ActivationRecord]],
    ) -> list[tuple[Mapping[str, ActivationRecord], list[float]]]:
        """Observations with activations that are told; of many, the best quarter of those and the latest."""
        worst = worst_value(history, context)
        observed = [
            (trial, items)
            for trial in observations(history, rejected=True)
            if (items := read(trial))
        ]
        if len(observed) > _HISTORY:
            kept = _best([trial for trial, _ in observed], context, worst)
            for trial, _ in reversed(observed):
                if len(kept) >= _HISTORY:
                    break
                kept.add(trial.number)
            observed = [(trial, items) for trial, items in observed if trial.number in kept]
        if context.directions:
            points = points_of([trial for trial, _ in observed], context)
            return [
                (items, list(point)) for (_, items), point in zip(observed, points, strict=True)
            ]
        return [(items, [value_of(trial, worst)]) for trial, items in observed]

    def _ask(self, study: optuna.Study, names: Sequence[str], seen: _Seen) -> CandidateRecord:
        """One draw, repeated a few times while it only repeats what is known."""
        for _ in range(_TRIES):
            candidate = CandidateRecord({SHARED: self._drawn(study, names)}, operation="tpe")
            if candidate not in seen:
                break
        seen.add(candidate)
        return candidate

    @staticmethod
    def _drawn(study: optuna.Study, names: Sequence[str], prefix: str = "") -> ActivationRecord:
        trial = study.ask()
        name = trial.suggest_categorical(prefix + _CHOICE, list(names))
        values = {
            setting.name: _suggested(trial, f"{prefix}{name}.{setting.name}", setting)
            for setting in CATALOG[name].searched
        }
        return describe(name, **values)


def _best(observed: Sequence[TrialRecord], context: Context, worst: float) -> set[int]:
    """Numbers of the best quarter of what is told; with several objectives, front after front."""
    count = _HISTORY // 4
    if context.directions:
        found = fronts(points_of(observed, context), context.directions, count)[:count]
        return {observed[at].number for at in found}
    sign = -1 if context.direction == "maximize" else 1
    places = ((sign * value_of(trial, worst), trial.number) for trial in observed)
    return {number for _, number in heapq.nsmallest(count, places)}


def _shared_among(names: Sequence[str]) -> Callable[[TrialRecord], Mapping[str, ActivationRecord]]:
    """Reads a trial's activation for all sites, if it is one of some."""
    chosen = frozenset(names)

    def read(trial: TrialRecord) -> dict[str, ActivationRecord]:
        item = trial.candidate.activations.get(SHARED)
        return {"": item} if item is not None and item.name in chosen else {}

    return read


def _choices(history: Sequence[TrialRecord], context: Context) -> Sequence[str]:
    """Activations to choose from: those that can still give something new once all were proposed as they are."""
    every = context.space.activation_names
    few = {
        name: math.prod(len(setting.choices) for setting in CATALOG[name].searched)
        for name in every
        if all(setting.choices for setting in CATALOG[name].searched)
    }
    tried: dict[str, set[tuple[object, ...]]] = {name: set() for name in few}
    for trial in history:
        item = trial.candidate.activations.get(SHARED)
        if item is not None and item.name in few:
            tried[item.name].add(_key(trial.candidate))
    return [name for name in every if name not in few or len(tried[name]) < few[name]] or every


def _key(candidate: CandidateRecord) -> tuple[object, ...]:
    item = candidate.activations.get(SHARED)
    if item is None:
        return ()
    return item.name, item.formula, frozenset(item.hyperparameters.items())


class _Seen:
    """What was proposed before; only of activations that are drawn it is looked at closely."""

    def __init__(self, history: Sequence[TrialRecord]) -> None:
        self._unread: dict[str | None, list[CandidateRecord]] = defaultdict(list)
        self._keys: dict[str | None, set[tuple[object, ...]]] = {}
        for trial in history:
            if (item := trial.candidate.activations.get(SHARED)) is not None:
                self._unread[item.name].append(trial.candidate)

    def _of(self, name: str | None) -> set[tuple[object, ...]]:
        if name not in self._keys:
            self._keys[name] = {_key(candidate) for candidate in self._unread[name]}
        return self._keys[name]

    def __contains__(self, candidate: CandidateRecord) -> bool:
        return _key(candidate) in self._of(candidate.activations[SHARED].name)

    def add(self, candidate: CandidateRecord) -> None:
        self._of(candidate.activations[SHARED].name).add(_key(candidate))


class _Told(optuna.trial.FrozenTrial):
    """A past trial for a study that lives for one proposal, which may have it as it is.

    Optuna makes a deep copy of each trial that it is told, and that takes longer than anything else about it.
    """

    @classmethod
    def of(
        cls,
        parameters: dict[str, Any],
        distributions: dict[str, BaseDistribution],
        values: list[float],
    ) -> _Told:
        """A complete trial."""
        now = datetime.datetime.now()
        return cls(
            number=-1,
            state=optuna.trial.TrialState.COMPLETE,
            value=None,
            values=values,
            datetime_start=now,
            datetime_complete=now,
            params=parameters,
            distributions=distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )

    @property
    def constraints(self) -> dict[str, float]:
        """None; Optuna asks every trial for each number that it draws."""
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _Told:
        return self


def _distribution(setting: Hyperparameter) -> BaseDistribution:
    if setting.choices:
        return CategoricalDistribution(setting.choices)
    if isinstance(setting.default, int):
        return IntDistribution(int(setting.low), int(setting.high))
    return FloatDistribution(setting.low, setting.high, log=setting.log)


def _distributions(names: Sequence[str], name: str, prefix: str) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {prefix + _CHOICE: CategoricalDistribution(list(names))}
    for setting in CATALOG[name].searched:
        found[f"{prefix}{name}.{setting.name}"] = _distribution(setting)
    return found


def _suggested(trial: optuna.Trial, name: str, setting: Hyperparameter) -> Value:
    value: Value = trial._suggest(name, _distribution(setting))
    return setting.rounded(value)
