"""Bayesian optimisation by Optuna's tree-structured Parzen estimator. The only door of the search to Optuna."""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from tqdm import TqdmWarning

from actsearch.activation_catalog import CATALOG, Hyperparameter, Value
from actsearch.activations import describe
from actsearch.checks import check_field, check_integer, check_one_of
from actsearch.errors import SpaceError
from actsearch.pareto import fronts
from actsearch.records import CATALOG_ROW, ActivationRecord, CandidateRecord, TrialRecord
from actsearch.silence import silence
from actsearch.strategies.base import (
    Context,
    Feature,
    objective_points,
    observations,
    observed_value,
    pending,
    worst_value,
)
from actsearch.strategies.by_site import BySite, BySiteState, GroupSampler
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.known import KNOWN, known_functions, remark_unknown

# in a notebook, Optuna imports bars that warn where ipywidgets is not installed; none is shown
with silence("optuna", TqdmWarning):
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

__all__ = ["Bayesian"]

_HISTORY = 300  # trials reported to the sampler: its cost grows with each of them
_ATTEMPTS = 12  # draws for one proposal before a repetition is let through
_LARGEST_BATCH = 8  # proposed together without news in between, more would be random search
_CHOICE = "activation"
_PORTFOLIO = 16

_Key = tuple[str | None, str, frozenset[tuple[str, Value]]]
_Reported = tuple[Mapping[str, ActivationRecord], list[float] | None]


@dataclass(frozen=True)
class Bayesian(BySite):
    """Which catalog activation, and its hyperparameters conditional on that choice.

    The first logical batch is a portfolio: 16 activations of the space of which every task of the benchmark of
    activations finds some good; then TPE proposes ``batch`` at a time. Activations that could only be repeated, since
    they have no settings to search or a few that were all tried, are neither reported nor drawn. Drawn numbers have 3
    digits. Of a long history the best quarter and the latest are reported, 300 at most. With several objectives it is
    Optuna's multi-objective TPE (Ozaki et al. 2022, JAIR 73).

    By site, each group has a choice and hyperparameters of its own in the sampler's model, and a draw for one group
    holds the others at the best candidate so far; trials with one activation at all sites count for every group.

    Attributes:
        batch: candidates proposed together after the start, 1 to 8; a larger batch would be random search.
        candidates: draws from the model among which TPE picks by expected improvement.
        start: what the first batch is: "portfolio", or "catalog", every activation of the space at its defaults.

    Example:
        >>> acs.create_study(study_name="tpe", strategy=acs.Bayesian(batch=4))
        Study('tpe', sqlite://)
    """

    name: ClassVar[str] = "bayesian"
    supports: ClassVar[frozenset[Feature]] = frozenset(Feature)
    before: ClassVar[Mapping[str, Any]] = MappingProxyType({"start": "catalog"})
    batch: int = 8
    candidates: int = 24
    start: str = "portfolio"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "batch", check_integer, SpaceError, low=1, high=_LARGEST_BATCH)
        check_field(self, "candidates", check_integer, SpaceError, low=1)
        check_one_of("start", self.start, ("portfolio", "catalog"), SpaceError)

    def remarks(self, context: Context) -> list[str]:
        """Why the benchmark tells nothing, where it does not."""
        return remark_unknown(context.space, rows_only=True) if self.start == "portfolio" else []

    def shared_batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """Of the first batch what was not yet proposed, all together; then ``batch``."""
        return len(self._missing(history, context)) or self.batch

    def propose_shared(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """The first batch, then draws from the model of what was good so far."""
        if missing := self._missing(history, context):
            return missing[:n]
        return self.draw(history, n, context)

    def draw(
        self,
        history: Sequence[TrialRecord],
        n: int,
        context: Context,
        seed: int | None = None,
    ) -> list[CandidateRecord]:
        """Shared candidates from the model of what was good so far, whatever was tried first.

        Args:
            history: trials from which to learn.
            n: how many.
            context: of the study.
            seed: of the draws; None for that of the proposal after this history.
        """
        proposed = _rows(history)
        with silence("optuna", optuna.exceptions.ExperimentalWarning):
            names = _choices(proposed, context)
            study = self._study(history, context, names, SiteGroups.shared(), seed)
            return [self._ask(study, names, proposed) for _ in range(n)]

    def _missing(self, history: Sequence[TrialRecord], context: Context) -> list[CandidateRecord]:
        """Of the first batch what was not proposed."""
        missing = {_key(one.activations["*"]): one for one in self._first(context)}
        for item in _shared_items(history):
            if not missing:  # all of them are among the first trials, as a rule
                break
            missing.pop(_key(item), None)
        return list(missing.values())

    def _first(self, context: Context) -> list[CandidateRecord]:
        known = known_functions(context.space) if self.start == "portfolio" else None
        if known and (chosen := known.portfolio(_PORTFOLIO, rows_only=True)):
            return [CandidateRecord.shared(item, KNOWN) for item in chosen]
        rows = [describe(name) for name in context.space.activation_names]
        return [CandidateRecord.shared(item, CATALOG_ROW) for item in rows]

    @contextlib.contextmanager
    def open_sampler(
        self, history: Sequence[TrialRecord], context: Context, state: BySiteState
    ) -> Iterator[GroupSampler]:
        """TPE for one group: its activation, and hyperparameters conditional on that."""
        names, groups = context.space.activation_names, context.site_groups
        with silence("optuna", optuna.exceptions.ExperimentalWarning):
            study = self._study(history, context, names, groups)
            yield GroupSampler(
                lambda group, current: self._suggest(study, names, _prefix(groups, group))
            )

    def _study(
        self,
        history: Sequence[TrialRecord],
        context: Context,
        names: Sequence[str],
        groups: SiteGroups,
        seed: int | None = None,
    ) -> optuna.Study:
        """An Optuna study in memory, filled from the history.

        Args:
            history: every trial so far.
            context: of the study.
            names: what is chosen from.
            groups: each has parameters of its own.
            seed: of the sampler; None for that of the proposal.
        """
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=0,
            n_ei_candidates=self.candidates,
            multivariate=False,  # with a condition on the choice, each parameter has its own history
            group=False,
            constant_liar=True,  # proposals of one batch keep away from each other
            seed=context.proposal_seed(history) if seed is None else seed,
        )
        study = optuna.create_study(
            directions=[
                optuna.study.StudyDirection[direction.upper()]
                for direction in context.directions or (context.direction,)
            ],
            sampler=sampler,
        )
        distributions = functools.cache(functools.partial(_distributions, names))
        reported = _report_history(history, context, frozenset(names), groups)
        reported += _report_pending(history, frozenset(names), groups)
        for items, values in reported:
            parameters: dict[str, Any] = {}
            known: dict[str, BaseDistribution] = {}
            for prefix, item in items.items():
                name = str(item.name)
                parameters[prefix + _CHOICE] = name
                for setting in CATALOG[name].searched:
                    key = f"{prefix}{name}.{setting.name}"
                    parameters[key] = item.hyperparameters[setting.name]
                known |= distributions(name, prefix)
            study.add_trial(_ReportedTrial.of(parameters, known, values))
        return study

    def _ask(
        self, study: optuna.Study, names: Sequence[str], proposed: set[_Key]
    ) -> CandidateRecord:
        """One draw, repeated a few times while it only repeats what is known."""
        for _ in range(_ATTEMPTS):
            item = self._suggest(study, names)
            if _key(item) not in proposed:
                break
        proposed.add(_key(item))
        return CandidateRecord.shared(item, "tpe")

    @staticmethod
    def _suggest(study: optuna.Study, names: Sequence[str], prefix: str = "") -> ActivationRecord:
        trial = study.ask()
        name = trial.suggest_categorical(prefix + _CHOICE, list(names))
        values = {
            setting.name: _suggest_value(trial, f"{prefix}{name}.{setting.name}", setting)
            for setting in CATALOG[name].searched
        }
        return describe(name, **values)


def _prefix(groups: SiteGroups, group: int) -> str:
    """What the names of a group's parameters begin with."""
    return f"{group}." if len(groups) > 1 else ""


def _report_history(
    history: Sequence[TrialRecord], context: Context, names: frozenset[str], groups: SiteGroups
) -> list[_Reported]:
    """Activations among some names, by prefix, with their values; of many, the best quarter and the latest."""
    worst = worst_value(history, context)
    observed = list(_list_chosen(observations(history, rejected=True), names, groups))
    if len(observed) > _HISTORY:
        kept = _best([trial for trial, _ in observed], context, worst)
        for trial, _ in reversed(observed):
            if len(kept) >= _HISTORY:
                break
            kept.add(trial.number)
        observed = [(trial, chosen) for trial, chosen in observed if trial.number in kept]
    if context.directions:
        points = objective_points([trial for trial, _ in observed], context)
        return [(chosen, list(point)) for (_, chosen), point in zip(observed, points, strict=True)]
    return [(chosen, [observed_value(trial, worst)]) for trial, chosen in observed]


def _list_chosen(
    trials: Iterable[TrialRecord], names: frozenset[str], groups: SiteGroups
) -> Iterator[tuple[TrialRecord, Mapping[str, ActivationRecord]]]:
    """Trials with their activations among some names, by prefix, where they have any."""
    for trial in trials:
        items = enumerate(groups.items(trial.candidate) or ())
        if chosen := {_prefix(groups, index): item for index, item in items if item.name in names}:
            yield trial, chosen


def _report_pending(
    history: Sequence[TrialRecord], names: frozenset[str], groups: SiteGroups
) -> list[_Reported]:
    """Likewise those in training, without values: TPE keeps away from them (constant liar); of many, the latest."""
    waiting = [trial for trial in pending(history) if not trial.candidate.learns_shape]
    return [(chosen, None) for _, chosen in _list_chosen(waiting[-_HISTORY:], names, groups)]


def _best(observed: Sequence[TrialRecord], context: Context, worst: float) -> set[int]:
    """Numbers of the best quarter of what is reported; with several objectives, front after front."""
    count = _HISTORY // 4
    if context.directions:
        points = objective_points(observed, context)
        best = fronts(points, context.directions, count)[:count]
        return {observed[index].number for index in best}
    sign = -1 if context.direction == "maximize" else 1
    ranked = ((sign * observed_value(trial, worst), trial.number) for trial in observed)
    return {number for _, number in heapq.nsmallest(count, ranked)}


def _shared_items(history: Sequence[TrialRecord]) -> Iterator[ActivationRecord]:
    """Activations that stood at all sites."""
    return (item for trial in history if (item := trial.candidate.single) is not None)


def _rows(history: Sequence[TrialRecord]) -> set[_Key]:
    """Rows with settings that were proposed: of formulas, which TPE does not draw, there may be thousands."""
    return {_key(item) for item in _shared_items(history) if item.name}


def _choices(proposed: set[_Key], context: Context) -> Sequence[str]:
    """Activations to choose from: those that can still give something new."""
    every = context.space.activation_names
    few = {
        name: math.prod(len(setting.choices) for setting in CATALOG[name].searched)
        for name in every
        if all(setting.choices for setting in CATALOG[name].searched)
    }
    tried = collections.Counter(name for name, *_ in proposed)
    return [name for name in every if name not in few or tried[name] < few[name]] or every


def _key(item: ActivationRecord) -> _Key:
    return item.name, item.formula, frozenset(item.hyperparameters.items())


class _ReportedTrial(optuna.trial.FrozenTrial):
    """A past trial for a study that lives for one proposal, which may have it as it is.

    Optuna makes a deep copy of each trial that is reported to it, and that takes longer than anything else about it.
    """

    @classmethod
    def of(
        cls,
        parameters: dict[str, Any],
        distributions: dict[str, BaseDistribution],
        values: list[float] | None,
    ) -> _ReportedTrial:
        """A complete trial; without values, one in training."""
        now = datetime.datetime.now()
        states = optuna.trial.TrialState
        return cls(
            number=-1,
            state=states.RUNNING if values is None else states.COMPLETE,
            value=None,
            values=values,
            datetime_start=now,
            datetime_complete=None if values is None else now,
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

    def __deepcopy__(self, memo: dict[int, Any]) -> _ReportedTrial:
        return self


# The same as in report/optuna_view.py, which must not import torch, as this package does; an export would otherwise
# offer another range than the one that was searched.
def _distribution(setting: Hyperparameter) -> BaseDistribution:
    if setting.choices:
        return CategoricalDistribution(setting.choices)
    if isinstance(setting.default, int):
        return IntDistribution(int(setting.low), int(setting.high))
    return FloatDistribution(setting.low, setting.high, log=setting.log)


def _distributions(names: Sequence[str], name: str, prefix: str) -> dict[str, BaseDistribution]:
    distributions: dict[str, BaseDistribution] = {
        prefix + _CHOICE: CategoricalDistribution(list(names))
    }
    for setting in CATALOG[name].searched:
        distributions[f"{prefix}{name}.{setting.name}"] = _distribution(setting)
    return distributions


def _suggest_value(trial: optuna.Trial, name: str, setting: Hyperparameter) -> Value:
    value: Value = trial._suggest(name, _distribution(setting))
    return setting.round(value)
