"""From learned shapes to candidates: names whose numbers learn."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence

from actsearch.activations import describe
from actsearch.errors import ActsearchError
from actsearch.expression import Call, Expression, Number, Parameter, parse
from actsearch.naming import Name, name_curve
from actsearch.records import NAMED, SHARED, UNEXPLAINED, ActivationRecord, CandidateRecord
from actsearch.strategies.base import Context
from actsearch.strategies.gradient.shapes import Shape
from actsearch.strategies.space import Space

__all__ = ["name_shapes"]

_log = logging.getLogger("actsearch")

_USUAL_NOISE = 1e-2  # of a curve of which there is one alone: share of its variance
_MOST_LEARNED = 8  # numbers of a formula; more are rather a curve than a name


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
