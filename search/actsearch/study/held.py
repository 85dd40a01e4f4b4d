"""Results on which a pruner has not decided yet: kept with their trials, so that they outlive the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actsearch.records import HELD, Outcome, StudyRecord, TrialRecord, TrialState
from actsearch.storage import Storage

__all__ = ["describe_held", "read_held", "without_held"]


def describe_held(study: StudyRecord, outcome: Outcome) -> dict[str, Any]:
    """What is kept of a result besides its evaluations, as data for JSON."""
    return {
        "task_changes": _count_changes(study),
        "state": outcome.state.value,
        "value": outcome.value,
        "values": list(outcome.values),
        "spread": outcome.spread,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "user_attrs": dict(outcome.user_attrs),
    }


def without_held(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's attributes once it is decided."""
    return {name: value for name, value in attributes.items() if name != HELD}


def read_held(
    storage: Storage, study: StudyRecord, trials: Iterable[TrialRecord]
) -> dict[int, Outcome]:
    """The results that earlier drivers left, by number; what cannot be read, or is of another task, is trained again.

    Args:
        storage: of the study.
        study: whose trials.
        trials: those that have not ended.
    """
    numbers = [trial.number for trial in trials if HELD in trial.user_attrs]
    if not numbers:
        return {}
    found = storage.trials(study.id, numbers=numbers, epochs=True, diagnostics=True)
    read = {trial.number: _read(trial, _count_changes(study)) for trial in found}
    return {number: outcome for number, outcome in read.items() if outcome is not None}


def _count_changes(study: StudyRecord) -> int:
    return len(study.user_attrs.get("task_changes", ()))


def _read(trial: TrialRecord, changes: int) -> Outcome | None:
    held = trial.user_attrs.get(HELD)
    if not isinstance(held, Mapping) or held.get("task_changes") != changes:
        return None
    state, value, values = held.get("state"), held.get("value"), held.get("values")
    spread, seconds, attrs = held.get("spread"), held.get("seconds"), held.get("user_attrs")
    is_sound = (
        state in ("COMPLETE", "PRUNED", "FAILED")
        and (value is None) == (state == "FAILED")
        and (value is None or _is_number(value))
        and (spread is None or _is_number(spread))
        and isinstance(values, list)
        and all(map(_is_number, values))
        and _is_number(seconds)
        and isinstance(attrs, dict)
        and (state == "FAILED" or bool(trial.evaluations))
    )
    if not is_sound:
        return None
    return Outcome(
        TrialState(state),
        value,
        spread,
        trial.evaluations,
        str(held.get("reason", "")),
        float(seconds),  # type: ignore[arg-type]
        user_attrs=attrs or {},
        values=tuple(values or ()),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
