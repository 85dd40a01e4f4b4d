"""Tables of trials."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actsearch.errors import StudyError
from actsearch.pareto import front
from actsearch.records import StudyRecord, TrialRecord, TrialState

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "best_trial",
    "pareto_front",
    "disarmed",
    "leaderboard",
    "resolve_duplicates",
    "mirrors",
    "objective_names",
    "place_of",
    "same_values",
    "state_counts",
    "trials_frame",
]


def resolve_duplicates(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The same trials, each DUPLICATE with the value, spread and reason of the trial it repeats."""
    by_number = {trial.number: trial for trial in trials}
    resolved = []
    for trial in trials:
        original = by_number.get(trial.duplicate_of) if trial.duplicate_of is not None else None
        if original is not None:
            trial = dataclasses.replace(
                trial,
                value=original.value,
                values=original.values,
                spread=original.spread,
                reason=f"same as trial {original.number} ({original.state.value})",
            )
        resolved.append(trial)
    return resolved


def place_of(trial: TrialRecord, direction: str | None) -> tuple[float, int] | None:
    """What orders the leaderboard, smaller is better; None for a trial that is not on it."""
    value = trial.value
    if trial.state is not TrialState.COMPLETE or value is None or not math.isfinite(value):
        return None
    return (value if direction == "minimize" else -value), trial.number


def leaderboard(trials: Sequence[TrialRecord], direction: str | None) -> list[TrialRecord]:
    """COMPLETE trials, best value first; of equal values the earlier trial first."""
    places = [(place_of(trial, direction), trial) for trial in trials]
    ranked = [(place, trial) for place, trial in places if place is not None]
    return [trial for _, trial in sorted(ranked, key=lambda pair: pair[0])]


def best_trial(trials: Sequence[TrialRecord], direction: str | None) -> TrialRecord:
    """The COMPLETE trial with the best value.

    Raises:
        StudyError: while no trial is complete.
    """
    ranked = leaderboard(trials, direction)
    if not ranked:
        raise StudyError("no trial is complete yet: call study.optimize(task, n_trials=...) first")
    return ranked[0]


def pareto_front(trials: Sequence[TrialRecord], directions: Sequence[str]) -> list[TrialRecord]:
    """COMPLETE trials that no other one is as good as in all objectives and better in one, in order of number.

    With one direction, the trials with the best value.
    """
    complete, points = [], []
    for trial in trials:
        values = trial.values or (trial.value,)
        known = [value for value in values if value is not None and math.isfinite(value)]
        if trial.state is TrialState.COMPLETE and len(known) == len(values) == len(directions):
            complete.append(trial)
            points.append(known)
    return [complete[index] for index in front(points, directions)]


def state_counts(trials: Sequence[TrialRecord]) -> dict[TrialState, int]:
    """How many trials are in each state, every state named."""
    counts = Counter(trial.state for trial in trials)
    return {state: counts.get(state, 0) for state in TrialState}


def same_values(trials: Sequence[TrialRecord]) -> dict[int, int]:
    """For trials whose function has the values of an earlier one but another gradient or parameters: which one.

    Such an alias is shown and never a reason to skip: ReLU with another derivative at 0 trains differently.
    """
    first: dict[str, TrialRecord] = {}
    found = {}
    for trial in trials:
        if not trial.alias:
            continue
        original = first.setdefault(trial.alias, trial)
        if original.fingerprint != trial.fingerprint:
            found[trial.number] = original.number
    return found


def mirrors(trials: Sequence[TrialRecord]) -> dict[int, int]:
    """For trials whose function is f(-x), -f(x) or -f(-x) of an earlier one's f: which one.

    Shown as well, and no reason to skip: only between layers that are drawn symmetrically do the two train alike.
    """
    first: dict[str, TrialRecord] = {}
    found = {}
    for trial in trials:
        if not trial.mirror:
            continue
        original = first.setdefault(trial.mirror, trial)
        if original.alias != trial.alias:
            found[trial.number] = original.number
    return found


def objective_names(study: StudyRecord) -> tuple[str, ...]:
    """Names of a study's objectives, their numbers where nobody named them; empty where there is but one."""
    if len(study.directions) < 2:
        return ()
    return study.objectives or tuple(str(at) for at in range(len(study.directions)))


_BREAKS = ("\t", "\r", "\n")
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"


def disarmed(text: str) -> str:
    """A text that no spreadsheet takes for a formula: a quote before = + - @, also of full width, tab and line breaks.

    Space before them is looked through, as spreadsheets that trim their cells do.
    """
    first = text.lstrip()[:1]
    return "'" + text if text[:1] in _BREAKS or (first and first in _FORMULA) else text


def trials_frame(
    trials: Sequence[TrialRecord], *, disarm: bool = False, objectives: Sequence[str] = ()
) -> pd.DataFrame:
    """One row a trial, columns as Optuna names them where it has them.

    A search by site has a column more for each group of sites, "activation depth:1/3", empty for an activation that all
    share. With several objectives ``value`` is that of the first, and ``values_NAME`` those of all.

    Args:
        trials: what to tabulate.
        disarm: make texts safe for spreadsheets, as for a CSV file.
        objectives: names of several, in order; their numbers where they have none.
    """
    import pandas as pd  # loads slowly: not for the command line

    several = [f"values_{name}" for name in objectives]
    aliases, images = same_values(trials), mirrors(trials)
    rows = [
        {
            "number": trial.number,
            "state": trial.state.value,
            "value": trial.value,
            **{
                name: trial.values[at] if at < len(trial.values) else None
                for at, name in enumerate(several)
            },
            "spread": trial.spread,
            "activation": trial.candidate.label,
            "formula": trial.candidate.formula,
            "operation": trial.candidate.operation,
            "parents": ", ".join(map(str, trial.candidate.parents)),
            "duplicate_of": trial.duplicate_of,
            "same_values_as": aliases.get(trial.number),
            "mirror_of": images.get(trial.number),
            "reason": trial.reason,
            "warnings": "; ".join(trial.warnings),
            "seconds": trial.seconds,
            "datetime_start": trial.started,
            "datetime_complete": trial.completed,
        }
        for trial in resolve_duplicates(trials)
    ]
    columns = [
        "number", "state", "value", *several, "spread", "activation", "formula", "operation", "parents",
        "duplicate_of", "same_values_as", "mirror_of",
        "reason", "warnings", "seconds", "datetime_start", "datetime_complete",
    ]  # fmt: skip
    by_group = _labels_by_group(trials)
    for row, labels in zip(rows, by_group, strict=True):
        row.update(labels)
    more = list(dict.fromkeys(column for labels in by_group for column in labels))
    frame = pd.DataFrame(rows, columns=[*columns, *more])
    if disarm:
        texts = ("activation", "formula", "operation", "parents", "reason", "warnings")
        for column in (*texts, *more):
            frame[column] = frame[column].map(disarmed, na_action="ignore")
    return frame.astype(
        {
            "duplicate_of": "Int64",
            "same_values_as": "Int64",
            "mirror_of": "Int64",
            "value": "float64",
            "spread": "float64",
            **dict.fromkeys(several, "float64"),
        }
    )


def _labels_by_group(trials: Sequence[TrialRecord]) -> list[dict[str, str]]:
    """Of each trial with several activations, their labels by name of the column."""
    return [
        {f"activation {group}": item.label for group, item in trial.candidate.by_group.items()}
        for trial in trials
    ]
