"""A metric without one group of the test rows after the other: what a verdict reads the noise of the rows from.

The delete-a-group jackknife (Kott 2001, *Journal of Official Statistics* 17, 521-526) takes the rows for a sample: how
much a metric moves when a group of them is left out says how much it would move with other rows.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, Subset

from actsearch.records import ROW_GROUPS
from actsearch.seeds import derive
from actsearch.task import Accumulator, Metric, Task
from actsearch.task.generators import global_generators
from actsearch.task.metrics.accumulators import Additive, Collected
from actsearch.task.nested import children, concatenate, map_leaves
from actsearch.training.measures import autocast_for, detach, full_precision

__all__ = [
    "Assigned",
    "LeftOut",
    "RowGroups",
    "assign_rows",
    "count_ordered_rows",
    "given_groups",
    "number_distinct",
    "row_groups_of",
    "set_groups",
]

_FEWEST_ROWS = 2 * ROW_GROUPS

Loss = Callable[[Any, Any], Tensor]
_Stream = tuple[Callable[[], Any], Callable[[Any], Any]]


@dataclass(frozen=True, eq=False)
class Assigned:
    """Which group each test row belongs to.

    Attributes:
        groups: of each row, from 0 on.
        count: of groups; of some of which there may be no row here.
    """

    groups: Tensor
    count: int

    def take(self, rows: Sequence[int]) -> Assigned:
        """The same of some of the rows."""
        return Assigned(self.groups[torch.as_tensor(rows)], self.count)


# of tasks whose test rows are some of those of another task, which decides on the groups; None for none
_given: WeakKeyDictionary[Task, Assigned | None] = WeakKeyDictionary()


def row_groups_of(task: Task) -> RowGroups | None:
    """Groups of a task's test rows; None where it has too few, or none that could be left out.

    The user's own ``step`` and ``evaluate`` tell numbers of whole batches alone.
    """
    found = _given[task] if task in _given else assign_rows(task)
    return None if found is None else RowGroups(found.groups, found.count, task.torch_device())


def set_groups(task: Task, assigned: Assigned | None) -> None:
    """Leave out these groups; None for none at all."""
    _given[task] = assigned


def given_groups(task: Task) -> tuple[Assigned | None] | None:
    """What was set, for another process; None where nothing was."""
    return (_given[task],) if task in _given else None


def assign_rows(task: Task, labels: Sequence[int] | None = None) -> Assigned | None:
    """The group of each of a task's test rows; None as for :func:`row_groups_of`.

    Args:
        task: which.
        labels: rows of one label, a number from 0 on, are left out together; None where each row stands for itself.
    """
    if task.step is not None or task.evaluate is not None:
        return None
    rows = count_ordered_rows(task.test)
    if rows is None or rows < _FEWEST_ROWS:
        return None
    if labels is not None:
        which: Tensor | None = torch.as_tensor(labels)
        fewest = 2
    else:
        # copies of a row are left out together: they say no more of other rows than one does
        which, fewest = number_distinct(task.test, rows), _FEWEST_ROWS
    distinct = rows if which is None else int(which.max()) + 1
    if distinct < fewest:
        return None
    groups = _assign(rows) if which is None or distinct == rows else _assign(distinct)[which]
    return Assigned(groups, int(groups.max()) + 1)


def number_distinct(source: Any, rows: int) -> Tensor | None:
    """The number of each row's input among the different ones; None where equal ones need not be copies.

    Of measurements they are; categories, counts and tokens come out equal by chance as well.

    Args:
        source: one of a task's data sets, with so many rows.
        rows: how many.
    """
    inputs = _find_inputs(source)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or inputs.is_sparse:
        return None
    flat = inputs[:rows].detach().cpu().reshape(rows, -1).contiguous()
    if bool((flat == flat.round()).all()):
        return None
    raw = flat.view(torch.uint8).numpy()
    _, which = np.unique(raw.view(f"V{raw.shape[1]}").reshape(-1), return_inverse=True)
    return torch.from_numpy(which)


def _find_inputs(source: Any) -> Any:
    """The inputs of a data set as one tensor, where it has them so; else None."""
    if isinstance(source, DataLoader):
        source = source.dataset
    if isinstance(source, tuple):
        return source[0]
    if isinstance(source, Subset):
        inner = _find_inputs(source.dataset)
        return inner[torch.as_tensor(source.indices)] if isinstance(inner, Tensor) else None
    if isinstance(source, list):
        first = [item[0] for item in source if isinstance(item, tuple) and item]
        alike = len(first) == len(source) and all(isinstance(item, Tensor) for item in first)
        return torch.stack(first) if alike and len({item.shape for item in first}) == 1 else None
    return getattr(source, "tensors", (None,))[0]


def count_ordered_rows(source: Any) -> int | None:
    """How many rows a data set gives in the order that they have in it; None where that is not known.

    Args:
        source: one of a task's data sets.
    """
    try:
        if isinstance(source, tuple):
            return len(source[0])
        if not isinstance(source, DataLoader):
            return len(source)
        return _count_of_loader(source)
    except Exception:  # the user's objects: anything
        return None


def _count_of_loader(loader: DataLoader[Any]) -> int | None:
    is_ordered = (
        not isinstance(loader.dataset, IterableDataset)
        and type(loader.batch_sampler) is BatchSampler
        and type(loader.sampler) is SequentialSampler
        and (not loader.num_workers or getattr(loader, "in_order", True))
    )
    if not is_ordered:
        return None
    rows = len(loader.sampler)  # type: ignore[arg-type]
    return rows - rows % (loader.batch_size or 1) if loader.drop_last else rows


@functools.lru_cache(maxsize=8)
def _assign(rows: int) -> Tensor:
    """The group of each row, in groups of equal size up to one: by chance, as data may be sorted.

    From the number of rows alone, so that every training leaves out the same ones. The legacy generator of numpy is
    the one that gives the same numbers in every version.
    """
    generator = np.random.RandomState(derive("test rows", rows) % 2**32)  # noqa: NPY002
    groups = np.empty(rows, dtype=np.int64)
    groups[generator.permutation(rows)] = np.arange(rows) % ROW_GROUPS
    return torch.from_numpy(groups)


class RowGroups:
    """The groups of test rows, which all models that are measured on them share.

    Attributes:
        groups: of each row, from 0 on.
        count: of groups.
    """

    def __init__(self, groups: Tensor, count: int, device: torch.device) -> None:
        """Args:
        groups: see above.
        count: likewise.
        device: where outputs are.
        """
        self.groups = groups
        self.count = count
        self._device = device
        self._last: dict[tuple[int, int, bool], list[Tensor]] = {}

    def members(self, start: int, size: int) -> list[Tensor]:
        """Positions of each group's rows in a batch that begins at some row."""
        return self._positions(start, size, others=False)

    def others(self, start: int, size: int) -> list[Tensor]:
        """Positions of all rows but each group's in a batch that begins at some row."""
        return self._positions(start, size, others=True)

    def _positions(self, start: int, size: int, *, others: bool) -> list[Tensor]:
        key = (start, size, others)
        found = self._last.get(key)
        if found is None:
            batch = self.groups[start : start + size]
            found = [
                ((batch == group) != others).nonzero().flatten().to(self._device)
                for group in range(self.count)
            ]
            self._last = {key: found}  # the models of a stack ask one after the other
        return found


class LeftOut:
    """A metric of one model without each group of rows, gathered batch by batch.

    Sums by group are held where the metric follows from sums, outputs and targets where it does not.
    """

    def __init__(self, task: Task, metric: Metric, groups: RowGroups) -> None:
        """Args:
        task: whose loss is measured, if that is the metric.
        metric: reads outputs and targets as the task's model and loss mean them.
        groups: of the test rows.
        """
        self._groups = groups
        self._make = metric.accumulator
        self._own = metric.accumulator and metric.accumulator()
        device = task.torch_device()
        self._loss = task.loss if metric.name == "loss" else None
        self._autocast = functools.partial(autocast_for, task, device)
        self._streams = _streams(device)
        self._is_possible = self._loss is not None or self._own is not None
        self._rows = 0
        self._sums: Tensor | None = None  # of each group; of a loss, of all others
        self._outputs: list[Any] = []
        self._targets: list[Any] = []

    def add(self, output: Any, target: Any, size: int) -> None:
        """Take one batch of so many rows, with the output as the model gave it."""
        start, self._rows = self._rows, self._rows + size
        if not self._is_possible:
            return
        self._is_possible = False
        # what is measured besides must neither shift a metric that draws numbers nor end the training
        with contextlib.suppress(Exception), _kept(self._streams):
            self._is_possible = self._add(output, target, start, size)

    def _add(self, output: Any, target: Any, start: int, size: int) -> bool:
        if self._rows > len(self._groups.groups):
            return False
        if not (_is_by_row(output, size) and _is_by_row(target, size)):
            return False
        if self._loss is not None:
            self._add_sums(self._losses(self._loss, output, target, start, size))
            return True
        output = detach(full_precision(output))
        if isinstance(self._own, Additive):
            self._add_sums(self._group_sums(self._own, output, target, start, size))
            return True
        if not isinstance(self._own, Collected):  # which holds them where they are
            output, target = _on_cpu(output), _on_cpu(target)
        self._outputs.append(output)
        self._targets.append(target)
        return True

    def _add_sums(self, sums: Tensor) -> None:
        self._sums = sums if self._sums is None else self._sums + sums

    def _losses(self, loss: Loss, output: Any, target: Any, start: int, size: int) -> Tensor:
        """Loss of the batch without each group, times the rows that are left, and their number."""
        sums = []
        for rows in self._groups.others(start, size):
            if not len(rows):
                sums.append(torch.zeros(2, dtype=torch.float64))
                continue
            with self._autocast():
                value = loss(_take(output, rows), _take(target, rows))
            count = torch.tensor(len(rows), dtype=torch.float64)
            sums.append(torch.stack([value.detach().cpu().double() * count, count]))
        return torch.stack(sums)

    def _group_sums(
        self, own: Additive, output: Any, target: Any, start: int, size: int
    ) -> Tensor:
        by_row = own.row_sums(output, target)
        if by_row is not None:
            groups = self._groups.groups[start : start + size]
            by_row = by_row.cpu()
            return torch.zeros(
                self._groups.count, *by_row.shape[1:], dtype=by_row.dtype
            ).index_add_(0, groups, by_row)
        members = self._groups.members(start, size)
        return torch.stack([own.sums(output[rows], target[rows]).cpu() for rows in members])

    def result(self) -> tuple[float, ...]:
        """The metric without each group; empty where one of them is not a finite number, or cannot be had."""
        values: list[float] = []
        if self._is_possible and self._rows == len(self._groups.groups):
            with contextlib.suppress(Exception), _kept(self._streams):
                values = self._values()
        self._outputs, self._targets = [], []
        return tuple(values) if all(map(math.isfinite, values)) else ()

    def _values(self) -> list[float]:
        if self._loss is not None:
            assert self._sums is not None
            return [total / count for total, count in self._sums.tolist()]
        if isinstance(self._own, Additive):
            assert self._sums is not None
            # no difference of sums, in which a metric near 0 would be lost
            each = range(self._groups.count)
            kept = [[other for other in each if other != group] for group in each]
            return [self._own.result_of(self._sums[others].sum(0)) for others in kept]
        assert self._make is not None
        output, target = concatenate(self._outputs), concatenate(self._targets)
        return [
            _measure(self._make(), _take(output, rows), _take(target, rows))
            for rows in self._groups.others(0, self._rows)
        ]


def _measure(accumulator: Accumulator, output: Any, target: Any) -> float:
    accumulator.update(output, target)
    return accumulator.result()


def _is_by_row(value: Any, size: int) -> bool:
    """Whether a value is made of tensors with so many rows, and of nothing else that could belong to a row."""
    if isinstance(value, Tensor):
        return value.dim() > 0 and len(value) == size
    parts = children(value)
    if parts is None:
        return value is None
    return bool(parts) and all(_is_by_row(part, size) for _, part in parts)


def _take(value: Any, rows: Tensor) -> Any:
    def of_leaf(leaf: Any) -> Any:
        return leaf[rows.to(leaf.device)] if isinstance(leaf, Tensor) else leaf

    return map_leaves(value, of_leaf)


def _on_cpu(value: Any) -> Any:
    return map_leaves(value, lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf)


def _streams(device: torch.device) -> list[_Stream]:
    """How the state of each generator that a loss or metric draws from is read and set."""
    streams: list[_Stream] = [(item.get_state, item.set_state) for item in global_generators()]
    if device.type == "cuda":
        streams.append(
            (
                functools.partial(torch.cuda.get_rng_state, device),
                functools.partial(torch.cuda.set_rng_state, device=device),
            )
        )
    return streams


@contextlib.contextmanager
def _kept(streams: Sequence[_Stream]) -> Iterator[None]:
    """Give random streams back as they were.

    Without the lock of :data:`actsearch.seeds.global_streams`: stacks that are trained side by side are measured
    while the thread that waits for them holds it.
    """
    before = [get_state() for get_state, _ in streams]
    try:
        yield
    finally:
        for (_, set_state), state in zip(streams, before, strict=True):
            set_state(state)
