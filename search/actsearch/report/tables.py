"""Tables of trials."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actsearch.errors import StudyError
from actsearch.pareto import front
from actsearch.records import EpochRecord, StudyRecord, TrialRecord, TrialState
from actsearch.report.columns import explain_duplicate, make_columns, mirrors, same_values
from actsearch.storage.tolerant import one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "best_trial",
    "curve_frame",
    "escape_csv_formula",
    "leaderboard",
    "metric_name",
    "no_complete_trial",
    "objective_names",
    "pareto_front",
    "rank_key",
    "resolve_duplicates",
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
                reason=explain_duplicate(original.number, original.state.value),
            )
        resolved.append(trial)
    return resolved


def rank_key(trial: TrialRecord, direction: str | None) -> tuple[float, int] | None:
    """What orders the leaderboard, smaller is better; None for a trial that is not on it."""
    value = trial.value
    if trial.state is not TrialState.COMPLETE or value is None or not math.isfinite(value):
        return None
    return (value if direction == "minimize" else -value), trial.number


def leaderboard(trials: Sequence[TrialRecord], direction: str | None) -> list[TrialRecord]:
    """COMPLETE trials, best value first; of equal values the earlier trial first."""
    ranked = [(key, trial) for trial in trials if (key := rank_key(trial, direction)) is not None]
    return [trial for _, trial in sorted(ranked, key=lambda pair: pair[0])]


def best_trial(trials: Sequence[TrialRecord], direction: str | None) -> TrialRecord:
    """The COMPLETE trial with the best value.

    Raises:
        StudyError: while no trial is complete.
    """
    ranked = leaderboard(trials, direction)
    if not ranked:
        raise no_complete_trial(trials)
    return ranked[0]


def no_complete_trial(trials: Sequence[TrialRecord]) -> StudyError:
    """What to raise while no trial is complete: why the last one failed, or that none was trained."""
    if failed := [trial for trial in trials if trial.state is TrialState.FAILED]:
        return StudyError(
            f"no trial is complete: {len(failed)} failed, the last one with: {one_line(failed[-1].reason)}"
        )
    return StudyError("no trial is complete yet: call study.optimize(task, n_trials=...) first")


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


def objective_names(study: StudyRecord) -> tuple[str, ...]:
    """Names of a study's objectives, their numbers where they have none; empty where there is but one."""
    if len(study.directions) < 2:
        return ()
    return study.objectives or tuple(map(str, range(len(study.directions))))


def metric_name(study: StudyRecord) -> str:
    """What ``value`` of its trials is; "value" for an objective of the user's own."""
    if names := objective_names(study):
        return names[0]
    return str((study.task or {}).get("metric", "value"))


_BREAKS = ("\t", "\r", "\n")
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"


def escape_csv_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula: a quote before = + - @, also of full width, tab and line breaks.

    Space before them is looked through, as spreadsheets that trim their cells do.
    """
    first = text.lstrip()[:1]
    return "'" + text if text[:1] in _BREAKS or (first and first in _FORMULA) else text


def curve_frame(trial: TrialRecord) -> pd.DataFrame:
    """One row for each measurement of each of a trial's trainings: seed, epoch, losses, metrics, seconds.

    Args:
        trial: with its evaluations and their epochs.
    """
    import pandas as pd  # loads slowly: not for the command line

    columns = ["seed", *(one.name for one in dataclasses.fields(EpochRecord))]
    rows = [
        (evaluation.seed, *dataclasses.astuple(epoch))
        for evaluation in trial.evaluations
        for epoch in evaluation.epochs
    ]
    return pd.DataFrame(rows, columns=columns)


def trials_frame(
    trials: Sequence[TrialRecord], *, escape: bool = False, objectives: Sequence[str] = ()
) -> pd.DataFrame:
    """One row a trial, columns as Optuna names them where it has them.

    A search by site has a column more for each group of sites, "activation depth:1/3", empty for an activation that all
    share. With several objectives ``value`` is that of the first, and ``values_NAME`` those of all.

    Args:
        trials: what to tabulate.
        escape: make texts safe for spreadsheets, as for a CSV file.
        objectives: names of several, in order; their numbers where they have none.
    """
    import pandas as pd  # loads slowly: not for the command line

    columns = make_columns(trials, len(objectives) or 1)
    values = ["value", *(f"value_{index}" for index in range(1, len(objectives)))]
    frame = pd.DataFrame(
        {
            **{name: columns[name] for name in ("number", "state", "value")},
            **{
                f"values_{key}": columns[name]
                for key, name in zip(objectives, values, strict=False)
            },
            "spread": columns["spread"],
            "activation": columns["label"],
            "formula": columns["formula"],
            "operation": columns["operation"],
            "parents": [", ".join(map(str, numbers)) for numbers in columns["parents"]],
            "duplicate_of": columns["duplicate_of"],
            "same_values_as": same_values(columns),
            "mirror_of": mirrors(columns),
            "reason": columns["reason"],
            "warnings": ["; ".join(trial.warnings) for trial in trials],
            "seconds": columns["seconds"],
            "datetime_start": columns["started"],
            "datetime_complete": columns["completed"],
            **_group_columns(trials),
        }
    )
    if escape:
        for name in frame.select_dtypes(exclude=["number", "datetimetz"]):
            frame[name] = frame[name].map(escape_csv_formula, na_action="ignore")
    return frame


def _group_columns(trials: Sequence[TrialRecord]) -> dict[str, pd.Series[Any]]:
    """The label at each group of sites that has its own activation in some trial."""
    import pandas as pd

    by_group = [trial.candidate.by_group for trial in trials]
    groups = dict.fromkeys(group for items in by_group for group in items)
    return {
        f"activation {group}": pd.Series(
            [items[group].label if group in items else None for items in by_group], dtype="object"
        )
        for group in groups
    }
