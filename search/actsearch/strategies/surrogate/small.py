"""Every small formula of a space, by its values: one for each class of functions that train alike."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from actsearch.expression import Call, Expression, Number, X
from actsearch.naming.functions import FUNCTIONS, Numbers
from actsearch.operators import OPERATORS
from actsearch.strategies.surrogate.curves import LARGEST, STEP, mirror, points
from actsearch.strategies.surrogate.kernel import Features, describe_curves

__all__ = ["SmallFormulas", "small_features", "small_formulas"]

_FACTORS = (0.5, 2.0, 3.0)
_COMMUTE = frozenset({"add", "mul", "max", "min"})
_DIGITS = 6
_FLAT = 1e-3  # standard deviation below which a function tells a network nothing


@dataclass(frozen=True)
class SmallFormulas:
    """Formulas as rows of arrays.

    Attributes:
        curves: values and slopes; (formulas, 2, 72).
        parts: of each formula, the operator and its arguments.
    """

    curves: Numbers
    parts: tuple[tuple[str, tuple[Expression, ...]], ...]

    def tree(self, place: int) -> Expression:
        """A formula."""
        return Call(*self.parts[place])


@functools.lru_cache(maxsize=4)
def small_formulas(operators: tuple[str, ...]) -> SmallFormulas:
    """Every formula of one or two operators, and some of three; the first of each class of mirror images.

    Unary operators of x, 0.5 x, 2 x and 3 x, and of each other; two of x and of the unary operators of x by each
    operator of two arguments; unary operators of multiples of x with x by each of these. What is constant, a straight
    line, not finite or huge where inputs lie is left out.

    Args:
        operators: names.
    """
    x = points()
    inputs = np.concatenate([x, x - STEP, x + STEP])
    unary = [name for name in operators if OPERATORS[name].usual_arity == 1 and name != "identity"]
    binary = [name for name in operators if OPERATORS[name].usual_arity == 2]
    binary = [
        name
        for name in binary
        if not OPERATORS[name].number_choices and not OPERATORS[name].learned
    ]
    first: list[tuple[Expression, Numbers]] = [(X, inputs)]
    first += [(Call("mul", (Number(k), X)), k * inputs) for k in _FACTORS if "mul" in operators]
    with np.errstate(all="ignore"):
        level = [
            (Call(name, (tree,)), _apply(name, [values], inputs))
            for name in unary
            for tree, values in first
        ]
        level = [(tree, values) for tree, values in level if np.abs(values).max() < LARGEST]
        plain = [one for one in level if one[0].size == 2]
        found = [
            (tree.operator, tree.arguments, values)
            for tree, values in level
            if isinstance(tree, Call)
        ]
        found += [
            (name, (tree,), _apply(name, [values], inputs))
            for name in unary
            for tree, values in plain
        ]
        own = [first[0], *plain]
        found += _pairs(binary, own, own, inputs)
        found += _pairs(binary, [one for one in level if one[0].size > 2], first[:1], inputs)
    return _distinct(found)


@functools.lru_cache(maxsize=16)
def small_features(operators: tuple[str, ...]) -> Features:
    """What a kernel compares of :func:`small_formulas`."""
    return describe_curves(small_formulas(operators).curves)


def _pairs(
    names: Sequence[str],
    lefts: Sequence[tuple[Expression, Numbers]],
    rights: Sequence[tuple[Expression, Numbers]],
    inputs: Numbers,
) -> Iterator[tuple[str, tuple[Expression, ...], Numbers]]:
    table = np.array([values for _, values in rights])
    for name, (left, values) in itertools.product(names, lefts):
        for (right, _), row in zip(rights, _apply(name, [values, table], inputs), strict=True):
            yield name, (left, right), row
        if lefts is not rights and name not in _COMMUTE:
            for (right, _), row in zip(rights, _apply(name, [table, values], inputs), strict=True):
                yield name, (right, left), row


def _apply(name: str, arguments: Sequence[Numbers], inputs: Numbers) -> Numbers:
    given = (inputs, *arguments) if OPERATORS[name].uses_x else tuple(arguments)
    result: Numbers = FUNCTIONS[name](*given)
    return result


def _distinct(found: Sequence[tuple[str, tuple[Expression, ...], Numbers]]) -> SmallFormulas:
    """The first of each class of mirror images."""
    every = np.array([values for _, _, values in found]).reshape(len(found), 3 * len(points()))
    sound = (np.abs(every) < LARGEST).all(1)  # NaN is not
    places = np.flatnonzero(sound)
    values, before, after = np.split(every[sound], 3, axis=1)
    curves = np.stack([values, (after - before) / (2 * STEP)], axis=1)
    kept = (values.std(1) > _FLAT) & (np.abs(curves[:, 1]).max(1) < LARGEST)
    # of a straight line the slopes agree but for rounding
    kept &= curves[:, 1].std(1) > 1e-6
    places, curves = places[kept], curves[kept]
    turned = mirror(curves)
    images = np.round(np.stack([curves, -curves, turned, -turned], axis=1)[:, :, 0], _DIGITS) + 0.0
    classes: dict[bytes, int] = {}
    for row, image in enumerate(images):
        classes.setdefault(min(one.tobytes() for one in image), row)
    rows = sorted(classes.values())
    parts = tuple((found[places[row]][0], found[places[row]][1]) for row in rows)
    return SmallFormulas(curves[rows], parts)
