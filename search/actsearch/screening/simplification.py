"""Formulas without the parts that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from actsearch.activations import bind
from actsearch.errors import FormulaError
from actsearch.expression import Call, Expression, Number, Variable, canonical
from actsearch.screening.identity import fingerprint, points

__all__ = ["simplify"]

# far above what float64 rounds, far below what training notices
_RELATIVE, _ABSOLUTE = (
    1e-9,
    1e-12,
)
_PROBE = 40  # a quantile that is not a special point of any operator


def simplify(tree: Expression) -> Expression:
    """The same candidate in fewer nodes, if some subtree does nothing: ``sin(x*min(x, max(0, x)))`` is ``sin(x*x)``.

    While a subtree without parameters has the values of one of its own parts, or of a number, that takes its place,
    provided that the whole keeps its :func:`fingerprint`. In canonical form.
    """
    tree = canonical(tree)
    identity = fingerprint(tree)
    while (smaller := next(_find_smaller(tree, identity), None)) is not None:
        tree = smaller
    return tree


def _find_smaller(tree: Expression, identity: str) -> Iterator[Expression]:
    """Formulas of the same identity in which one subtree is replaced by less."""
    values: dict[Expression, Tensor] = {}
    _evaluate(tree, values)
    # one point of each: most that differ already do so there, which is cheap to see; a part of numbers has one value
    probes = {part: found[_PROBE % len(found)].item() for part, found in values.items()}
    for node in dict.fromkeys(tree.walk()):  # parents first: the largest saving
        if not isinstance(node, Call) or node not in values:
            continue
        for part in _find_equals(node, values, probes):
            try:
                shorter = canonical(_replace(tree, node, part))
            except FormulaError:  # a power of numbers that overflows
                continue
            if shorter.size < tree.size and fingerprint(shorter) == identity:
                yield shorter


def _find_equals(
    node: Call, values: dict[Expression, Tensor], probes: dict[Expression, float]
) -> Iterator[Expression]:
    """What has a subtree's values: a number, or one of its parts, the smallest first."""
    own, probe = values[node], probes[node]
    first = own[0].item()
    if abs(first) < 1e9 and first == probe and bool((own == first).all()):
        yield Number(first)
    far = 2 * (_ABSOLUTE + _RELATIVE * abs(probe))
    parts = {
        part
        for child in node.children
        for part in child.walk()
        if part in values and not abs(probes[part] - probe) > far  # NaN is to be compared in full
    }
    for part in sorted(parts, key=lambda item: (item.size, str(item))):
        if torch.allclose(
            values[part].expand_as(own), own, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True
        ):
            yield part


def _evaluate(tree: Expression, values: dict[Expression, Tensor]) -> Tensor | None:
    """Values of every subtree without parameters, at the points of identity."""
    if tree in values:
        return values[tree]
    if isinstance(tree, Variable):
        result = points()
    elif isinstance(tree, Number):
        result = torch.tensor([[tree.value]], dtype=torch.float64)
    else:
        arguments = [_evaluate(child, values) for child in tree.children]
        known = [argument for argument in arguments if argument is not None]
        if not isinstance(tree, Call) or len(known) < len(arguments):
            return None  # a parameter is among them
        whole = torch.broadcast_tensors(  # type: ignore[no-untyped-call]
            *([points()] if tree.row.uses_x else []), *known
        )
        result = bind(tree.operator)(*whole)
    values[tree] = result
    return result


def _replace(tree: Expression, old: Expression, new: Expression) -> Expression:
    if tree == old:
        return new
    if not isinstance(tree, Call):
        return tree
    return Call(tree.operator, tuple(_replace(child, old, new) for child in tree.arguments))
