"""How a verdict divides the test rows: some are trained on, the others tested, in turn."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.checks import is_integer
from actsearch.errors import StudyError
from actsearch.task import Task
from actsearch.task.rows import check_rows, targets_of

__all__ = ["Splits", "divide", "is_by_time", "list_labels", "list_splits"]

Rows = npt.NDArray[np.int64]

_FEWEST_ROWS = 30
_FEWEST_GROUPS = 5
_SHOWN = 60


@dataclass(frozen=True, eq=False)
class Splits:
    """Test rows divided in several ways.

    Attributes:
        parts: of each split, the test rows that are trained on besides the training data, and those that are tested.
        rows: test rows in all.
        groups: the group of each test row, from 0 on; None where each row stands for itself.
    """

    parts: tuple[tuple[Rows, Rows], ...]
    rows: int
    groups: Rows | None = None

    @property
    def trained(self) -> float:
        """Test rows that are trained on, on average."""
        return float(np.mean([len(train) for train, _ in self.parts]))

    @property
    def tested(self) -> int:
        """Test rows that are tested, over all splits."""
        return sum(len(test) for _, test in self.parts)

    def key(self) -> str:
        """A hash of it."""
        digest = hashlib.sha256()
        groups = [] if self.groups is None else [self.groups]
        for rows in (*(rows for part in self.parts for rows in part), *groups):
            digest.update(f"{len(rows)}:".encode() + rows.astype("<i8").tobytes())
        return digest.hexdigest()


def divide(task: Task, splits: Any, groups: Any) -> Splits:
    """Read what a user gave as ``splits=`` and ``groups=``; without splits all rows are tested every time.

    Args:
        task: with test data.
        splits: a splitter of scikit-learn, or of its kind; a list of (rows to train on, rows to test), which are
            positions in the test data; how many for a shuffled k-fold; or None.
        groups: a label for each test row, or for all rows of train, valid and test in this order; or None.

    Raises:
        StudyError: they do not fit the data, or say nothing sound.
        TaskError: rows of the data cannot be taken one by one.
    """
    rows = check_rows(task.test, "test")
    names, labels = (None, None) if groups is None else _read_groups(task, groups, rows)
    if splits is None:
        parts = [(np.arange(0), np.arange(rows))]
    else:
        check_rows(task.train, "train")
        parts = list_splits(splits, rows, task.test, labels)
    tested = len(np.unique(np.concatenate([test for _, test in parts])))
    if tested < _FEWEST_ROWS:
        raise StudyError(
            f"the splits test {tested} rows: a verdict on fewer than {_FEWEST_ROWS} says nothing of others like them"
        )
    if labels is not None and names is not None:
        for number, (train, test) in enumerate(parts, 1):
            _check_groups(names, labels, train, test, number)
    return Splits(tuple(parts), rows, labels)


def list_splits(
    splits: Any, rows: int, source: Any, groups: Rows | None
) -> list[tuple[Rows, Rows]]:
    """The splits of so many rows, as positions.

    Args:
        splits: see :func:`divide`.
        rows: how many.
        source: the data set, for splitters that look at targets.
        groups: of each, likewise.

    Raises:
        StudyError: they are none, or cannot divide these rows.
    """
    if is_integer(splits):
        splits = _k_fold(splits, rows, grouped=groups is not None)
    if callable(getattr(splits, "split", None)) and not isinstance(splits, str):
        targets = targets_of(source)
        found, again = (_ask(splits, rows, targets, groups) for _ in range(2))
        if [[list(part) for part in pair] for pair in found] != [
            [list(part) for part in pair] for pair in again
        ]:
            raise StudyError(
                f"splits={_show(splits)} gives other splits each time it is asked, so that no verdict could be gone on "
                "with or made again: set its random_state"
            )
        pairs: Any = found
    else:
        pairs = splits
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise StudyError(
            "splits must be a splitter as KFold(5, shuffle=True, random_state=0), a list of (rows to train on, rows "
            f"to test), or a number of them, not {_show(splits)}"
        )
    read = [_read_pair(pair, number, rows) for number, pair in enumerate(pairs, 1)]
    if not read:
        raise StudyError(
            "splits= is empty: give at least one pair of (rows to train on, rows to test)"
        )
    return read


def is_by_time(parts: Sequence[tuple[Rows, Rows]]) -> bool:
    """Whether what is tested always comes later than what is trained on."""
    return all(len(train) > 0 and train.max() < test.min() for train, test in parts)


def _k_fold(count: int, rows: int, *, grouped: bool) -> Any:
    try:
        from sklearn.model_selection import GroupKFold, KFold
    except ImportError:
        raise StudyError(
            f"splits={count} needs scikit-learn: pip install scikit-learn, or give a list of (rows to train on, rows "
            "to test)"
        ) from None
    if not 2 <= count <= rows:
        raise StudyError(f"splits={count} must be from 2 to the number of test rows, {rows}")
    return GroupKFold(count) if grouped else KFold(count, shuffle=True, random_state=0)


def _ask(
    splits: Any, rows: int, targets: Sequence[Any] | None, groups: Rows | None
) -> list[tuple[Any, Any]]:
    inputs = np.zeros((rows, 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of a splitter that leaves groups out of account; that is checked here
            return [(train, test) for train, test in splits.split(inputs, targets, groups)]
    except Exception as error:  # the user's object: anything
        hint = "" if targets is not None else "; the targets of the rows are no single numbers"
        raise StudyError(
            f"splits={_show(splits)} cannot divide {rows} rows: {type(error).__name__}: {error}{hint}"
        ) from None


def _read_pair(pair: Any, number: int, rows: int) -> tuple[Rows, Rows]:
    try:
        train, test = (_read_rows(part, rows) for part in pair)
    except (TypeError, ValueError) as error:
        raise StudyError(
            f"split {number} must be (rows to train on, rows to test), positions from 0 to {rows - 1} in the test "
            f"data: {error}"
        ) from None
    if not len(test):
        raise StudyError(f"split {number} tests no row")
    if len(both := np.intersect1d(train, test)):
        raise StudyError(
            f"split {number} trains and tests on the same rows: {len(both)} of them, as row {both[0]}"
        )
    return train, test


def _read_rows(part: Any, rows: int) -> Rows:
    found = np.asarray(part)
    if found.ndim != 1:
        raise ValueError(f"{_show(part)} is no list of rows")
    if found.dtype == bool:
        if len(found) != rows:
            raise ValueError(f"a mask of {len(found)} for {rows} rows")
        found = np.flatnonzero(found)
    if len(found) and not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{_show(part)} are no positions")
    found = found.astype(np.int64)
    if len(found) and not 0 <= found.min() <= found.max() < rows:
        outside = found.max() if found.max() >= rows else found.min()
        raise ValueError(f"row {outside} is not among them")
    if len(np.unique(found)) < len(found):
        raise ValueError("a row is there more than once")
    return found


def _read_groups(task: Task, groups: Any, rows: int) -> tuple[list[Any], Rows]:
    """The groups' names, and a number for each test row's."""
    labels = list_labels(groups)
    names = list(dict.fromkeys(labels))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[label] for label in labels], dtype=np.int64)
    if len(numbers) != rows:
        sizes = [check_rows(task.train, "train"), check_rows(task.valid, "valid"), rows]
        if len(numbers) != sum(sizes):
            raise StudyError(
                f"groups has {len(numbers)} labels: give one for each of the {rows} test rows, or for all {sum(sizes)} "
                "rows of train, valid and test"
            )
        seen, numbers = numbers[:-rows], numbers[-rows:]
        if len(both := np.intersect1d(seen, numbers)):
            raise StudyError(
                f"{len(both)} groups have rows in test and in the data of the search, as {names[both[0]]!s}: what is "
                "tested there has been seen; divide the data by groups"
            )
    sizes_of = np.unique(numbers, return_counts=True)[1]
    # by how much few large ones say, of many small ones beside them (Kish 1965)
    effective = float(sizes_of.sum() ** 2 / (sizes_of**2).sum())
    if effective < _FEWEST_GROUPS:
        as_many = (
            ""
            if effective > len(sizes_of) - 0.05
            else f", of sizes that say as much as {effective:.1f}"
        )
        raise StudyError(
            f"the test rows are of {len(sizes_of)} groups{as_many}: fewer than {_FEWEST_GROUPS} say nothing of others "
            "like them"
        )
    names_here, numbers = np.unique(numbers, return_inverse=True)
    return [names[number] for number in names_here], numbers.astype(np.int64)


def list_labels(groups: Any) -> list[Any]:
    """Labels as a user gave them.

    Raises:
        StudyError: they are no list, or some are missing.
    """
    try:
        labels = np.asarray(groups)
        listed = labels.tolist() if labels.ndim == 1 else None
    except (TypeError, ValueError):
        listed = None
    if listed is None:
        raise StudyError(
            f"groups must be a list of labels, one for each test row, not {_show(groups)}"
        )
    missing = [row for row, label in enumerate(listed) if label is None or label != label]
    if missing:
        raise StudyError(
            f"groups has no label for {len(missing)} rows, as row {missing[0]}: give each one, of its own where its "
            "group is not known"
        )
    return list(listed)


def _check_groups(
    names: Sequence[Any], labels: Rows, train: Rows, test: Rows, number: int
) -> None:
    if len(both := np.intersect1d(labels[train], labels[test])):
        raise StudyError(
            f"split {number} divides {len(both)} groups, as {names[both[0]]!s}: rows of one group are trained on and "
            "tested; give a splitter that keeps them together, as GroupKFold(5)"
        )
    if len(np.unique(labels[test])) < 2:
        raise StudyError(
            f"split {number} tests rows of one group alone, which say nothing of other groups: give fewer splits"
        )


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
