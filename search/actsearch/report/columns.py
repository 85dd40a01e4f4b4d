"""The trials of a study as columns: what figures and tables of many trials are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actsearch.records import BASELINE, CATALOG_ROW, TrialRecord, TrialState
from actsearch.storage import FIELDS
from actsearch.storage.trial_reader import derive_cells

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS", "make_columns", "count_objectives", "columns_frame", "explain_duplicate", "has_counts", "leaders",
    "merge_columns", "mirrors", "open_numbers", "same_values", "sample",
]  # fmt: skip

_MOMENT: Any = "datetime64[us, UTC]"
_KINDS = {
    "number": "int64",
    "groups": "int64",
    "duplicate_of": "Int64",
    **dict.fromkeys(("value", "spread", "seconds"), "float64"),
    **dict.fromkeys(("created", "started", "completed"), _MOMENT),
}
COLUMNS = {name: _KINDS.get(name, "object") for name in FIELDS}
"""Names and types. ``state`` is a text; ``value`` of a duplicate is its original's; ``name`` that of a catalog row that
all sites share, else ""; ``parents`` a tuple of numbers; ``groups`` how many groups of sites have their own activation,
or 1; ``created`` is one moment for each logical batch. With several objectives ``value_1``,
``value_2``, ... follow, ``value`` being the first."""

_OPEN = [state.value for state in TrialState if state.is_open]
_REPEATED = ("state", "operation", "name", "reason")


def make_columns(trials: Sequence[TrialRecord], objectives: int = 1) -> pd.DataFrame:
    """One row for each trial, with :data:`COLUMNS`.

    Args:
        trials: in order of their numbers.
        objectives: how many the study has.
    """
    candidates = [trial.candidate for trial in trials]
    names = [{group: item.name for group, item in one.activations.items()} for one in candidates]
    cells = derive_cells(names, [trial.values[1:] for trial in trials], objectives)
    cells["state"] = [trial.state.value for trial in trials]
    for name in ("label", "formula", "operation", "parents"):
        cells[name] = [getattr(candidate, name) for candidate in candidates]
    for name in COLUMNS.keys() - cells.keys():
        cells[name] = [getattr(trial, name) for trial in trials]
    return columns_frame(cells)


def columns_frame(cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Columns as the storage reads them, in order of number, as a table with :data:`COLUMNS`."""
    return _resolve_duplicates(_make_frame(cells))


def _make_frame(cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    import pandas as pd  # loads slowly: not for the command line

    same: dict[str, str] = {}
    columns = {}
    more = [name for name in cells if name not in COLUMNS]
    for name, kind in {**COLUMNS, **dict.fromkeys(more, "float64")}.items():
        given = cells[name]
        if name in _REPEATED:  # one object for equal texts: of very many trials they take the most
            given = [same.setdefault(text, text) for text in given]
        if kind == _MOMENT:
            columns[name] = pd.Series(
                pd.to_datetime(list(given), utc=True, format="ISO8601", errors="coerce")
            ).astype(_MOMENT)
        else:
            columns[name] = pd.Series(list(given), dtype=kind)
    operation, formula = columns["operation"], columns["formula"]
    # the model unchanged has no formula: earlier versions called rows of the catalog so as well
    columns["operation"] = operation.mask((operation == BASELINE) & (formula != ""), CATALOG_ROW)
    return pd.DataFrame(columns)


def _resolve_duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each duplicate the value, spread and reason of the trial that it repeats."""
    import numpy as np
    import pandas as pd

    repeated = np.flatnonzero(frame["duplicate_of"].notna().to_numpy())
    if not len(repeated):
        return frame
    originals = frame["duplicate_of"].iloc[repeated].to_numpy(dtype=np.int64)
    numbers = frame["number"].to_numpy()
    rows = np.searchsorted(numbers, originals).clip(0, len(numbers) - 1)
    is_there = numbers[rows] == originals
    repeated, rows = repeated[is_there], rows[is_there]
    for name in ["value", "spread", *(name for name in frame if str(name).startswith("value_"))]:
        cells = frame[name].to_numpy(copy=True)
        cells[repeated] = cells[rows]
        frame[name] = cells
    states, reasons = frame["state"].to_numpy(), frame["reason"].to_numpy(copy=True)
    for duplicate, row in zip(repeated, rows, strict=True):
        reasons[duplicate] = explain_duplicate(numbers[row], states[row])
    frame["reason"] = pd.Series(reasons, dtype="object")
    return frame


def explain_duplicate(number: int, state: str) -> str:
    """The reason of a duplicate: what it repeats, and what became of that."""
    return f"same as trial {number} ({state})"


def count_objectives(frame: pd.DataFrame) -> int:
    """How many objectives a table has values of."""
    return 1 + sum(str(name).startswith("value_") for name in frame)


def open_numbers(frame: pd.DataFrame) -> list[int]:
    """Numbers of the trials that still have to be trained: their rows will change."""
    return [int(number) for number in frame["number"][frame["state"].isin(_OPEN)]]


def merge_columns(before: pd.DataFrame, cells: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A table with some rows new, or in the place of those of the same numbers; the same one if nothing changes.

    Args:
        before: as :func:`columns_frame` gives it; it is not changed.
        cells: of the rows, in order of number.
    """
    import pandas as pd

    if not cells["number"]:
        return before
    rows = _make_frame(cells).set_index("number", drop=False)
    old = before[before["number"].isin(rows.index)].set_index("number", drop=False)
    new = rows.loc[old.index]
    # before it ends, an open trial changes in nothing else; an enqueued one has no fingerprint until it is screened
    same = (
        (old["state"] == new["state"])
        & (old["started"].isna() == new["started"].isna())
        & (old["fingerprint"] == new["fingerprint"])
    )
    rows = rows.drop(index=old.index[same])
    if rows.empty:
        return before
    kept = before[~before["number"].isin(rows.index)]
    merged = pd.concat([kept, rows], ignore_index=True)
    return _resolve_duplicates(merged.sort_values("number", ignore_index=True))


def has_counts(frame: pd.DataFrame, total: Mapping[str, int]) -> bool:
    """Whether a table has as many trials in each state as the study has."""
    counts = {str(state): int(count) for state, count in frame["state"].value_counts().items()}
    return counts == {state: count for state, count in total.items() if count}


def leaders(frame: pd.DataFrame, direction: str | None, most: int) -> pd.DataFrame:
    """The best COMPLETE trials, best value first; of equal values the earlier trial first.

    Args:
        frame: as :data:`COLUMNS`.
        direction: "minimize", or anything else for the largest value.
        most: how many.
    """
    return frame.iloc[_best_rows(frame, direction, most)]


def sample(
    frame: pd.DataFrame, direction: str | None, most: int, best_share: float = 0.25
) -> pd.DataFrame:
    """At most so many of the trials, in order: the best of them, and others evenly spread over the study.

    With a ``best_share`` above 0 it is biased: shares and means of all trials are not those of the sample.

    Args:
        frame: as :data:`COLUMNS`.
        direction: "minimize", or anything else for the largest value.
        most: how many to keep.
        best_share: share of those that are the best ones.
    """
    import numpy as np

    if len(frame) <= most:
        return frame
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[_best_rows(frame, direction, round(most * best_share))] = True
    others = np.flatnonzero(~chosen)
    steps = np.linspace(0, len(others) - 1, most - int(chosen.sum())).round().astype(int)
    chosen[others[steps]] = True
    return frame[chosen]


def _best_rows(frame: pd.DataFrame, direction: str | None, most: int) -> list[int]:
    """Positions of the rows with the best finite values, best first."""
    import numpy as np

    costs = frame["value"].to_numpy() * (1.0 if direction == "minimize" else -1.0)
    costs = np.where((frame["state"] == "COMPLETE") & np.isfinite(costs), costs, np.inf)
    best = np.argsort(costs, kind="stable")[:most]  # stable: of equal ones the earlier first
    return [int(row) for row in best[np.isfinite(costs[best])]]


def same_values(frame: pd.DataFrame) -> pd.Series[int]:
    """For trials whose function has the values of an earlier one but another gradient or parameters: which one.

    Such an alias is shown and never a reason to skip: ReLU with another derivative at 0 trains differently.
    """
    return _first_alike(frame, "alias", "fingerprint")


def mirrors(frame: pd.DataFrame) -> pd.Series[int]:
    """For trials whose function is f(-x), -f(x) or -f(-x) of an earlier one's f: which one.

    Shown as well, and no reason to skip: only between layers that are drawn symmetrically do the two train alike.
    """
    return _first_alike(frame, "mirror", "alias")


def _first_alike(frame: pd.DataFrame, alike: str, different: str) -> pd.Series[int]:
    """Number of the first trial with the same hash, where that differs in another one; else missing."""
    known = frame[frame[alike] != ""]
    first = known.drop_duplicates(alike).set_index(alike)
    original = known[alike].map(first["number"])
    differs = known[alike].map(first[different]) != known[different]
    return original[differs].astype("Int64").reindex(frame.index)
