"""Many small formulas with their values at the points of a curve.

A family is a formula with free constants; the library holds it for several sets of constants, one row each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from actsearch.expression import Call, Expression, Parameter, X, is_well_formed
from actsearch.naming.curve import Curve
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers
from actsearch.naming.grammar import Grammar, calls, line

__all__ = ["Library", "edges", "make_library", "nested", "reciprocals", "small", "steps"]

Template = tuple[Expression, list[tuple[float, ...]]]
"""A formula and sets of its constants."""

# slopes and offsets at which functions are looked at before their constants are fitted; for inputs of deviation 1
_FINE = (-3.0, -2.0, -1.4, -1.0, -0.7, -0.4, 0.4, 0.7, 1.0, 1.4, 2.0, 3.0)
_COARSE = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
_OFFSETS = (-1.5, -0.7, 0.7, 1.5)
_FACTORS = (-1.0, -0.3, 0.1, 0.3, 0.6, 1.0, 1.7)
_LIMITED = frozenset(
    {"sqrt", "log", "reciprocal", "log1p"}
)  # defined on a half line: take a constant more
_LARGEST = 1e6  # values; beyond, an inner product has no digits left


@dataclass(frozen=True)
class Library:
    """Formulas with their values.

    Attributes:
        forms: one for each family.
        constants: of each family, those of its rows; (rows of it, constants).
        first: first row of each family.
        values: (rows, points).
        calls: number of operators of each family.
    """

    forms: tuple[Form, ...]
    constants: tuple[Numbers, ...]
    first: npt.NDArray[np.int64]
    values: Numbers
    calls: npt.NDArray[np.int64]

    def tree(self, family: int, row: int) -> Expression:
        """The formula of a family with the constants of one of its rows, which stay free."""
        return self.forms[family].put(self.constants[family][row]).tree

    def rows(self, family: int) -> Numbers:
        """Values of a family; (rows of it, points)."""
        start = int(self.first[family])
        return self.values[start : start + len(self.constants[family])]

    def masked(self, where: npt.NDArray[np.bool_]) -> Library:
        """The same with 0 at the other points."""
        return replace(self, values=self.values * where)

    def inverted(self) -> Library:
        """The same with 1 over each value; rows that are 0 somewhere become useless."""
        with np.errstate(all="ignore"):
            values = 1.0 / self.values
        useless = ~(np.abs(values).max(axis=1) < _LARGEST)
        values[useless] = 0.0
        return replace(self, values=values)


def make_library(curve: Curve, templates: Iterator[Template], constant: bool = False) -> Library:
    """Compute templates; rows that are not finite, or, unless allowed, constant are left out."""
    forms, constants, values = [], [], []
    with np.errstate(all="ignore"):
        for tree, choices in templates:
            form = Form(tree)
            chosen = np.array(choices, dtype=np.float64).reshape(len(choices), len(form.start))
            rows = form.compute(chosen, curve.x)
            size = np.abs(rows).max(axis=1)
            means = (rows @ curve.weights)[:, None]
            spread = np.sqrt(((rows - means) ** 2) @ curve.weights)
            fine = (size < _LARGEST) & (constant | (spread > 1e-5 * size))
            if fine.any():
                forms.append(form)
                constants.append(chosen[fine])
                values.append(rows[fine])
    return Library(
        tuple(forms),
        tuple(constants),
        np.cumsum([0] + [len(rows) for rows in values])[:-1],
        np.concatenate(values) if values else np.zeros((0, len(curve.x))),
        np.array([calls(form.tree) for form in forms], dtype=np.int64),
    )


def small(grammar: Grammar, curve: Curve) -> Iterator[Template]:
    """x, and each operator of one argument on a line."""
    yield X, [()]
    for name in grammar.unary:
        yield from _on_slopes(Call(name, (line(grammar),)), _slopes(grammar, curve, _FINE))
        if grammar.plus:
            tree = Call(name, (line(grammar, 1.0, 0.0),))
            slopes = _slopes(grammar, curve, _COARSE)
            yield (
                tree,
                [
                    (
                        offset * curve.width * abs(slope) - slope * curve.centre,
                        *([slope] if grammar.times else []),
                    )
                    for offset in _OFFSETS
                    for slope in slopes
                ],
            )


def nested(grammar: Grammar, curve: Curve) -> Iterator[Template]:
    """Each operator of one argument on each other one on a multiple of x."""
    slopes = _slopes(grammar, curve, _COARSE)
    for outer, inner in itertools.product(grammar.unary, repeat=2):
        core = Call(inner, (line(grammar),))
        if is_well_formed(Call(outer, (core,))):
            yield from _on_slopes(Call(outer, (core,)), slopes)
            if outer in _LIMITED and grammar.plus:
                yield from _on_slopes(Call(outer, (grammar.shifted(core, 1.0),)), slopes)


def reciprocals(grammar: Grammar, curve: Curve) -> Iterator[Template]:
    """What a quotient may be divided by: an operator on a multiple of x, alone and with a constant more."""
    slopes = _slopes(grammar, curve, _COARSE)
    for name in grammar.unary:
        core = Call(name, (line(grammar),))
        yield from _on_slopes(core, slopes)
        if grammar.plus:
            yield from _on_slopes(grammar.shifted(core, 1.0), slopes)


def edges(grammar: Grammar, curve: Curve) -> Iterator[Template]:
    """What may be the larger or smaller of two: x, and each operator on a multiple of it."""
    yield X, [()]
    for name in grammar.unary:
        yield from _on_slopes(
            Call(name, (line(grammar),)), _slopes(grammar, curve, (0.5, 1.0, 2.0))
        )


def steps(grammar: Grammar, curve: Curve) -> Iterator[Template]:
    """The other of two: a constant, a line through 0 and with an offset, a multiple of an operator."""
    yield Parameter(1.0), [(level,) for level in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    if not grammar.times:
        yield from edges(grammar, curve)
        return
    yield line(grammar), [(factor,) for factor in (0.0, *_FACTORS)]
    if grammar.plus:
        tree = line(grammar, 1.0, 0.0)
        yield tree, [(offset, factor) for offset in (-1.0, 1.0) for factor in _FACTORS]
    for name in grammar.unary:
        slopes = _slopes(grammar, curve, (-1.0, 1.0))
        tree = grammar.scaled(Call(name, (line(grammar),)))
        yield tree, [(factor, slope) for factor in _FACTORS for slope in slopes]


def _on_slopes(tree: Expression, slopes: Sequence[float]) -> Iterator[Template]:
    """With each slope as its last constant, those before it as they are."""
    before = [parameter.init for parameter in tree.parameters][:-1]
    has_slope = any(
        isinstance(node, Call) and X in node.arguments and len(node.arguments) == 2
        for node in tree.walk()
    )
    if has_slope:
        yield tree, [(*before, slope) for slope in slopes]
    else:
        yield tree, [tuple(parameter.init for parameter in tree.parameters)]


def _slopes(grammar: Grammar, curve: Curve, slopes: Sequence[float]) -> list[float]:
    """Slopes for inputs of this width, and 1 and -1 as they are."""
    if grammar.times is None:
        return [1.0]
    if 0.4 < curve.width < 2.5:  # near enough: round slopes are more likely the true ones
        return list(slopes)
    return [*(slope / curve.width for slope in slopes), 1.0, -1.0]
