"""The trials of a study as columns: what figures and tables of many trials are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actsearch.records import TrialRecord, TrialState

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS", "columns_of", "frame_of", "leaders", "merged_columns", "objectives_of", "open_numbers", "sample",
    "stands_like",
]  # fmt: skip

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
    "alias": "object",
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

_MOMENT: Any = "datetime64[us, UTC]"
_OPEN = [state.value for state in TrialState if state.is_open]
_REPEATED = ("state", "operation", "name", "reason")


def columns_of(trials: Sequence[TrialRecord], objectives: int = 1) -> pd.DataFrame:
    """One row for each trial, in order of their numbers, with :data:`COLUMNS`.

    Args:
        trials: duplicates with the value of what they repeat.
        objectives: how many the study has.
    """
    cells: dict[str, list[Any]] = {
        "number": [trial.number for trial in trials],
        "state": [trial.state.value for trial in trials],
        "label": [trial.candidate.label for trial in trials],
        "formula": [trial.candidate.formula for trial in trials],
        "name": [_name(trial) for trial in trials],
        "operation": [trial.candidate.operation for trial in trials],
        "parents": [trial.candidate.parents for trial in trials],
        "groups": [max(1, len(trial.candidate.activations)) for trial in trials],
    }
    for name in COLUMNS:
        if name not in cells:
            cells[name] = [getattr(trial, name) for trial in trials]
    for at in range(1, objectives):
        cells[f"value_{at}"] = [
            trial.values[at] if at < len(trial.values) else None for trial in trials
        ]
    return _framed(cells)


def _name(trial: TrialRecord) -> str:
    item = trial.candidate.single
    return "" if item is None or item.name is None else item.name


def frame_of(cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Columns as the storage reads them, in order of number, as a table with :data:`COLUMNS`."""
    return _resolved(_framed(cells))


def _framed(cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    import pandas as pd  # loads slowly: not for the command line

    same: dict[str, str] = {}
    columns = {}
    more = [name for name in cells if name not in COLUMNS]
    for name, kind in {**COLUMNS, **dict.fromkeys(more, "float64")}.items():
        given = cells[name]
        if name in _REPEATED:  # one object for equal texts: of very many trials they take the most
            given = [same.setdefault(text, text) for text in given]
        if kind.startswith("datetime"):
            columns[name] = pd.Series(
                pd.to_datetime(list(given), utc=True, format="ISO8601", errors="coerce")
            ).astype(_MOMENT)
        else:
            columns[name] = pd.Series(list(given), dtype=kind)
    return pd.DataFrame(columns)


def _resolved(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each duplicate the value, spread and reason of the trial that it repeats."""
    import numpy as np
    import pandas as pd

    repeated = np.flatnonzero(frame["duplicate_of"].notna().to_numpy())
    if not len(repeated):
        return frame
    originals = frame["duplicate_of"].iloc[repeated].to_numpy(dtype=np.int64)
    numbers = frame["number"].to_numpy()
    places = np.searchsorted(numbers, originals).clip(0, len(numbers) - 1)
    found = numbers[places] == originals
    repeated, places = repeated[found], places[found]
    for name in ["value", "spread", *(name for name in frame if str(name).startswith("value_"))]:
        cells = frame[name].to_numpy(copy=True)
        cells[repeated] = cells[places]
        frame[name] = cells
    states, reasons = frame["state"].to_numpy(), frame["reason"].to_numpy(copy=True)
    for at, place in zip(repeated, places, strict=True):
        reasons[at] = f"same as trial {numbers[place]} ({states[place]})"
    frame["reason"] = pd.Series(reasons, dtype="object")
    return frame


def objectives_of(frame: pd.DataFrame) -> int:
    """How many objectives a table has values of."""
    return 1 + sum(str(name).startswith("value_") for name in frame)


def open_numbers(frame: pd.DataFrame) -> list[int]:
    """Numbers of the trials that still have to be trained: their rows will change."""
    return [int(number) for number in frame["number"][frame["state"].isin(_OPEN)]]


def merged_columns(before: pd.DataFrame, cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A table with some rows new, or in the place of those of the same numbers; the same one if nothing changes.

    Args:
        before: as :func:`frame_of` gives it; it is not changed.
        cells: of the rows, in order of number.
    """
    import pandas as pd

    if not cells["number"]:
        return before
    rows = _framed(cells).set_index("number", drop=False)
    old = before[before["number"].isin(rows.index)].set_index("number", drop=False)
    here = rows.loc[old.index]
    same = (old["state"] == here["state"]) & (old["started"].isna() == here["started"].isna())
    rows = rows.drop(index=old.index[same])
    if rows.empty:
        return before
    kept = before[~before["number"].isin(rows.index)]
    merged = pd.concat([kept, rows], ignore_index=True)
    return _resolved(merged.sort_values("number", ignore_index=True))


def stands_like(frame: pd.DataFrame, total: Mapping[str, int]) -> bool:
    """Whether a table has as many trials in each state as the study has."""
    found = {str(state): int(count) for state, count in frame["state"].value_counts().items()}
    return found == {state: count for state, count in total.items() if count}


def leaders(frame: pd.DataFrame, direction: str | None, most: int) -> pd.DataFrame:
    """The best COMPLETE trials, best value first; of equal values the earlier trial first."""
    import numpy as np

    values = frame["value"].to_numpy() * (1.0 if direction == "minimize" else -1.0)
    ranked = np.where((frame["state"] == "COMPLETE") & np.isfinite(values), values, np.inf)
    best = np.argsort(ranked, kind="stable")[:most]
    return frame.iloc[best[np.isfinite(ranked[best])]]


def sample(frame: pd.DataFrame, direction: str | None, most: int) -> pd.DataFrame:
    """At most so many of the trials, in order: the best quarter of them, and others evenly spread over the study.

    Args:
        frame: as :data:`COLUMNS`.
        direction: "minimize", or anything else for the largest value.
        most: how many to keep.
    """
    import numpy as np

    if len(frame) <= most:
        return frame
    values = frame["value"].to_numpy() * (1.0 if direction == "minimize" else -1.0)
    ranked = np.where((frame["state"] == "COMPLETE") & np.isfinite(values), values, np.inf)
    chosen = np.zeros(len(frame), dtype=bool)
    best = np.argsort(ranked, kind="stable")[: most // 4]
    chosen[best[np.isfinite(ranked[best])]] = True
    others = np.flatnonzero(~chosen)
    spread = np.linspace(0, len(others) - 1, most - int(chosen.sum())).round().astype(int)
    chosen[others[spread]] = True
    return frame[chosen]
