"""The names of a curve: which formulas are worth saying, shortest first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from actsearch.activation_catalog import CATALOG, Value
from actsearch.naming.catalog import catalog_forms, starts
from actsearch.naming.curve import EXACT, Curve, read_curve
from actsearch.naming.fitting import fit
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers
from actsearch.naming.grammar import Grammar
from actsearch.naming.search import compose
from actsearch.naming.simplify import Fitted, round_constants, simplified, upright
from actsearch.naming.writing import Written, write

__all__ = ["Name", "name_curve"]

_ENTRIES = 12
_GAIN = (
    0.9  # a longer formula has to leave over less than this share of what each shorter one does
)
_RIVALS = 2  # of the best of a size, at most
_RIVAL = 1.5  # times the error of the best of a size that another one of it may have
_OTHER = 0.1  # of that error: two formulas that are nearer to each other are one
_DIGITS = 7  # of a factor and an offset; single precision has no more
_ITERATIONS = 14  # of a catalog row's constants
_PER_SIZE = 6  # formulas of one size whose constants are made simple
_BEHIND = (
    2.0  # times what a shorter one leaves over: a longer one with more than that is not looked at
)
_SAME_AT_MOST = 1e-6
_SAME = 0.01  # of what it leaves over: a composed formula that is no farther from a catalog row is that row


@dataclass(frozen=True)
class Name:
    """A formula for a curve.

    Attributes:
        formula: constants in place, as ``acs.parse`` reads it; equal to ``core`` where the operators or limits leave
            no room for a factor and an offset.
        error: share of the curve's variance, under the density, that the formula leaves over; where it had no room
            for a factor and an offset, that which is left after the best ones.
        size: nodes of ``core``: a factor and an offset are no part of a shape, as the layers around take them over.
        source: "catalog" or "composed".
        core: the formula without its factor and offset.
        factor: of the core, to come nearest to the curve.
        offset: to be added to that.
        is_plain: whether x stands in the core as it is, without a factor or offset of its own.
        activation: the catalog row; "" for a composed formula.
        hyperparameters: those of the row that are not at their defaults.
    """

    formula: str
    error: float
    size: int
    source: str
    core: str
    factor: float
    offset: float
    is_plain: bool
    activation: str = ""
    hyperparameters: tuple[tuple[str, Value], ...] = ()


def name_curve(
    x: Sequence[float] | Numbers,
    y: Sequence[float] | Numbers,
    weights: Sequence[float] | Numbers,
    *,
    activations: Sequence[str],
    operators: Sequence[str],
    max_size: int,
    max_depth: int,
    seed: int,
    effort: int = 2,
) -> list[Name]:
    """Formulas for a curve, each nearer to it than all shorter ones; of one size there may be three.

    Every catalog row is fitted as ``a * f(b * x + c) + d``. Composed formulas are found by looking at all small ones,
    and growing larger ones from the best; their constants come from least squares. Constants are then set to 0, 1 and
    other simple values one after another; each of these formulas is a candidate of its own.

    Args:
        x: points, (points,).
        y: the curve there, (points,).
        weights: how often inputs arrived at each point, up to a factor; 0 where nothing was learned.
        activations: catalog rows; those that are learned, random or not elementwise are passed over.
        operators: those of composed formulas.
        max_size: largest number of nodes of a composed formula.
        max_depth: largest number of its levels.
        seed: of the random part of the search.
        effort: how much is looked at; time is proportional to it.

    Returns:
        at most 12 names, shortest first. The result depends on the arguments alone.

    Raises:
        ActivationError: a curve that has too few points, is constant or not finite; an unknown row or operator.
    """
    curve = read_curve(x, y, weights)
    grammar = Grammar(tuple(operators), max_size, max_depth)
    with np.errstate(all="ignore"):
        rows = [_fit_row(curve, form) for form in catalog_forms(activations)]
        composed = compose(curve, grammar, seed, effort)
        steps = [
            step
            for found in (*_worthy(curve, rows), *_worthy(curve, composed))
            for step in simplified(curve, found)
        ]
        short = [round_constants(curve, step) for step in _short_list(steps)]
        written = [item for step in short if (item := write(curve, step, grammar)) is not None]
        known = _rows_in_order(rows, [*steps, *short], activations)
        return [_name(curve, item, known) for item in _front(curve, written)]


def _fit_row(curve: Curve, form: Form) -> Fitted:
    constants, shares = fit(form, curve, starts(form, curve), _ITERATIONS)
    best = int(np.argmin(np.round(np.log(np.maximum(shares, EXACT)), 3)))
    return Fitted(form, constants[best], np.zeros(len(constants[best])), float(shares[best]))


def _rows_in_order(
    rows: Iterable[Fitted], steps: Iterable[Fitted], names: Sequence[str]
) -> list[Fitted]:
    """Catalog rows as they stand, and with constants that were met, in the order of their names."""
    plain = [Fitted(row.form, row.form.start, np.ones(len(row.form.start)), 1.0) for row in rows]
    met = [step for step in steps if step.form.row]
    order = {CATALOG[name].name: index for index, name in enumerate(names)}
    return sorted([*plain, *met], key=lambda item: order[item.form.row])


def _worthy(curve: Curve, found: Iterable[Fitted]) -> Iterator[Fitted]:
    """Of each length and number of constants the best few, if they come about as near as those with less of both."""
    classes: dict[tuple[int, int], list[Fitted]] = {}
    for item in found:
        classes.setdefault((item.form.short_size, len(item.constants)), []).append(item)
    met: dict[tuple[int, int], list[float]] = {}
    for size, count in sorted(classes):
        less = {
            share for (s, c), found in met.items() if s <= size and c <= count for share in found
        }
        limit = _BEHIND * min(less, default=1.0)
        # what leaves over the same to four digits is the same function, written in another way or with more in it
        apart = {
            _rounded(item.share): item for item in sorted(classes[size, count], key=_order)[::-1]
        }
        new = (
            item for share, item in sorted(apart.items()) if share not in less and share < limit
        )
        good = (item for item in new if item.form.row or not item.is_disguised(curve))
        best = list(itertools.islice(good, _PER_SIZE))
        met[size, count] = [_rounded(item.share) for item in best]
        yield from (upright(curve, item) for item in best)


def _order(item: Fitted) -> tuple[float, str]:
    return _rounded(item.share), str(item.form.tree)


def _short_list(steps: Iterable[Fitted]) -> list[Fitted]:
    """The best few of each size that come nearer than all shorter ones; one of those that leave over the same."""
    by_size: dict[int, dict[float, tuple[bool, str, Fitted]]] = {}
    for step in steps:
        tree = step.tree()
        if tree is not None and tree.uses_x:
            same = by_size.setdefault(tree.size, {})
            key = _rounded(step.share)
            entry = not step.form.row, str(tree), step
            if key not in same or entry[:2] < same[key][:2]:
                same[key] = entry
    kept = []
    for size, entries in sorted(by_size.items()):
        shorter = [min(found) for other, found in by_size.items() if other < size]
        nearest = min(shorter, default=1.0)
        kept += [entries[share][-1] for share in sorted(entries)[:_PER_SIZE] if share < nearest]
    return kept


def _front(curve: Curve, written: Iterable[Written]) -> list[Written]:
    """Shortest first, each clearly nearer than all shorter ones; of one size the nearest, and rivals about as near."""
    front: list[Written] = []
    shorter = size = 0
    for item in sorted(written, key=_length_and_error):
        if item.core.size > size:
            shorter, size = len(front), item.core.size
        own = front[shorter:]
        limit = min((_GAIN * one.error for one in front[:shorter]), default=np.inf)
        is_rival = len(own) <= _RIVALS and all(_is_rival(curve, item, one) for one in own)
        if max(item.error, EXACT) < limit and is_rival:
            front.append(item)
    while len(front) > _ENTRIES:
        gains = [one.error / other.error for other, one in itertools.pairwise(front[:-1])]
        del front[1 + int(np.argmax(gains))]
    return front


def _length_and_error(item: Written) -> tuple[int, float, str]:
    return item.core.size, _rounded(item.error), str(item.core)


def _is_rival(curve: Curve, item: Written, best: Written) -> bool:
    """Whether noise may be all that makes the best of a size better, and it is another function."""
    own = replace(curve, y=best.found.values(curve))
    distance = float(own.compare(item.found.values(curve)[None])[0])
    return item.error < _RIVAL * best.error and distance > max(_OTHER * best.error, EXACT)


def _name(curve: Curve, item: Written, rows: Sequence[Fitted]) -> Name:
    row = _same_row(curve, item, rows)
    factors, offsets = curve.scale(item.found.values(curve)[None])
    return Name(
        formula=str(item.tree),
        error=item.error,
        size=item.core.size,
        source="catalog" if row else "composed",
        core=str(item.core),
        factor=float(f"{factors[0]:.{_DIGITS}g}"),
        offset=float(f"{offsets[0]:.{_DIGITS}g}"),
        is_plain=item.is_plain,
        activation=row.form.row if row else "",
        hyperparameters=round_constants(curve, row).hyperparameters if row else (),
    )


def _same_row(curve: Curve, item: Written, rows: Sequence[Fitted]) -> Fitted | None:
    """The catalog row that a formula is, up to factor and offset; of several the first with the fewest settings."""
    values = item.found.values(curve)
    own = Curve(curve.x, values, curve.weights)
    if not rows:
        return None
    distances = own.compare(np.array([row.values(curve) for row in rows]))
    limit = max(min(_SAME * item.error, _SAME_AT_MOST), 10 * EXACT)
    alike = [row for row, distance in zip(rows, distances, strict=True) if distance <= limit]
    return min(alike, key=lambda row: (len(row.hyperparameters), not row.is_plain), default=None)


def _rounded(share: float) -> float:
    """To digits that do not depend on the order of additions."""
    return float(f"{max(share, EXACT):.4g}")
