"""Names whose numbers have learned, with these numbers fixed."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from actsearch.activations import build_at_start, describe, sample
from actsearch.errors import ActsearchError
from actsearch.expression import Expression, Number, parse
from actsearch.naming import Curve, tidy
from actsearch.naming.form import replace_parameters
from actsearch.records import (
    FROZEN,
    LEARNED_NUMBERS,
    UNEXPLAINED,
    ActivationRecord,
    CandidateRecord,
    TrialRecord,
)
from actsearch.screening import simplify
from actsearch.strategies.base import Context
from actsearch.strategies.gradient.rounds import is_complete
from actsearch.strategies.gradient.shapes import Shape

__all__ = ["freeze_names"]

_AGREE = (
    0.05  # share of its variance by which the function of a site may differ from that of the mean
)
_DIGITS = 3  # of a learned number, when it is fixed
_NEAR = (
    0.05  # so near to a whole or half number, relative to its size, that this may take its place
)
_SAME = 1e-3  # share of the variance that this may change

Array = npt.NDArray[np.float64]


def freeze_names(
    trials: Sequence[TrialRecord], count: int, shapes: Sequence[Shape], context: Context
) -> list[CandidateRecord]:
    """The best names with the numbers that they learned, and with what they then leave over of their curves.

    The numbers of a group are the mean over its sites, or those of one site where the sites disagree, see
    :func:`_choose_numbers`. They have three digits, and are whole or half numbers where that leaves the function what
    it is.

    Args:
        trials: of names, which have ended.
        count: how many at most.
        shapes: of each group, that the names stand for.
        context: with the sites of each group.
    """
    sign = -1 if context.direction == "maximize" else 1
    complete = [trial for trial in trials if is_complete(trial)]
    complete.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    found: dict[int, list[ActivationRecord]] = {}
    for trial in complete[:count]:
        items = _frozen_items(trial, shapes, context)
        if items is not None and not any(_are_alike(items, old, shapes) for old in found.values()):
            found[trial.number] = items
    return [_candidate(items, number, shapes, context) for number, items in found.items()]


def _candidate(
    items: Sequence[ActivationRecord], parent: int, shapes: Sequence[Shape], context: Context
) -> CandidateRecord:
    """With what its activations leave over of their curves."""
    made = context.site_groups.candidate(items, FROZEN, (parent,))
    errors = {
        keys[0]: float(f"{float(_shares(shape.y, _compute(item, shape.x)[None], shape)[0]):.3g}")
        for keys, item, shape in zip(context.site_groups.keys, items, shapes, strict=True)
        if item.name != "linear_spline"  # a curve without a name
    }
    return dataclasses.replace(made, attrs={UNEXPLAINED: errors})


def _are_alike(
    items: Sequence[ActivationRecord], others: Sequence[ActivationRecord], shapes: Sequence[Shape]
) -> bool:
    """Whether two candidates have nearly the same function in every group, up to factor and offset."""
    return all(
        _shares(_compute(other, shape.x), _compute(item, shape.x)[None], shape)[0] <= _SAME
        for item, other, shape in zip(items, others, shapes, strict=True)
    )


def _frozen_items(
    trial: TrialRecord, shapes: Sequence[Shape], context: Context
) -> list[ActivationRecord] | None:
    """Each group's activation with fixed numbers; None where none were learned, or where they were not seen."""
    stored = trial.user_attrs.get(LEARNED_NUMBERS)
    items = context.site_groups.items(trial.candidate)
    if not isinstance(stored, Mapping) or items is None:
        return None
    found, has_learned = [], False
    for keys, item, shape in zip(context.site_groups.keys, items, shapes, strict=True):
        tree = parse(item.formula)
        if not (wanted := len(tree.parameters)):
            found.append(item)
            continue
        paths = [path for key in keys for path in context.sites.get(key, ())]
        rows = [row for path in paths if _is_row(row := stored.get(path), wanted)]
        if not rows:
            return None
        has_learned = True
        found.append(_fix(tree, _choose_numbers(tree, rows, shape), shape))
    return found if has_learned else None


def _is_row(row: object, wanted: int) -> TypeGuard[list[float]]:
    return isinstance(row, list) and len(row) == wanted and all(
        isinstance(value, float) and abs(value) < 1e9 for value in row
    )  # fmt: skip


def _choose_numbers(
    tree: Expression, rows: Sequence[Sequence[float]], shape: Shape
) -> Sequence[float]:
    """What the sites of a group have learned, as one row of numbers.

    It is their mean, if no site's function differs from that of the mean by more than 5 % of its variance, under the
    density of the inputs, up to factor and offset. Otherwise the mean may be far from all of them, as between a
    negative and a positive number; then it is the row of the medoid, the site whose function differs least from those
    of the others. Of two sites each is as far from the other: then of the one nearer to the learned curve.
    """
    mean = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    values = np.array([_compute(_put(tree, row), shape.x) for row in rows])
    middle = _compute(_put(tree, mean), shape.x)
    if _shares(middle, values, shape).max() <= _AGREE:
        return mean
    apart = [float(_shares(own, values, shape).sum()) for own in values]
    far = _shares(shape.y, values, shape)
    best = min(range(len(rows)), key=lambda i: (round(apart[i], 6), round(float(far[i]), 6), i))
    return rows[best]


def _fix(tree: Expression, numbers: Sequence[float], shape: Shape) -> ActivationRecord:
    """With few digits; with whole or half numbers for those near to them, where that changes little."""
    plain = _put(tree, numbers, _few_digits)
    whole = _put(tree, numbers, _whole)
    change = _shares(_compute(plain, shape.x), _compute(whole, shape.x)[None], shape)[0]
    return describe(tidy(simplify(whole if change <= _SAME else plain)))


def _put(
    tree: Expression, numbers: Sequence[float], change: Callable[[float], float] = float
) -> Expression:
    """A formula with numbers in the place of its parameters, in order."""
    left = iter(numbers)
    return replace_parameters(tree, lambda old: Number(change(next(left))))


def _few_digits(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _whole(value: float) -> float:
    near = round(2 * value) / 2
    return near if abs(near - value) <= _NEAR * max(1.0, abs(value)) else _few_digits(value)


def _compute(what: Expression | ActivationRecord, x: Array) -> Array:
    """Values at points ``(n,)``; those of a formula that cannot be computed are NaN."""
    try:
        module = build_at_start(describe(what)).double().eval()
        return np.asarray(sample(module, x.tolist()).y, dtype=np.float64)
    except ActsearchError:
        return np.full_like(x, np.nan)


def _shares(target: Array, values: Array, shape: Shape) -> Array:
    """Share of the variance of ``target`` that each row leaves over, ``(rows,)``; 1 where there is none to compare."""
    with np.errstate(all="ignore"):
        return Curve(shape.x, target, shape.density).compare(values)
