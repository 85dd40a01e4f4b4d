"""The formulas that a search has met, one of each shape, their constants fitted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from actsearch.expression import Call, Expression, Variable, is_well_formed
from actsearch.naming.curve import EXACT, Curve
from actsearch.naming.fitting import fit
from actsearch.naming.form import Form
from actsearch.naming.grammar import Grammar, shape
from actsearch.naming.simplify import Fitted

__all__ = ["Pool"]

_LOOK, _REST = 4, 12  # iterations of every formula, and further ones of those that are worth it
_WORTH = 0.35  # share of the formulas of each size that are fitted to the end


class Pool:
    """The formulas of a search.

    Attributes:
        curve: what they come near.
        grammar: the rules that they keep.
    """

    def __init__(self, curve: Curve, grammar: Grammar) -> None:
        self.curve, self.grammar = curve, grammar
        self._best: dict[str, Fitted] = {}

    def add(self, trees: Iterable[Expression], keep: int | None = None) -> None:
        """Fit the constants of formulas whose shape is new; of the best ``keep`` only, as they come."""
        new: dict[str, Form] = {}
        for tree in trees:
            key = shape(tree)
            if key not in self._best and key not in new and self._fits_in(tree):
                new[key] = Form(tree)
        if keep is not None and len(new) > keep:
            new = self._select(new, keep)
        looked = {key: self._fit(form, _LOOK) for key, form in new.items()}
        self._best |= looked
        for key in self._promising(looked):
            self._best[key] = self._fit(looked[key].form.put(looked[key].constants), _REST)

    def ranked(self) -> list[Fitted]:
        """Best first; those that differ in the last digits alone in the order of size and text."""
        return [found for _, found in sorted(self._best.items(), key=_order)]

    def smallest_share(self) -> float:
        """Of all."""
        return min((found.share for found in self._best.values()), default=1.0)

    def _fits_in(self, tree: Expression) -> bool:
        if isinstance(tree, Variable):
            return True
        form = Form(tree)
        return (
            isinstance(tree, Call)
            and is_well_formed(tree)
            and form.short_size <= self.grammar.max_size
        )

    def _fit(self, form: Form, iterations: int) -> Fitted:
        constants, shares = fit(form, self.curve, form.start[None], iterations)
        return Fitted(form, constants[0], np.zeros(len(form.start)), float(shares[0]))

    def _select(self, forms: dict[str, Form], keep: int) -> dict[str, Form]:
        looked = {key: self._fit(form, 0) for key, form in forms.items()}
        kept = sorted(looked.items(), key=_order)[:keep]
        return {key: found.form for key, found in kept}

    def _promising(self, looked: dict[str, Fitted]) -> list[str]:
        """Of each size the better third."""
        by_size: dict[int, list[tuple[str, Fitted]]] = {}
        for key, found in looked.items():
            if len(found.constants) and found.share > EXACT:
                by_size.setdefault(found.form.short_size, []).append((key, found))
        chosen: list[str] = []
        for size in sorted(by_size):
            ordered = sorted(by_size[size], key=_order)
            chosen += [key for key, _ in ordered[: max(2, round(_WORTH * len(ordered)))]]
        return chosen


def _order(item: tuple[str, Fitted]) -> tuple[float, int, str]:
    key, found = item
    return float(f"{max(found.share, EXACT):.4g}"), found.form.tree.size, key
