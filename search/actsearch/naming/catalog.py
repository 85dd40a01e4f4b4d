"""Rows of the catalog as forms: ``f(b * x + c)`` with slope, offset and the row's own hyperparameters free."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from actsearch.activation_catalog import CATALOG, Hyperparameter, Row
from actsearch.expression import Call, Expression, Number, Parameter, Variable, X, parse
from actsearch.naming.curve import Curve
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers

__all__ = ["catalog_forms", "starts"]

_MARK = 123456.789  # stands for a constant while a row's tree is built; no formula has a number so large
_SMALLEST_SLOPE = 0.05  # where the sign of the slope is given
_SLOPES = (1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 4.0, -4.0)
_OFFSETS = (0.0, -1.0, 1.0)
_KEPT = 5  # starts that are fitted, of those that are looked at


def catalog_forms(names: Sequence[str]) -> Iterator[Form]:
    """The forms of rows; those that are learned, fitted, random or not elementwise have none.

    Raises:
        ActivationError: a name that the catalog does not have.
    """
    for name in dict.fromkeys(CATALOG[name].name for name in names):
        row = CATALOG[name]
        if row.elementwise and not (row.fitted or row.random or row.learned):
            yield from _row_forms(row)


def starts(form: Form, curve: Curve) -> Numbers:
    """Constants from which the fit of a row begins, the best of many; the row as it stands is among them."""
    if not form.tree.parameters:
        return np.zeros((1, 0))
    unit = 1.0 if 0.4 < curve.width < 2.5 else 1 / curve.width
    has_offset = len(form.start) - len(form.free) == 2
    settings = [list(dict.fromkeys(values)) for values in form.settings[1 + has_offset :]]
    slopes = [1.0, *(slope * unit for slope in _SLOPES)]
    offsets = _OFFSETS if has_offset else (0.0,)
    rows = [
        (slope, *([offset - slope * curve.centre * (offset != 0)] if has_offset else []), *values)
        for slope, offset, values in itertools.product(
            slopes, offsets, itertools.product(*settings)
        )
    ]
    constants = np.clip(np.array(rows), *form.bounds)
    with np.errstate(all="ignore"):
        shares = curve.compare(form.compute(constants, curve.x))
    best = np.argsort(np.round(shares[1:], 9), kind="stable")[: _KEPT - 1] + 1
    kept: Numbers = constants[[0, *best]]
    return kept


def _row_forms(row: Row) -> Iterator[Form]:
    """One form for each combination of choices; two, rising and falling, for one that asks for the sign of x."""
    free = [item for item in row.hyperparameters if _is_free(item, row)]
    chosen = [item for item in row.hyperparameters if item.choices and item.name in row.formula]
    values = row.bind({})
    for choice in itertools.product(*(item.choices for item in chosen)):
        given = {**values, **dict(zip((item.name for item in chosen), choice, strict=True))}
        marks = {item.name: _MARK + 2 + index for index, item in enumerate(free)}
        tree = parse(row.formula, {**given, **marks})
        if X not in tree.walk():  # a step, which no slope changes
            forms = [Form(tree, row=row.name)]
        elif any(isinstance(node, Call) and node.row.uses_x for node in tree.walk()):
            forms = [
                _make(row, _insert(tree, _slope()), free, (_SMALLEST_SLOPE, np.inf)),
                _make(row, _mirror(_insert(tree, _slope())), free, (-np.inf, -_SMALLEST_SLOPE)),
            ]
        else:
            line = Call("add", (Parameter(_MARK + 1), _slope()))
            forms = [_make(row, _insert(tree, line), free, None)]
        names = {item.name: item.default for item in chosen}
        unusual = tuple((name, given[name]) for name in names if given[name] != names[name])
        yield from (replace(form, given=unusual) for form in forms)


def _slope() -> Expression:
    return Call("mul", (Parameter(_MARK), X))


def _is_free(item: Hyperparameter, row: Row) -> bool:
    return not item.choices and isinstance(item.default, float) and item.name in row.formula


def _insert(tree: Expression, line: Expression) -> Expression:
    """The line for x, and constants for marks."""
    if isinstance(tree, Variable):
        return line
    if isinstance(tree, Number) and tree.value > _MARK:
        return Parameter(tree.value)
    if isinstance(tree, Call):
        return Call(tree.operator, tuple(_insert(item, line) for item in tree.arguments))
    return tree


def _mirror(tree: Expression) -> Expression:
    """With the branches of each case on the sign of x exchanged."""
    if not isinstance(tree, Call):
        return tree
    arguments = tuple(_mirror(item) for item in tree.arguments)
    return Call(tree.operator, arguments[::-1] if tree.operator == "piecewise" else arguments)


def _make(
    row: Row, tree: Expression, free: Sequence[Hyperparameter], slope: tuple[float, float] | None
) -> Form:
    """Number the constants in order: slope, offset unless the slope's sign is given, hyperparameters."""
    first = [_MARK] if slope else [_MARK, _MARK + 1]
    marks = first + [_MARK + 2 + index for index in range(len(free))]
    ties = tuple(marks.index(parameter.init) for parameter in tree.parameters)
    low, high = slope or (-np.inf, np.inf)
    settings = [_few(item) for item in free]
    own: list[tuple[float, ...]] = [(1.0,)] if slope else [(1.0,), (0.0,)]
    form = Form(
        tree,
        ties,
        (low, *([] if slope else [-np.inf]), *(max(item.low, -np.inf) for item in free)),
        (high, *([] if slope else [np.inf]), *(min(item.high, np.inf) for item in free)),
        (*own, *settings),
        row.name,
        tuple(item.name for item in free),
    )
    middle = [1.0 if low <= 1.0 <= high else -1.0, *([] if slope else [0.0])]
    return form.put([*middle, *(float(item.default) for item in free)])


def _few(item: Hyperparameter) -> tuple[float, ...]:
    """The default of a hyperparameter and two values within its range."""
    default = float(item.default)
    low, high = max(item.low, -np.inf), min(item.high, np.inf)
    if item.log:
        return default, (low * default) ** 0.5, (high * default) ** 0.5
    return default, (low + default) / 2, (high + default) / 2
