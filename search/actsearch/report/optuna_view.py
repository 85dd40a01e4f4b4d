"""The trials as an Optuna study, for ``optuna.visualization`` and Optuna's own tools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from actsearch.activation_catalog import CATALOG, Hyperparameter
from actsearch.expression import Limits
from actsearch.records import BASELINE, CandidateRecord, StudyRecord, TrialRecord, TrialState
from actsearch.report.formulas import count_nodes
from actsearch.report.optuna_storage import write
from actsearch.report.tables import metric_name, objective_names
from actsearch.silence import silence

__all__ = ["export_to_optuna", "optuna_study"]

_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_COMPOSED = "composed"


def optuna_study(
    study: StudyRecord, trials: Sequence[TrialRecord], storage: Any = None
) -> optuna.Study:
    """An Optuna study that holds the trained trials, in memory unless a storage is given.

    Parameters are the choice of activation, its hyperparameters, and the size of a composed formula; the formula
    itself is a user attribute. Of several activations they are the choices alone, ``"depth:1/3 activation"``. A trial
    has its number in both. In memory, trials that were never trained (REJECTED, DUPLICATE) are left out. A storage
    counts its trials itself: there, they stand in their places as failed ones, with the user attribute ``state``.
    """
    with silence("optuna", optuna.exceptions.ExperimentalWarning):
        made = optuna.create_study(
            study_name=study.name,
            directions=[
                StudyDirection.MINIMIZE if direction == "minimize" else StudyDirection.MAXIMIZE
                for direction in study.directions or (study.direction,)
            ],
            storage=storage,
        )
        made.set_user_attr("actsearch", _origin(study))
        made.set_metric_names(list(objective_names(study)) or [metric_name(study)])
        names = sorted(
            {
                item.name or _COMPOSED
                for trial in trials
                for item in trial.candidate.activations.values()
            }
            | {BASELINE for trial in trials if trial.candidate.is_baseline}
        )
        by_number = {trial.number: trial for trial in trials}
        numbers = [trial.number for trial in trials if trial.state.is_trained]
        if storage is not None:
            numbers = list(range(max(numbers, default=-1) + 1))
        made.add_trials(
            [
                _freeze_trial(by_number[number], names, len(made.directions))
                if number in by_number
                else _fill_place(number)
                for number in numbers
            ]
        )
        if storage is None:  # in memory, Optuna gives out its own objects
            for number, frozen in zip(numbers, made.get_trials(deepcopy=False), strict=True):
                frozen.number = number
    return made


def _fill_place(number: int) -> FrozenTrial:
    """What stands where a trial is missing, so that those after it keep their numbers."""
    missing = TrialRecord(number, TrialState.REJECTED, CandidateRecord({}), reason="missing")
    return _freeze_trial(missing, (), 0)


def export_to_optuna(
    study: StudyRecord, trials: Sequence[TrialRecord], url: str, storage: str = ""
) -> int:
    """Write a study into an Optuna storage, whole or not at all; returns the number of trials written.

    Args:
        study: which.
        trials: its trials, with their epochs.
        url: the Optuna storage.
        storage: URL of the storage that they come from.

    Raises:
        StorageError: if the storage is one of actsearch, cannot be written, or holds a study of that name; one that an
            export that was cut off left there is made again.
    """
    with silence("optuna", optuna.exceptions.ExperimentalWarning):
        return write(
            study.name,
            _origin(study),
            url,
            storage,
            lambda address: optuna_study(study, trials, address),
        )


def _origin(study: StudyRecord) -> dict[str, Any]:
    """What tells a study from others of its name, as JSON data."""
    created = None if study.created is None else study.created.isoformat()
    return {"seed": study.seed, "strategy": dict(study.strategy), "created": created}


def _parameters(
    candidate: CandidateRecord, names: Sequence[str]
) -> dict[str, tuple[Any, BaseDistribution]]:
    """A candidate's choices and hyperparameters, each with what it is chosen from."""
    choices, item = CategoricalDistribution(names), candidate.single
    if candidate.is_baseline:
        return {"activation": (BASELINE, choices)}
    if item is None:
        return {
            f"{group} activation": (one.name or _COMPOSED, choices)
            for group, one in candidate.by_group.items()
        }
    if item.name is None:
        size = IntDistribution(1, Limits.SIZE)
        return {
            "activation": (_COMPOSED, choices),
            "composed.size": (_size(item.formula), size),
        }
    parameters: dict[str, tuple[Any, BaseDistribution]] = {"activation": (item.name, choices)}
    for setting in CATALOG[item.name].searched if item.name in CATALOG else ():
        value, distribution = item.hyperparameters.get(setting.name), _distribution(setting)
        if _contains(distribution, value):
            parameters[f"{item.name}.{setting.name}"] = value, distribution
    return parameters


def _freeze_trial(trial: TrialRecord, names: Sequence[str], objectives: int) -> FrozenTrial:
    parameters = _parameters(trial.candidate, names) if trial.state.is_trained else {}
    state = _STATES[trial.state] if trial.state.is_trained else OptunaState.FAIL
    values = [value for value in trial.values or (trial.value,) if value is not None]
    # a pruned trial has one value, however many objectives there are: Optuna takes all or none
    has_all_values = len(values) == objectives and not any(map(math.isnan, values))
    measured = values if has_all_values else None
    if state is OptunaState.COMPLETE and measured is None:
        state = OptunaState.FAIL
    epochs = trial.evaluations[0].epochs if trial.evaluations else ()
    # Optuna takes no ended trial without both moments, and in a damaged row one of them may not be readable
    known = filter(None, map(_to_naive, (trial.completed, trial.started, trial.created)))
    ended = next(known, datetime(1970, 1, 1))
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        values=measured if state in (OptunaState.COMPLETE, OptunaState.PRUNED) else None,
        datetime_start=_to_naive(trial.started) or ended,
        datetime_complete=ended,
        params={name: value for name, (value, _) in parameters.items()},
        distributions={name: choices for name, (_, choices) in parameters.items()},
        user_attrs={
            "number": trial.number,
            "state": trial.state.value,
            "formula": trial.candidate.formula,
            "operation": trial.candidate.operation,
            "reason": trial.reason,
        },
        system_attrs={},
        intermediate_values={
            epoch.epoch: epoch.valid_metric for epoch in epochs if epoch.valid_metric is not None
        },
    )


def _size(formula: str) -> int:
    """As much of it as Optuna takes, also of one that a version with another language stored."""
    return min(max(1, count_nodes(formula)), Limits.SIZE)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether Optuna takes a value: one that a user enqueued may lie outside of what is searched."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError, OverflowError):
        return False


# The same as in strategies/bayesian.py, which imports torch.
def _distribution(setting: Hyperparameter) -> BaseDistribution:
    if setting.choices:
        return CategoricalDistribution(setting.choices)
    if isinstance(setting.default, int):
        return IntDistribution(int(setting.low), int(setting.high))
    return FloatDistribution(setting.low, setting.high, log=setting.log)


def _to_naive(moment: Any) -> Any:
    """Optuna keeps local time without a zone."""
    try:
        return None if moment is None else moment.astimezone().replace(tzinfo=None)
    except (OverflowError, OSError, ValueError):  # in the year 1 or 9999
        return None
