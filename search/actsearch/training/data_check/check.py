"""What is said of the data before the first trial: a refusal, warnings, or nothing."""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from torch import nn
from torch.utils.data import default_collate, default_convert

from actsearch.errors import ActsearchWarning, TaskError
from actsearch.task import Task
from actsearch.training.data_check.finding import Finding
from actsearch.training.data_check.labels import label_findings
from actsearch.training.data_check.overlap import (
    Overlap,
    Table,
    build_tables,
    compare,
    compare_positions,
)
from actsearch.training.data_check.probe import ModelProbe, attempt
from actsearch.training.data_check.rows import Origin, Rows, find_origin, is_random, read_rows
from actsearch.training.data_check.values import repeated_inputs, value_findings

__all__ = ["DataReport", "check_data"]

_log = logging.getLogger("actsearch")

_PACKAGE = str(Path(__file__).parents[2])
_PAIRS = (("test", "train"), ("test", "valid"), ("valid", "train"))

_DECIDED = {"test": "the verdict", "valid": "the search"}

_MUCH = 1 << 28  # bytes; to hash them takes about a second


@dataclasses.dataclass(frozen=True)
class DataReport:
    """What was found in a task's data, and said.

    Attributes:
        of_test: what its test data share with train and valid.
        said: the warnings that were given.
        withheld: whether items of the test data were left unread.
    """

    of_test: tuple[Overlap, ...]
    said: frozenset[str]
    withheld: bool


def check_data(
    task: Task,
    build: Callable[[], nn.Module],
    *,
    for_test: bool = False,
    earlier: DataReport | None = None,
) -> DataReport:
    """Look through a task's data once: rows that two of its sets share, numbers that are not finite, useless labels.

    Test data are compared and counted, never scored. Before a search no item of a test Dataset is asked for: its
    tensors are compared, or its positions where train or valid are parts of the same data set. No loader is started:
    tensors are read once, of other data sets at most 2,048 items each, for at most 2 s; streams, random items and
    loaders with samplers of their own are left out. Whatever goes wrong is logged at DEBUG, and that part is skipped.

    Args:
        task: whose data.
        build: gives its model unchanged, which is copied; called where rows have to be tried on it.
        for_test: the test data are about to be scored, so that items of theirs may be read.
        earlier: what was found before; the data are looked through again only where items of the test data may be read
            now and were not then, and no warning is given twice.

    Raises:
        TaskError: such data cannot give a sound result; with every reason, a line each.
    """
    if earlier is not None and not (earlier.withheld and for_test):
        return earlier
    data = _Data(task, for_test)
    findings = [*data.overlap_findings(), *_other_findings(task, build, data)]
    if refused := [item.text for item in findings if item.refused]:
        raise TaskError("\n".join(refused))
    said = frozenset() if earlier is None else earlier.said
    for text in (item.text for item in findings if item.text not in said):
        warnings.warn(text, ActsearchWarning, stacklevel=_level())
    of_test = tuple(item for item in data.overlaps if item.name == "test")
    said |= {item.text for item in findings}
    return DataReport(of_test, said, data.withheld)


def _level() -> int:
    """Stack level of the first frame outside of this package: the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def _announce(rows: Iterable[Rows]) -> None:
    """Say that the look at much data takes a while."""
    size = sum(
        part[:1].numel() * part.element_size() * len(item)
        for item in rows
        for _, part in item.parts
    )
    if size > _MUCH:
        _log.info("looking through %.1f GB of data, once for this task", size / 1e9)


class _Data:
    """The data sets of a task, as far as they can be read.

    Attributes:
        origins: which rows each of them stands for.
        rows: the rows that could be read.
        tables: of these, hashed.
        overlaps: what they share.
        withheld: whether items of the test data were left unread.
    """

    def __init__(self, task: Task, for_test: bool) -> None:
        self.origins: dict[str, Origin] = {}
        self.rows: dict[str, Rows] = {}
        self.withheld = False
        for name in ("train", "valid", "test"):
            source = getattr(task, name)
            if source is not None:
                self._find(name, source)
        for name, origin in self.origins.items():
            if name == "test" and not for_test and not origin.is_in_memory:
                self.withheld = True
            else:
                self._read(name, origin, has_target=task.step is None)
        self.tables: Mapping[str, Table] = {}
        if self.rows:
            _announce(self.rows.values())
            self.tables = attempt("which rows are equal", lambda: build_tables(self.rows), {})
        pairs = [
            attempt(f"{a} and {b}", functools.partial(self._overlap, a, b), None)
            for a, b in _PAIRS
        ]
        self.overlaps: list[Overlap] = [item for item in pairs if item is not None]

    def _find(self, name: str, source: object) -> None:
        origin = attempt(f"{name} data", lambda: find_origin(source), None)
        if origin is not None and len(origin.positions):
            self.origins[name] = origin

    def _read(self, name: str, origin: Origin, *, has_target: bool) -> None:
        rows = attempt(
            f"{name} data",
            lambda: read_rows(origin, has_target=has_target and _is_plain(origin)),
            None,
        )
        if rows is not None:
            self.rows[name] = rows

    def _overlap(self, name: str, other: str) -> Overlap | None:
        """By position where both are parts of one data set, and by what the rows hold."""
        if not {name, other} <= set(self.origins):
            return None
        by_position = None
        if not any(self.origins[item].holds_batches for item in (name, other)):
            by_position = compare_positions(name, self.origins[name], other, self.origins[other])
        if by_position is not None and is_random(self.origins[other]):
            by_position = dataclasses.replace(by_position, same=False, is_definite=False)
        if not {name, other} <= set(self.tables):
            return by_position
        by_content = compare(self.tables[name], self.tables[other])
        if by_content is None or by_position is None:
            return by_content or by_position
        return dataclasses.replace(
            by_content,
            same=by_content.same or (by_position.same and not by_content.is_of_table),
            matched=by_content.matched | by_position.matched,
        )

    def overlap_findings(self) -> Iterator[Finding]:
        """Test data that the search sees are refused; other shared rows are a warning."""
        of_test = [item for item in self.overlaps if item.name == "test"]
        if of_test and _is_known(of_test):
            counts = "; ".join(item.counts for item in of_test)
            yield Finding(
                f"{counts}: scores on rows that the search has seen say nothing about new rows; "
                "give test= rows of their own, or leave test= out (a search needs none; confirm() does)",
                refused=True,
            )
            return
        for item in self.overlaps:
            what = f"{_DECIDED[item.name]} may favour activations that memorise them"
            if item.name == "valid" and item.same:
                what = "every trial is scored on what it was trained on"
            yield Finding(f"{item.counts}{_format_expected(item)}: {what}{_advice(item)}")


def _is_plain(origin: Origin) -> bool:
    """Whether a batch is put together by nothing of the user's."""
    return origin.collate in (default_collate, default_convert)


def _is_known(of_test: list[Overlap]) -> bool:
    """Whether every test row stands in train or valid, and not because inputs repeat each other anyway."""
    if any(item.same for item in of_test):
        return True
    everywhere = (
        of_test[0].matched if len(of_test) == 1 else of_test[0].matched | of_test[1].matched
    )
    return bool(everywhere.all()) and all(item.is_definite for item in of_test)


def _format_expected(item: Overlap) -> str:
    return f" ({item.expected})" if item.expected else ""


def _advice(item: Overlap) -> str:
    return "" if item.is_of_table else "; remove them from one of the two"


def _other_findings(task: Task, build: Callable[[], nn.Module], data: _Data) -> Iterator[Finding]:
    probe = ModelProbe(task, build)
    for name, table in data.tables.items():
        yield from repeated_inputs(name, table.distinct, len(table.inputs))
    for name, rows in data.rows.items():
        is_probed = name == "train" or task.evaluate is None
        check = functools.partial(value_findings, name, rows, probe, is_probed=is_probed)
        yield from attempt(f"numbers of {name}", check, [])
    if task.step is None:
        yield from attempt("labels", lambda: list(label_findings(task, data.rows, probe)), [])
