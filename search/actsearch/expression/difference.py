"""In which parts a formula differs from the one that it was made from."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actsearch.expression.canonical_form import COMMUTATIVE
from actsearch.expression.nodes import Call, Expression

__all__ = ["Difference", "find_difference"]

_Path = tuple[int, ...]
"""From the root, which argument to go to at each node."""

_MOST_ORDERS = 5  # arguments that are all different on both sides: of more, orders are not tried
_OPEN, _CLOSE = "\ue000", "\ue001"  # for private use: no formula holds them
_MARKED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True)
class Difference:
    """What turns one formula, the parent, into another, the child.

    Attributes:
        parts: the child's text in pieces, each with whether it stands for a changed subtree.
        share: of the child's nodes that are in changed subtrees.
        holds_parent: the child holds the whole parent as one of its parts, as tanh(x * x) holds x * x.
        is_part: the child is a part of the parent.
    """

    parts: tuple[tuple[str, bool], ...]
    share: float
    holds_parent: bool = False
    is_part: bool = False


def find_difference(parent: Expression, child: Expression) -> Difference:
    """The smallest subtrees of the child whose replacement turns the parent into it.

    Both trees are followed from their roots for as long as operators and numbers of arguments agree. Arguments that may
    stand in any order are paired with their equals, the others so that least is changed. Two formulas that differ in
    such an order alone do not differ.

    Args:
        parent: the formula before.
        child: the formula after.
    """
    comparison = _Comparison()
    paths = comparison.changed(parent, child)
    text, _ = _mark(child, frozenset(paths), ())
    changed = sum(_at(child, path).size for path in paths)
    return Difference(
        tuple(_split(text)),
        changed / child.size,
        holds_parent=bool(paths) and comparison.holds(child, parent),
        is_part=bool(paths) and comparison.holds(parent, child),
    )


class _Comparison:
    """What was found about two formulas, so that shared parts are compared once."""

    def __init__(self) -> None:
        self._keys: dict[Expression, str] = {}
        self._found: dict[tuple[Expression, Expression], list[_Path]] = {}

    def key(self, tree: Expression) -> str:
        """A text that formulas share which differ in the order of commuting arguments alone."""
        known = self._keys.get(tree)
        if known is None:
            if isinstance(tree, Call):
                inner = [self.key(argument) for argument in tree.arguments]
                ordered = sorted(inner) if tree.operator in COMMUTATIVE else inner
                known = f"{tree.operator}({','.join(ordered)})"
            else:
                known = str(tree)
            self._keys[tree] = known
        return known

    def holds(self, tree: Expression, part: Expression) -> bool:
        """Whether a formula stands within another one; x alone stands in all of them, which says nothing."""
        wanted = self.key(part)
        return part.size > 1 and any(self.key(node) == wanted for node in tree.walk())

    def changed(self, parent: Expression, child: Expression) -> list[_Path]:
        """Paths to the changed subtrees of the child."""
        known = self._found.get((parent, child))
        if known is None:
            known = self._found[parent, child] = self._compare(parent, child)
        return known

    def _compare(self, parent: Expression, child: Expression) -> list[_Path]:
        if self.key(parent) == self.key(child):
            return []
        is_alike = (
            isinstance(parent, Call)
            and isinstance(child, Call)
            and parent.operator == child.operator
            and len(parent.arguments) == len(child.arguments)
        )
        if not is_alike:
            return [()]
        return [
            (place, *path)
            for before, place in self._pair(parent, child)
            for path in self.changed(before, child.children[place])
        ]

    def _pair(self, parent: Expression, child: Expression) -> list[tuple[Expression, int]]:
        """Each argument of the parent with the place of that of the child that stands for it."""
        assert isinstance(parent, Call)
        places = list(range(len(child.children)))
        if parent.operator not in COMMUTATIVE:
            return list(zip(parent.arguments, places, strict=True))
        left: list[Expression] = []
        for before in parent.arguments:
            equal = (p for p in places if self.key(child.children[p]) == self.key(before))
            if (place := next(equal, None)) is None:
                left.append(before)
            else:
                places.remove(place)  # an equal pair has no difference: it need not be returned
        orders = itertools.permutations(places) if len(places) <= _MOST_ORDERS else [tuple(places)]
        best = min(orders, key=lambda order: self._cost(left, child, order))
        return sorted(zip(left, best, strict=True), key=lambda pair: pair[1])

    def _cost(self, left: Sequence[Expression], child: Expression, order: Sequence[int]) -> int:
        """Changed nodes of the child if these arguments of the parent are paired in this order."""
        total = 0
        for before, place in zip(left, order, strict=True):
            after = child.children[place]
            total += sum(_at(after, path).size for path in self.changed(before, after))
        return total


def _at(tree: Expression, path: _Path) -> Expression:
    for place in path:
        tree = tree.children[place]
    return tree


def _mark(tree: Expression, paths: frozenset[_Path], here: _Path) -> tuple[str, int]:
    """Text with signs around the subtrees at these paths, and how strongly it binds."""
    if here in paths:
        text, binding = tree._text()
        return f"{_OPEN}{text}{_CLOSE}", binding
    if not isinstance(tree, Call):
        return tree._text()
    inner = [_mark(child, paths, (*here, n)) for n, child in enumerate(tree.children)]
    return tree._write(inner)


def _split(text: str) -> Iterator[tuple[str, bool]]:
    for index, piece in enumerate(_MARKED.split(text)):
        if piece:
            yield piece, index % 2 == 1
