"""Bayesian optimisation by Optuna's tree-structured Parzen estimator. The only door of the search to Optuna."""

from __future__ import annotations

import contextlib
import datetime
import functools
import heapq
import warnings
from collections.abc import Iterator, Sequence
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
from actsearch.records import SHARED, ActivationRecord, CandidateRecord, TrialRecord
from actsearch.strategies.base import Context, Strategy, check_count, counted

__all__ = ["Bayesian"]

_HISTORY = 300  # told to the sampler: its cost grows with each trial it is told
_TRIES = 12  # draws for one proposal before a repetition is let through
_LARGEST_BATCH = 8  # proposed together without news in between, more would be random search
_CHOICE = "activation"


@dataclass(frozen=True)
class Bayesian(Strategy):
    """Which catalog activation, and its hyperparameters conditional on that choice.

    The first logical batch is every activation of the space at its defaults, so that the known baselines are
    measured first; then TPE proposes ``batch`` at a time. Of a long history the best quarter and the latest are
    told, 300 at most.

    Attributes:
        batch: candidates proposed together after the start, 1 to 8; a larger batch would be random search.
        candidates: draws from the model among which TPE picks by expected improvement.
    """

    name: ClassVar[str] = "bayesian"
    batch: int = 8
    candidates: int = 24

    def __post_init__(self) -> None:
        check_count("batch", self.batch, _LARGEST_BATCH)
        check_count("candidates", self.candidates)

    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """The baselines not yet proposed, all together; then ``batch``."""
        return len(self._missing(history, context)) or self.batch

    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """Baselines first, then draws from the model of what was good so far."""
        if missing := self._missing(history, context):
            return [CandidateRecord({SHARED: item}, operation="baseline") for item in missing[:n]]
        seen = {_key(trial.candidate) for trial in history}
        with _quiet():
            study = self._study(history, context)
            return [self._ask(study, context, seen) for _ in range(n)]

    def _missing(self, history: Sequence[TrialRecord], context: Context) -> list[ActivationRecord]:
        defaults = [describe(name) for name in context.space.activation_names]
        missing = {_key(CandidateRecord({SHARED: item})): item for item in defaults}
        for trial in history:  # all of them are among the first, as a rule
            if not missing:
                break
            missing.pop(_key(trial.candidate), None)
        return list(missing.values())

    def _study(self, history: Sequence[TrialRecord], context: Context) -> optuna.Study:
        """An Optuna study in memory, filled from the history."""
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=0,
            n_ei_candidates=self.candidates,
            multivariate=False,  # with a condition on the choice, each parameter has its own history
            group=False,
            constant_liar=True,  # proposals of one batch keep away from each other
            seed=context.proposal_seed(history),
        )
        study = optuna.create_study(direction=context.direction, sampler=sampler)
        distributions = functools.cache(functools.partial(_distributions, context))
        for trial, value in self._told(history, context):
            item = trial.candidate.activations[SHARED]
            parameters = {_CHOICE: item.name} | {
                f"{item.name}.{setting.name}": item.hyperparameters[setting.name]
                for setting in CATALOG[str(item.name)].searched
            }
            study.add_trial(_Told.of(parameters, distributions(str(item.name)), value))
        return study

    def _told(
        self, history: Sequence[TrialRecord], context: Context
    ) -> list[tuple[TrialRecord, float]]:
        names = frozenset(context.space.activation_names)
        observed = [
            (trial, value)
            for trial, value in counted(history, context, rejected=True)
            if (item := trial.candidate.activations.get(SHARED)) is not None and item.name in names
        ]
        if len(observed) <= _HISTORY:
            return observed
        sign = -1 if context.direction == "maximize" else 1
        best = heapq.nsmallest(
            _HISTORY // 4, ((sign * value, trial.number) for trial, value in observed)
        )
        kept = {number for _, number in best}
        for trial, _ in reversed(observed):
            if len(kept) >= _HISTORY:
                break
            kept.add(trial.number)
        return [pair for pair in observed if pair[0].number in kept]

    def _ask(
        self, study: optuna.Study, context: Context, seen: set[tuple[object, ...]]
    ) -> CandidateRecord:
        """One draw, repeated a few times while it only repeats what is known."""
        for _ in range(_TRIES):
            trial = study.ask()
            name = trial.suggest_categorical(_CHOICE, list(context.space.activation_names))
            values = {
                setting.name: _suggested(trial, f"{name}.{setting.name}", setting)
                for setting in CATALOG[name].searched
            }
            candidate = CandidateRecord({SHARED: describe(name, **values)}, operation="tpe")
            if (key := _key(candidate)) not in seen:
                break
        seen.add(key)
        return candidate


def _key(candidate: CandidateRecord) -> tuple[object, ...]:
    item = candidate.activations.get(SHARED)
    return () if item is None else (item.name, item.formula, *sorted(item.hyperparameters.items()))


class _Told(optuna.trial.FrozenTrial):
    """A past trial for a study that lives for one proposal, which may have it as it is.

    Optuna makes a deep copy of each trial that it is told, and that takes longer than anything else about it.
    """

    @classmethod
    def of(
        cls, parameters: dict[str, Any], distributions: dict[str, BaseDistribution], value: float
    ) -> _Told:
        """A complete trial."""
        now = datetime.datetime.now()
        return cls(
            number=-1,
            state=optuna.trial.TrialState.COMPLETE,
            value=value,
            datetime_start=now,
            datetime_complete=now,
            params=parameters,
            distributions=distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=-1,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> _Told:
        return self


def _distribution(setting: Hyperparameter) -> BaseDistribution:
    if setting.choices:
        return CategoricalDistribution(setting.choices)
    if isinstance(setting.default, int):
        return IntDistribution(int(setting.low), int(setting.high))
    return FloatDistribution(setting.low, setting.high, log=setting.log)


def _distributions(context: Context, name: str) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {
        _CHOICE: CategoricalDistribution(list(context.space.activation_names))
    }
    for setting in CATALOG[name].searched:
        found[f"{name}.{setting.name}"] = _distribution(setting)
    return found


def _suggested(trial: optuna.Trial, name: str, setting: Hyperparameter) -> Value:
    value: Value = trial._suggest(name, _distribution(setting))
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No chatter of Optuna about a study that lives for one proposal; its verbosity is given back."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
