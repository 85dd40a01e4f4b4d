"""Constants made simple: 1, 0, -1, a half or two where the curve allows it, few digits elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from actsearch.activation_catalog import CATALOG, Value
from actsearch.errors import FormulaError
from actsearch.expression import Call, Expression
from actsearch.naming.curve import EXACT, Curve
from actsearch.naming.fitting import fit
from actsearch.naming.form import Form
from actsearch.naming.functions import Numbers

__all__ = ["Fitted", "round_constants", "simplified", "upright"]

_ITERATIONS = 12  # of the other constants, after one is set
_ROUND_ITERATIONS = 4  # of the same, after one is rounded
_WORST = (
    30.0  # times the share of the free form: beyond it, setting more constants is another function
)
_ALIKE = 1e-6  # relative difference of shares of one function written in two ways
_STRAIGHT = (
    1e-3  # share of an operator's variance beside a straight line below which it counts as one
)
_FLIPPED = 3  # constants whose signs change together: a factor, a slope and an offset
_NEAR = 0.6  # a constant is set to values no farther from it than this share of itself, or of 1
_ROUNDING = 1.03  # times the share that fewer digits may leave over
_MOST_DIGITS = 7  # of a constant; single precision has no more


@dataclass(frozen=True)
class Fitted:
    """A form with its constants.

    Attributes:
        form: family of functions.
        constants: their values; (constants,).
        fixed: 1 for those set to a simple value, else 0; (constants,).
        share: of the curve's variance that it leaves over.
    """

    form: Form
    constants: Numbers
    fixed: Numbers
    share: float

    def tree(self) -> Expression | None:
        """The formula; None if it cannot be written, as with a power that overflows."""
        try:
            return self.form.write(self.constants)
        except FormulaError:
            return None

    def values(self, curve: Curve) -> Numbers:
        """Of the form at the points of a curve; (points,)."""
        values: Numbers = self.form.compute(self.constants[None], curve.x)[0]
        return values

    def is_disguised(self, curve: Curve) -> bool:
        """Whether one of its operators is all but a straight line where it is used, as ``sigmoid(0.1 * f)`` is.

        Such an operator stands for a factor and an offset in fewer nodes; without it the formula says the same.
        """
        return any(
            isinstance(node, Call)
            and len(node.arguments) == 1
            and _straightness(curve, node) < _STRAIGHT
            for node in self.form.put(self.constants).tree.walk()
        )

    @property
    def is_plain(self) -> bool:
        """Whether a catalog row stands as it is, without slope and offset."""
        count = len(self.constants) - len(self.form.free)
        return tuple(self.constants[:count]) == (1.0, 0.0)[:count]

    @property
    def hyperparameters(self) -> tuple[tuple[str, Value], ...]:
        """Those of a catalog row that are not at their defaults."""
        count = len(self.form.free)
        fitted = zip(self.form.free, self.constants[len(self.constants) - count :], strict=True)
        defaults = {item.name: item.default for item in CATALOG[self.form.row].hyperparameters}
        changed = [(name, float(value)) for name, value in fitted if value != defaults[name]]
        return (*self.form.given, *changed)


def _straightness(curve: Curve, call: Call) -> float:
    """Share of the variance of a call that is not linear in its argument."""
    both = [Form(tree) for tree in (call, call.arguments[0])]
    values, argument = (form.compute(form.start[None], curve.x) for form in both)
    own = replace(curve, y=values[0])
    return float(own.compare(argument)[0]) if own.variance > 0 else 0.0


def upright(curve: Curve, found: Fitted) -> Fitted:
    """With as few negative constants as give the same function: ``sin(2 * x)``, not ``-1 * sin(-2 * x)``."""
    count = len(found.constants)
    depths = found.form.depths
    flips = [np.ones(count)]
    for places in itertools.chain.from_iterable(
        itertools.combinations(range(count), number) for number in range(1, _FLIPPED + 1)
    ):
        flips.append(np.ones(count))
        flips[-1][list(places)] = -1.0
    for _ in range(count):
        tried = found.constants * np.array(flips)
        shares = curve.compare(found.form.compute(tried, curve.x))
        inside = ((tried >= found.form.bounds[0]) & (tried <= found.form.bounds[1])).all(axis=1)
        same = inside & (np.abs(shares - found.share) <= _ALIKE * max(found.share, EXACT))
        # an outer minus becomes a difference
        cost = np.where(same, (tried < 0) @ depths, np.inf)
        best = int(np.argmin(cost))
        if not cost[best] < (found.constants < 0) @ depths:
            break
        found = replace(found, constants=tried[best])
    return found


def simplified(curve: Curve, found: Fitted) -> Iterator[Fitted]:
    """The form as it is, then with one more constant set to a simple value each, the one that costs least first."""
    yield found
    limit = max(found.share, EXACT) * _WORST
    while not found.fixed.all():
        options = list(_options(found))
        if not options:
            return
        starts = np.repeat(found.constants[None], len(options), axis=0)
        fixed = np.repeat(found.fixed[None], len(options), axis=0)
        for row, (place, value) in enumerate(options):
            starts[row, place], fixed[row, place] = value, 1.0
        constants, shares = fit(found.form, curve, starts, _ITERATIONS, fixed)
        # the first of those that are equally good, so that last bits do not decide
        best = int(np.argmin(np.round(np.log(np.maximum(shares, EXACT)), 3)))
        if shares[best] > limit:
            return
        found = Fitted(found.form, constants[best], fixed[best], float(shares[best]))
        yield found


def _options(found: Fitted) -> Iterator[tuple[int, float]]:
    # inner ones first, for among equally good ones the first is taken: relu(x) + 0.3 * sin(x) can still be scaled
    # without further nodes, relu(3.3 * x) + sin(x) cannot
    for place in sorted(range(len(found.constants)), key=lambda place: -found.form.depths[place]):
        values = found.form.simple[place]
        if not found.fixed[place]:
            now = float(found.constants[place])
            reach = _NEAR * max(abs(now), 1.0)
            # the first, 1 or a default, also from afar: another constant may make it good, as the slope of a relu
            near = [value for value in values if value == values[0] or abs(value - now) <= reach]
            yield from ((place, value) for value in near)


def round_constants(curve: Curve, found: Fitted) -> Fitted:
    """With as few digits as leave the share as it is, to a few hundredths."""
    found = upright(curve, found)
    for place in range(len(found.constants)):
        if found.fixed[place]:
            continue
        digits = range(1, _MOST_DIGITS + 1)
        values = [float(f"{found.constants[place]:.{count}g}") for count in digits]
        starts = np.repeat(found.constants[None], len(values), axis=0)
        starts[:, place] = values
        fixed = np.repeat(found.fixed[None], len(values), axis=0)
        fixed[:, place] = 1.0
        constants, shares = fit(found.form, curve, starts, _ROUND_ITERATIONS, fixed)
        allowed = max(found.share, EXACT) * _ROUNDING
        good = np.flatnonzero(shares <= allowed)
        row = int(good[0]) if len(good) else len(values) - 1
        found = Fitted(found.form, constants[row], fixed[row], float(shares[row]))
    return found
