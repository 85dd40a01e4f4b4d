"""Numbers that are not finite, inputs that are all one."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from actsearch.training.data_check.batches import named_parts
from actsearch.training.data_check.finding import Finding
from actsearch.training.data_check.probe import MAX_PROBED, ModelProbe, attempt
from actsearch.training.data_check.rows import Rows

__all__ = ["describe_bad_values", "repeated_inputs", "value_findings"]

HUGE = math.sqrt(torch.finfo(torch.float32).max)  # whose square is no number of single precision

_log = logging.getLogger("actsearch")


@dataclass
class _NonFinite:
    """Numbers of one tensor that are not finite.

    Attributes:
        nan: how many are NaN.
        inf: how many are infinite.
        rows: in which rows, in order.
        place: index of the first within its row.
        columns: which columns of a table, by number; empty for other shapes.
    """

    nan: int
    inf: int
    rows: list[int]
    place: tuple[int, ...]
    columns: set[int] = field(default_factory=set)


def value_findings(name: str, rows: Rows, probe: ModelProbe, *, is_probed: bool) -> list[Finding]:
    """NaN and inf in one data set, counted.

    They are refused where the model gives no finite loss on them (in training, no finite gradient). A model that
    imputes NaN is left alone, and so is a mask of 0 and -inf that is added to the scores of attention. Of other inf
    there is a warning even so: an activation that bounds it, as tanh does, hides it, and a candidate that does not
    would be blamed.

    Args:
        name: train, valid or test.
        rows: its rows.
        probe: tries the model on them.
        is_probed: whether the task's loss is what measures these data.
    """
    findings: list[Finding] = []
    for what, part in rows.parts:
        if (bad := _count_nonfinite(rows, part)) is not None:
            is_mask = not bad.nan and _is_mask(rows, part)
            own = probe if is_probed else None
            findings += _nonfinite_findings(name, what, rows, bad, own, is_mask=is_mask)
        elif is_probed:
            findings += _huge_findings(name, what, rows, part, probe)
    return findings


def _huge_findings(
    name: str, what: str, rows: Rows, part: Tensor, probe: ModelProbe
) -> Iterator[Finding]:
    """Finite numbers whose squares are not, where the model gives no finite loss or gradient on them."""
    if not part.is_floating_point():
        return
    huge: list[int] = []
    largest = 0.0
    for start, (chunk,) in rows.chunks([part]):
        if bool(chunk.sum(dtype=torch.float64).abs() <= HUGE) and bool(
            chunk[:1].abs().max() <= HUGE
        ):
            continue  # the quick way: large numbers have a large sum
        sizes = chunk.abs().reshape(len(chunk), -1).amax(1).double()
        largest = max(largest, float(sizes.max()))
        huge += (start + (sizes > HUGE).nonzero().flatten()).tolist()
    if not huge:
        return
    try_out = functools.partial(probe.nonfinite_reason, gradients=name == "train")
    if reason := attempt(
        "the model on huge numbers", lambda: try_out(rows.origin, huge[:MAX_PROBED]), ""
    ):
        yield Finding(
            f"{name} {what} hold numbers of size {largest:.2g} in {len(huge)} of {len(rows)} rows "
            f"(first: row {huge[0]}), and {reason}: scale them, or replace the values",
            refused=True,
        )


def _is_mask(rows: Rows, part: Tensor) -> bool:
    """Whether a tensor holds 0 and -inf alone."""
    return all(
        bool(((chunk == 0) | (chunk == -torch.inf)).all()) for _, (chunk,) in rows.chunks([part])
    )


def _nonfinite_findings(
    name: str, what: str, rows: Rows, bad: _NonFinite, probe: ModelProbe | None, *, is_mask: bool
) -> Iterator[Finding]:
    kinds = [f"{bad.nan} NaN"] * bool(bad.nan) + [f"{bad.inf} inf"] * bool(bad.inf)
    text = (
        f"{name} {what} hold {' and '.join(kinds)} in {len(bad.rows)} of {len(rows)} rows "
        f"(first: row {bad.rows[0]}{_format_index(bad.place)}){_format_columns(bad, rows, what)}"
    )
    advice = "remove these rows, or replace the values"
    reason: str | None = None
    if probe is not None:
        try_out = functools.partial(probe.nonfinite_reason, gradients=name == "train")
        reason = attempt(
            "the model on rows that are not finite",
            lambda: try_out(rows.origin, bad.rows[:MAX_PROBED]),
            None,
        )
    if reason:
        yield Finding(f"{text}, and {reason}: {advice}", refused=True)
    elif reason == "" and (is_mask or not bad.inf):
        _log.info("%s; the model gives a finite loss on them", text)
    else:
        yield Finding(f"{text}: {advice}, or candidates may fail where your own model does not")


def _format_index(place: tuple[int, ...]) -> str:
    if not place:
        return ""
    return f", column {place[0]}" if len(place) == 1 else f", at {place}"


def _format_columns(bad: _NonFinite, rows: Rows, what: str) -> str:
    width = dict(rows.parts)[what].shape[1:]
    return f", in {len(bad.columns)} of {width[0]} columns" if bad.columns and width[0] > 1 else ""


def _count_nonfinite(rows: Rows, part: Tensor) -> _NonFinite | None:
    if not (part.is_floating_point() or part.is_complex()):
        return None
    total = _NonFinite(0, 0, [], ())
    for start, (chunk,) in rows.chunks([part]):
        if bool(torch.isfinite(chunk.sum())):  # the quick way: a sum keeps NaN and inf
            continue
        bad = ~torch.isfinite(chunk)
        if not bool(bad.any()):  # finite numbers whose sum is too large
            continue
        nan = int(chunk.isnan().sum())
        total.nan += nan
        total.inf += int(bad.sum()) - nan
        own = bad.reshape(len(bad), -1).any(1).nonzero().flatten().tolist()
        if not total.rows:
            inside = bad[own[0]].nonzero()[0].tolist() if bad.dim() > 1 else []
            total.place = tuple(int(index) for index in inside)
        if bad.dim() == 2:
            total.columns |= set(bad.any(0).nonzero().flatten().tolist())
        total.rows += [start + int(row) for row in own]
    return total if total.rows else None


def repeated_inputs(name: str, distinct: int, count: int) -> Iterator[Finding]:
    """All rows of one data set equal: nothing can be learned from them. Some constant columns are common in images."""
    if count > 1 and distinct == 1:
        yield Finding(
            f"all {count} {name} input rows are equal: a model cannot tell them apart; "
            "check how they were read"
        )


def describe_bad_values(batch: Any) -> str:
    """The first tensor of a batch that holds NaN, inf or huge numbers, whatever the batch is; empty for none.

    A mask of 0 and -inf is none.
    """
    for name, part in named_parts(batch):
        if not part.is_floating_point():
            continue
        bad = ~part.isfinite()
        where = f"{name or 'it'}, of shape {tuple(part.shape)}"
        if bool(bad.any()):
            if bool(((part == 0) | (part == -torch.inf)).all()):
                continue
            nan = int(part.isnan().sum())
            kinds = [f"{nan} NaN"] * bool(nan) + [f"{int(bad.sum()) - nan} inf"] * bool(
                int(bad.sum()) - nan
            )
            return f"{' and '.join(kinds)} in {where}"
        if part.numel() and float(part.abs().max()) > HUGE:
            return f"numbers of size {float(part.abs().max()):.2g} in {where}"
    return ""
