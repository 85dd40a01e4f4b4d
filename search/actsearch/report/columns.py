"""The trials of a study as columns: what figures and tables of many trials are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actsearch.records import SHARED, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "columns_of"]

COLUMNS = {
    "number": "int64",
    "state": "object",
    "value": "float64",
    "spread": "float64",
    "label": "object",
    "formula": "object",
    "name": "object",
    "operation": "object",
    "parents": "object",
    "groups": "int64",
    "duplicate_of": "Int64",
    "fingerprint": "object",
    "mirror": "object",
    "reason": "object",
    "seconds": "float64",
    "created": "datetime64[us, UTC]",
    "started": "datetime64[us, UTC]",
    "completed": "datetime64[us, UTC]",
}
"""Names and types. ``state`` is a text; ``value`` of a duplicate is its original's; ``name`` that of a catalog row that
all sites share, else ""; ``parents`` a tuple of numbers; ``groups`` how many groups of sites have their own activation,
or 1; ``created`` is one moment for each logical batch. With several objectives ``value_1``,
``value_2``, ... follow, ``value`` being the first."""


def columns_of(trials: Sequence[TrialRecord], objectives: int = 1) -> pd.DataFrame:
    """One row for each trial, in order of their numbers, with :data:`COLUMNS`.

    Args:
        trials: duplicates with the value of what they repeat.
        objectives: how many the study has.
    """
    import pandas as pd  # loads slowly: not for the command line

    rows = [
        (
            trial.number, trial.state.value, trial.value, trial.spread, trial.candidate.label,
            trial.candidate.formula, _name(trial), trial.candidate.operation, trial.candidate.parents,
            len(trial.candidate.activations), trial.duplicate_of, trial.fingerprint, trial.mirror, trial.reason,
            trial.seconds, trial.created, trial.started, trial.completed,
            *(trial.values[at] if at < len(trial.values) else None for at in range(1, objectives)),
        )
        for trial in trials
    ]  # fmt: skip
    more = {f"value_{at}": "float64" for at in range(1, objectives)}
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *more])
    return frame.astype({**COLUMNS, **more})


def _name(trial: TrialRecord) -> str:
    item = trial.candidate.activations.get(SHARED)
    return "" if item is None or item.name is None else item.name
