"""From learned shapes to candidates: names whose numbers learn, and then the same with their numbers fixed."""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence

from actsearch.activations import describe
from actsearch.errors import ActsearchError
from actsearch.expression import Call, Expression, Number, Parameter, parse
from actsearch.naming import Name, name_curve
from actsearch.records import (
    FROZEN,
    LEARNED_NUMBERS,
    NAMED,
    SHARED,
    UNEXPLAINED,
    ActivationRecord,
    CandidateRecord,
    TrialRecord,
)
from actsearch.screening import simplify
from actsearch.strategies.base import Context
from actsearch.strategies.gradient.rounds import is_complete
from actsearch.strategies.gradient.shapes import Shape
from actsearch.strategies.space import Space

__all__ = ["freeze_names", "name_shapes"]

_log = logging.getLogger("actsearch")

_USUAL_NOISE = 1e-2  # of a curve of which there is one alone: share of its variance
_MOST_LEARNED = 8  # numbers of a formula; more are rather a curve than a name
_DIGITS = 3  # of a learned number, when it is fixed
_NEAR = 0.05  # so near to a whole or half number, relative to its size, that this is tried as well


def name_shapes(
    shapes: Sequence[Shape],
    noise: Sequence[float | None],
    count: int,
    context: Context,
    seed: int,
    parents: tuple[int, ...],
) -> list[CandidateRecord]:
    """Candidates that stand for learned shapes, those to be tried first in front.

    Args:
        shapes: of each group.
        noise: of each: what is unexplained of it by another one that was learned likewise; None where there is none.
        count: how many at most.
        context: with the space of names.
        seed: of symbolic regression.
        parents: the trial of the curves.
    """
    orders = []
    for index, shape in enumerate(shapes):
        names = _names_of(shape, context.space, seed + index)
        known = noise[index]
        if known is not None:
            _say_if_far(names, known, context.site_groups.keys[index], parents)
        orders.append(_in_order(names, _USUAL_NOISE if known is None else known)[:count])
    candidates = []
    for rank in range(max(map(len, orders), default=0)):
        items, errors = [], {}
        for keys, names, shape in zip(context.site_groups.keys, orders, shapes, strict=True):
            if not names:
                items.append(shape.record())
                continue
            name = names[min(rank, len(names) - 1)]
            items.append(_with_learned_numbers(name, context.space))
            errors[keys[0]] = float(f"{name.error:.3g}")
        made = context.site_groups.candidate(items, NAMED, parents)
        candidates.append(dataclasses.replace(made, attrs={UNEXPLAINED: errors}))
    return candidates


def _names_of(shape: Shape, space: Space, seed: int) -> list[Name]:
    try:
        return name_curve(
            shape.x.tolist(), shape.y.tolist(), shape.density.tolist(),
            activations=space.activation_names, operators=space.operator_names,
            max_size=space.max_size, max_depth=space.max_depth, seed=seed,
        )  # fmt: skip
    except ActsearchError:  # as of a curve that became a constant: it has no name
        return []


def _say_if_far(
    names: Sequence[Name], noise: float, keys: Sequence[str], parents: Sequence[int]
) -> None:
    """Say that no name comes as near to a curve as another pass did."""
    nearest = min((name.error for name in names), default=1.0)
    if nearest > noise:
        where = "" if tuple(keys) == (SHARED,) else f" at {', '.join(keys)}"
        _log.warning(
            "no formula of the space is the learned curve%s: the nearest leaves %.1e of its variance unexplained, and "
            "two passes differ by %.1e; names are tried all the same, and the curve itself can be used: trial %s, "
            "whose points acs.to_python writes",
            where, nearest, noise, ", ".join(map(str, parents)),
        )  # fmt: skip


def _in_order(names: Sequence[Name], noise: float) -> list[Name]:
    """The shortest within the noise first; behind all within it those that fit worse, the best of them first."""
    within = [name for name in names if name.error <= noise]
    beyond = [name for name in names if name.error > noise]
    return sorted(within, key=lambda name: name.size) + sorted(beyond, key=lambda name: name.error)


def _with_learned_numbers(name: Name, space: Space) -> ActivationRecord:
    """A name whose numbers learn, where the space has such forms."""
    tree = parse(name.formula)
    numbers = _count_numbers(tree)
    if not space.learned or not 0 < numbers <= _MOST_LEARNED:
        return describe(name.formula)
    return describe(_replace(tree, lambda value: Parameter(value)))


def _replace(tree: Expression, change: Callable[[float], Expression]) -> Expression:
    """A formula with other numbers; exponents stay."""
    if isinstance(tree, Number):
        return change(tree.value)
    if not isinstance(tree, Call):
        return tree
    fixed = tree.row.number_choices
    arguments = [
        item if fixed and index == 1 else _replace(item, change)
        for index, item in enumerate(tree.arguments)
    ]
    return Call(tree.operator, tuple(arguments))


def _count_numbers(tree: Expression) -> int:
    found: list[float] = []

    def note(value: float) -> Expression:
        found.append(value)
        return Number(value)

    _replace(tree, note)
    return len(found)


def freeze_names(
    trials: Sequence[TrialRecord], count: int, context: Context
) -> list[CandidateRecord]:
    """The best names with the numbers that they learned: to few digits, and where these are nearly whole, whole."""
    sign = -1 if context.direction == "maximize" else 1
    complete = [trial for trial in trials if is_complete(trial)]
    complete.sort(key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    candidates = []
    for trial in complete[:count]:
        if (items := _learned_items(trial, context)) is None:
            continue
        for change in (_few_digits, _whole):
            fixed = [_fix(item, values, change) for item, values in items]
            made = context.site_groups.candidate(fixed, FROZEN, (trial.number,))
            if made not in candidates:
                candidates.append(made)
    return candidates


def _learned_items(
    trial: TrialRecord, context: Context
) -> list[tuple[ActivationRecord, list[float]]] | None:
    """Each group's activation with its learned numbers, the mean over the group's sites; None where none were seen."""
    stored = trial.user_attrs.get(LEARNED_NUMBERS)
    items = context.site_groups.items(trial.candidate)
    if not isinstance(stored, Mapping) or items is None:
        return None
    found = []
    for keys, item in zip(context.site_groups.keys, items, strict=True):
        wanted = len(parse(item.formula).parameters)
        paths = [path for key in keys for path in context.sites.get(key, ())]
        rows = [row for path in paths if _is_row(row := stored.get(path), wanted)]
        if wanted and not rows:
            return None
        found.append((item, [statistics.fmean(column) for column in zip(*rows, strict=True)]))
    return found if any(values for _, values in found) else None


def _is_row(row: object, wanted: int) -> bool:
    return isinstance(row, list) and len(row) == wanted and all(
        isinstance(value, float) and abs(value) < 1e9 for value in row
    )  # fmt: skip


def _fix(
    item: ActivationRecord, values: Sequence[float], change: Callable[[float], float]
) -> ActivationRecord:
    left = iter(values)

    def fix(tree: Expression) -> Expression:
        if isinstance(tree, Parameter):
            return Number(change(next(left)))
        if isinstance(tree, Call):
            return Call(tree.operator, tuple(fix(argument) for argument in tree.arguments))
        return tree

    return describe(simplify(fix(parse(item.formula))))


def _few_digits(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _whole(value: float) -> float:
    near = round(2 * value) / 2
    return near if abs(near - value) <= _NEAR * max(1.0, abs(value)) else _few_digits(value)
