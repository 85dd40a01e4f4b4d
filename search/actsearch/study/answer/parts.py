"""One data set divided for an answer: to train on, for the search to look at, and for the verdict alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.checks import is_integer
from actsearch.errors import StudyError
from actsearch.seeds import derive
from actsearch.study.splits import is_by_time, list_labels, list_splits
from actsearch.task.data import as_source
from actsearch.task.rows import check_rows, take_rows
from actsearch.training.row_groups import number_distinct

__all__ = ["Parts", "make_parts"]

Rows = npt.NDArray[np.int64]

_FOR_VERDICT = 0.5  # of all rows
_FOR_VALID = 0.25  # of the others


@dataclass(frozen=True)
class Parts:
    """A data set in three.

    Attributes:
        train: to train on.
        valid: for the search to look at.
        test: for the verdict alone, which divides it further.
        groups: of the rows of test; None where each row stands for itself.
    """

    train: Any
    valid: Any
    test: Any
    groups: Any

    def describe(self) -> str:
        """How many rows each has."""
        train, valid, test = (
            check_rows(source, "train") for source in (self.train, self.valid, self.test)
        )
        return (
            f"of {train + valid + test} rows, {train} are to train on, {valid} for the search to look at, and {test}, "
            "which it never sees, for the verdict"
        )


def make_parts(data: Any, splits: Any, groups: Any) -> Parts:
    """Divide one data set, the same way each time: half of its rows are kept from the search.

    By chance, or, where the splits are by time, in their order; rows of one group stay together.

    Args:
        data: one that a Task takes.
        splits: as for :meth:`actsearch.Study.confirm`, but no list.
        groups: a label for each row, or None.

    Raises:
        TaskError: rows cannot be taken one by one.
        StudyError: splits or groups do not fit.
    """
    source = as_source(data, "train")
    rows = check_rows(source, "train")
    labels = None if groups is None else list_labels(groups)
    if labels is not None and len(labels) != rows:
        raise StudyError(f"groups must be {rows} labels, one for each row of train")
    if not is_integer(splits) and not hasattr(splits, "split"):
        raise StudyError(
            "a list of splits names rows of the test data: give test= and valid= as well, or a splitter as "
            "KFold(5, shuffle=True, random_state=0)"
        )
    if labels is not None:
        number_of = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        units = np.array([number_of[label] for label in labels], dtype=np.int64)
    else:
        units = _units_of(source, rows)
    parts = list_splits(splits, rows, source, None if groups is None else units)
    by_time = is_by_time(parts)
    if by_time and groups is not None:
        raise StudyError("splits by time leave groups out of account: give one of the two")
    if by_time:
        units = np.arange(rows)
    order = np.arange(units.max() + 1)
    if not by_time:
        generator = np.random.RandomState(derive("parts", rows) % 2**32)  # noqa: NPY002
        generator.shuffle(order)
    sizes = np.cumsum(np.bincount(units)[order])
    of_search = round(rows * (1 - _FOR_VERDICT))
    bounds = (
        np.searchsorted(sizes, [round(of_search * (1 - _FOR_VALID)), of_search], side="left") + 1
    )
    chosen = [
        np.flatnonzero(np.isin(units, part)) for part in np.split(order, bounds) if len(part)
    ]
    if len(chosen) < 3:
        raise StudyError(
            f"{len(order)} groups, the largest with {np.bincount(units).max()} of {rows} rows, cannot be divided in "
            "three: give more data"
        )
    train, valid, test = (take_rows(source, part.tolist()) for part in chosen)
    own = None if labels is None else [labels[row] for row in chosen[2]]
    return Parts(train, valid, test, own)


def _units_of(source: Any, rows: int) -> Rows:
    """What stays together where no groups are given: copies of a row."""
    numbers = number_distinct(source, rows)
    return np.arange(rows) if numbers is None else numbers.numpy().astype(np.int64)
