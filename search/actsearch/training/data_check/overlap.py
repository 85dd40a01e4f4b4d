"""Rows that stand in two data sets: every row is hashed, and every hit compared byte by byte."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actsearch.training.data_check.full_table import is_full_table
from actsearch.training.data_check.rows import Origin, Rows, as_array

__all__ = ["Overlap", "Table", "compare_positions", "compare", "build_tables"]

Hashes = npt.NDArray[np.uint64]  # shape (rows,)
Matches = npt.NDArray[np.int64]  # shape (rows,): the row of the other data set, or -1

_ODD = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's increment; odd, so that no bit is lost
_HALF = np.uint64(32)  # bits: the upper half of a word is mixed into the lower one
_COMPARED = 1 << 24  # bytes of rows that are compared at once
_WIDE = 64  # numbers of a row from which on a part of them is hashed first
_SAMPLED = 16  # of these, at least
_TABLE = 1 << 17  # different inputs beyond which no table of all combinations is looked for


@dataclass(frozen=True)
class Overlap:
    """What two data sets share.

    Attributes:
        name: one of them.
        other: the other one.
        rows: rows of the first.
        shared: how many of these have inputs that also stand in the other.
        relabelled: how many of the shared have other targets there.
        first: a shared row of the first, and its row in the other.
        same: whether all of the first stand in the other, inputs and targets, and not by chance: see :func:`compare`.
        is_definite: whether shared rows are copies, and not to be expected of rows drawn anew.
        matched: rows of the first that stand in the other with their targets, shape (rows,).
        expected: why shared rows are to be expected, for a message; empty if they are not.
        is_of_table: whether the other holds every combination of its inputs' values, so that no row can be new.
    """

    name: str
    other: str
    rows: int
    shared: int
    relabelled: int
    first: tuple[int, int]
    same: bool
    matched: npt.NDArray[np.bool_]
    is_definite: bool = True
    expected: str = ""
    is_of_table: bool = False

    @property
    def counts(self) -> str:
        """The counts, for a message."""
        a, b = self.first
        what = "rows"
        if self.relabelled:
            what = f"inputs, {self.relabelled} of them with other targets"
        return (
            f"{self.name} and {self.other} share {self.shared} of {self.rows} {what} "
            f"(first: {self.name} row {a} = {self.other} row {b})"
        )


class Table:
    """The rows of one data set, hashed.

    Attributes:
        name: train, valid or test.
        rows: what is hashed.
        inputs: hash of each row's inputs.
        with_target: hash of each row, its target included.
    """

    def __init__(self, name: str, rows: Rows, dtypes: Sequence[torch.dtype]) -> None:
        """Args:
        name: of the data set.
        rows: its rows.
        dtypes: of the inputs and of the target, the same for all that are compared.
        """
        self.name = name
        self.rows = rows
        self._parts = [part for _, part in rows.parts]
        self._dtypes = dtypes
        self.inputs = np.empty(len(rows), np.uint64)
        self.with_target = np.empty(len(rows), np.uint64)
        count = len(rows.inputs)
        for start, chunk in rows.chunks(self._parts):
            which = slice(start, start + len(chunk[0]))
            chunk[:count] = [_sample_columns(part) for part in chunk[:count]]
            data = [_as_bytes(part, dtype) for part, dtype in zip(chunk, dtypes, strict=True)]
            self.inputs[which] = _hash_rows(data[:count], 0)
            self.with_target[which] = self.inputs[which] * _ODD + _hash_rows(data[count:], 1)

    @cached_property
    def is_sampled(self) -> bool:
        """Whether a part of each row was hashed."""
        return any(part[:1].numel() >= _WIDE for part in self.rows.inputs.values())

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        parts = zip(self._parts, self._dtypes, strict=True)
        return sum(part[:1].numel() * dtype.itemsize for part, dtype in parts)

    def steps(self, rows: Matches) -> Iterator[Matches]:
        """Some rows, a few at a time, so that their bytes take little memory."""
        step = max(1, _COMPARED // max(1, self.row_bytes))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    def rehash_fully(self, rows: Matches) -> None:
        """Hash all numbers of some rows."""
        for which in self.steps(rows):
            new = _hash_rows([self.bytes_at(which, targets=False)], 2)
            self.with_target[which] += (new - self.inputs[which]) * _ODD
            self.inputs[which] = new
        for name in ("order", "counts"):  # computed from the hashes
            vars(self).pop(name, None)

    def first_rows(self) -> Tensor | None:
        """The different inputs, a row each, shape (distinct, numbers); None for inputs that are wide or complex."""
        parts = list(self.rows.inputs.values())
        if self.is_sampled or any(part.is_complex() for part in parts):
            return None
        first = self.order[np.cumsum(self.counts) - self.counts]
        listed = [self.rows.take(part, first).reshape(len(first), -1).double() for part in parts]
        return torch.cat(listed, 1)

    @cached_property
    def is_balanced(self) -> bool:
        """Whether every different input stands there equally often."""
        return bool(self.counts.min() == self.counts.max())

    @cached_property
    def is_table(self) -> bool:
        """Whether every combination of its inputs' values stands there."""
        rows = self.first_rows() if self.distinct <= _TABLE else None
        return rows is not None and is_full_table(rows)

    def bytes_at(self, which: npt.NDArray[np.int64], *, targets: bool) -> npt.NDArray[np.uint8]:
        """Some rows as bytes."""
        parts = self._parts if targets else self._parts[: len(self.rows.inputs)]
        data = [
            _as_bytes(self.rows.take(part, which), dtype)
            for part, dtype in zip(parts, self._dtypes, strict=False)
        ]
        return np.concatenate(data, axis=1)

    @cached_property
    def order(self) -> Matches:
        """The rows sorted by the hash of their inputs, equal ones as they come."""
        return np.argsort(self.inputs, kind="stable")

    @cached_property
    def counts(self) -> Matches:
        """How often each different input stands there, sorted by hash, shape (distinct,)."""
        ordered = self.inputs[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        return np.diff(starts, append=len(ordered))

    @property
    def distinct(self) -> int:
        """How many different inputs there are."""
        return len(self.counts)

    @property
    def repeats(self) -> bool:
        """Whether the inputs come from a small set: on average each stands there twice or more."""
        return 2 * self.distinct <= len(self.inputs)


def build_tables(rows: Mapping[str, Rows]) -> dict[str, Table]:
    """Data sets whose rows have one form, hashed; of another form than the first, a data set shares nothing."""
    first = next(iter(rows.values()))
    alike = {name: item for name, item in rows.items() if _row_form(item) == _row_form(first)}
    columns = zip(*(item.parts for item in alike.values()), strict=True)
    dtypes = [_common_dtype({part.dtype for _, part in column}) for column in columns]
    tables = {name: Table(name, item, dtypes) for name, item in alike.items()}
    if any(table.is_sampled for table in tables.values()):
        _rehash_candidates(list(tables.values()))
    return tables


def _rehash_candidates(tables: Sequence[Table]) -> None:
    """Of rows whose sampled numbers are equal, hash all numbers; others differ already."""
    alike = [
        [_find_repeated(one)] + [_find_in(one, other) for other in tables if other is not one]
        for one in tables
    ]
    for table, masks in zip(tables, alike, strict=True):
        if len(rows := np.flatnonzero(np.logical_or.reduce(masks))):
            table.rehash_fully(rows)


def _find_repeated(table: Table) -> npt.NDArray[np.bool_]:
    """Rows whose hash stands more than once in a data set, shape (rows,)."""
    repeated = np.empty(len(table.inputs), np.bool_)
    repeated[table.order] = np.repeat(table.counts > 1, table.counts)
    return repeated


def _find_in(one: Table, other: Table) -> npt.NDArray[np.bool_]:
    """Rows whose hash stands in another data set as well, shape (rows,)."""
    a, b = one.inputs[one.order], other.inputs[other.order]
    contained = np.empty(len(a), np.bool_)
    # quicker than np.isin, as both are sorted
    contained[one.order] = b[np.minimum(np.searchsorted(b, a), len(b) - 1)] == a
    return contained


def _row_form(rows: Rows) -> tuple[object, ...]:
    return tuple(part[:1].numel() for _, part in rows.parts), rows.target is None


def _common_dtype(dtypes: set[torch.dtype]) -> torch.dtype:
    return dtypes.pop() if len(dtypes) == 1 else torch.float64


def _sample_columns(part: Tensor) -> Tensor:
    """Evenly spread numbers of each row."""
    width = part[:1].numel()
    return part if width < _WIDE else part.reshape(len(part), -1)[:, :: width // _SAMPLED]


def _as_bytes(part: Tensor, dtype: torch.dtype) -> npt.NDArray[np.uint8]:
    """Rows as bytes, shape (rows, bytes)."""
    flat = part.to(dtype).reshape(len(part), -1).contiguous()
    if dtype is torch.bool:
        flat = flat.to(torch.uint8)
    rows: npt.NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return rows


def _hash_rows(parts: Sequence[npt.NDArray[np.uint8]], seed: int) -> Hashes:
    """A 64-bit hash of each row: its words are mixed, and summed with random odd factors.

    Mixed first, since rows of +-1 differ in the highest bits alone, and these would cancel in the sum.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    total: Hashes | None = None
    for part in parts:
        if missing := -part.shape[1] % 8:
            part = np.pad(part, ((0, 0), (0, missing)))
        words = np.ascontiguousarray(part).view(np.uint64) * _ODD
        words ^= words >> _HALF
        factors = generator.integers(0, 2**64, words.shape[1], dtype=np.uint64) | np.uint64(1)
        sums = words @ factors
        total = sums if total is None else total + sums
    return np.zeros((), np.uint64) if total is None else total


def compare(one: Table, other: Table) -> Overlap | None:
    """Rows of one data set that stand in the other; None if there are none.

    All of one being in the other counts as *the same* when inputs and targets agree, and it is not to be expected:
    where the inputs come from a small set (truth tables, categories, token ids), rows drawn anew repeat the old ones,
    and the test data may be sound. So it is the same where that cannot be, see :func:`_may_be_drawn_anew`, or where the
    rows are equal one by one, in order. Of a table of all combinations no row can be new, in whatever order it stands.
    """
    inputs = _match_rows(one, other, one.order, other.order, targets=False)
    shared = inputs >= 0
    if not shared.any():
        return None
    rows = np.flatnonzero(shared)
    candidates = np.flatnonzero(np.isin(other.inputs, one.inputs[rows]))
    order = candidates[np.argsort(other.with_target[candidates], kind="stable")]
    exact = _match_rows(one, other, rows, order, targets=True)
    matched = exact >= 0
    first = int(np.flatnonzero(shared)[0])
    in_order = one.distinct > 1 and np.array_equal(one.with_target, other.with_target)
    of_table = other.is_table and one.is_balanced
    expected = of_table or _may_be_drawn_anew(one, other)
    return Overlap(
        one.name,
        other.name,
        len(shared),
        int(shared.sum()),
        int((shared & ~matched).sum()),
        (first, int(exact[first] if matched[first] else inputs[first])),
        bool(matched.all()) and (in_order and not of_table or not expected),
        matched,
        not expected,
        _explain_expected(other, of_table=of_table) if expected else "",
        of_table,
    )


def _explain_expected(other: Table, *, of_table: bool) -> str:
    counts = f"{other.distinct} different inputs in {len(other.inputs)} rows"
    if of_table:
        return f"{other.name} holds {counts}, about all combinations of their values, so hardly any row can be new"
    return f"{other.name} holds {counts}, so some shared rows are to be expected"


def _may_be_drawn_anew(one: Table, other: Table) -> bool:
    """Whether one may be drawn from the small set of inputs that the other shows.

    The other repeats its inputs, twice each on average, and one repeats its own as often as n draws from d values do,
    n - d (1 - (1 - 1/d)^n) times, less three standard deviations: rows of a training set that was oversampled do not.
    """
    d, n = other.distinct, len(one.inputs)
    repeated = n - d * (1 - (1 - 1 / d) ** n)
    return other.repeats and n - one.distinct >= repeated - 3 * math.sqrt(max(0.0, repeated))


def _match_rows(
    one: Table, other: Table, rows: Matches, order: Matches, *, targets: bool
) -> Matches:
    """For each row the first equal one of the other data set, or -1.

    Args:
        one: whose rows.
        other: where they are looked up.
        rows: which of them.
        order: rows of the other, sorted by hash.
        targets: whether the targets count.
    """
    a, b = (one.with_target, other.with_target) if targets else (one.inputs, other.inputs)
    a, b = a[rows], b[order]
    position = np.minimum(np.searchsorted(b, a), len(b) - 1)  # the first of equal ones
    matches: Matches = np.full(len(one.inputs), -1, np.int64)
    hits = np.flatnonzero(b[position] == a)
    for part in one.steps(hits):
        own, theirs = rows[part], order[position[part]]
        equal = one.bytes_at(own, targets=targets) == other.bytes_at(theirs, targets=targets)
        exact = equal.all(axis=1)
        matches[own[exact]] = theirs[exact]
    return matches


def compare_positions(name: str, one: Origin, other_name: str, other: Origin) -> Overlap | None:
    """The same by position, for two parts of one data set object; None if they are not, or share nothing."""
    if one.base is not other.base:
        return None
    if _is_one_range(one.positions, other.positions):  # of any length
        matched = np.broadcast_to(np.True_, len(one.positions))
        return Overlap(name, other_name, len(matched), len(matched), 0, (0, 0), True, matched)
    if _are_apart(one.positions, other.positions):
        return None
    own, theirs = as_array(one.positions), as_array(other.positions)
    known, first = np.unique(theirs, return_index=True)
    position = np.minimum(np.searchsorted(known, own), len(known) - 1)
    matched = known[position] == own
    if not matched.any():
        return None
    row = int(np.argmax(matched))
    count = int(matched.sum())
    place = (row, int(first[position[row]]))
    is_whole = bool(matched.all())
    return Overlap(name, other_name, len(matched), count, 0, place, is_whole, matched)


def _is_one_range(one: Matches | range, other: Matches | range) -> bool:
    return isinstance(one, range) and isinstance(other, range) and one == other


def _are_apart(one: Matches | range, other: Matches | range) -> bool:
    """Whether one ends before the other starts; seen without listing them."""
    if not (isinstance(one, range) and isinstance(other, range)):
        return False
    a, b = sorted([one[0], one[-1]]), sorted([other[0], other[-1]])
    return a[1] < b[0] or b[1] < a[0]
