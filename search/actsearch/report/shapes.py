"""Learned shapes and their names, as a history holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actsearch.records import CURVES, FROZEN, LEARNED, SHAPE, UNEXPLAINED, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LearnedCurve",
    "curve_trials",
    "curves_of",
    "family_of",
    "names_table",
    "pass_of",
    "unexplained_of",
]

_GENERATIONS = (
    8  # from a name back to its pass there are three; what another program wrote may be a circle
)


@dataclass(frozen=True)
class LearnedCurve:
    """What a pass of shape learning gave for the sites of one key.

    Attributes:
        x: points, ascending.
        y: values there.
        density: share of the inputs around each point.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    density: tuple[float, ...]


def curves_of(trial: TrialRecord) -> dict[str, LearnedCurve]:
    """The learned curves of a pass, by key; empty for any other trial."""
    stored = trial.user_attrs.get(CURVES)
    if not isinstance(stored, Mapping):
        return {}
    found = {str(key): _read(value) for key, value in stored.items()}
    return {key: curve for key, curve in found.items() if curve is not None}


def _read(stored: Any) -> LearnedCurve | None:
    if not isinstance(stored, Mapping):
        return None
    columns = [stored.get(name) for name in ("x", "y", "density")]
    numbers = [
        tuple(float(value) for value in column)
        for column in columns
        if isinstance(column, list)
        and all(isinstance(value, (int, float)) and abs(value) < 1e30 for value in column)
    ]
    if len(numbers) < len(columns) or len({len(column) for column in numbers}) > 1:
        return None
    return LearnedCurve(*numbers) if len(numbers[0]) > 1 else None


def pass_of(trial: TrialRecord, read: Callable[[int], TrialRecord | None]) -> TrialRecord | None:
    """The pass of shape learning that a trial comes from: itself, or the nearest of its ancestors.

    Args:
        trial: whose.
        read: gives a trial by its number.
    """
    current: TrialRecord | None = trial
    for _ in range(_GENERATIONS):
        if current is None or curves_of(current):
            return current
        parents = current.candidate.parents
        current = read(parents[0]) if parents else None
    return None


def curve_trials(trials: Iterable[TrialRecord]) -> dict[int, int]:
    """By the number of a pass, that of the trial that trained its curve, where there is one."""
    found: dict[int, int] = {}
    for trial in trials:
        if trial.candidate.operation == LEARNED and trial.candidate.parents:
            found.setdefault(trial.candidate.parents[0], trial.number)
    return found


def family_of(source: int, frame: pd.DataFrame) -> list[int]:
    """Numbers of the trials that come from a pass: its curve, the names for it, and these with their numbers fixed.

    Args:
        source: number of the pass.
        frame: of the study's trials.
    """
    family = [source]
    columns = zip(frame["number"], frame["parents"], frame["operation"], strict=True)
    for number, parents, operation in columns:
        if not operation.startswith(SHAPE) and set(family) & set(
            parents
        ):  # with another pass begins another round
            family.append(int(number))
    return family[1:]


def names_table(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Those trials that are names: number, label, share of their curve unexplained, value, state, operation."""
    import pandas as pd  # loads slowly: not for the command line

    rows = [
        {
            "number": trial.number,
            "label": trial.candidate.label,
            "unexplained": unexplained_of(trial),
            "value": trial.value,
            "state": trial.state.value,
            "operation": trial.candidate.operation,
        }
        for trial in trials
        if unexplained_of(trial) is not None or trial.candidate.operation == FROZEN
    ]
    columns = ["number", "label", "unexplained", "value", "state", "operation"]
    return pd.DataFrame(rows, columns=columns)


def unexplained_of(trial: TrialRecord) -> float | None:
    """Of a name, the share of its curve's variance that it leaves over, the largest of its groups; else None."""
    errors = trial.user_attrs.get(UNEXPLAINED)
    if not isinstance(errors, Mapping):
        return None
    numbers = [float(value) for value in errors.values() if isinstance(value, (int, float))]
    return max(numbers, default=None)
