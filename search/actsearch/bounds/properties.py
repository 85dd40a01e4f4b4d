"""Properties that a space may require, decided by bounds or refuted by a point.

They are looked at from -20 to 20, where inputs lie; "bounded" also on growing intervals far beyond, on which a bounded
function does not grow by more than a thousandth. A property that can neither be shown nor refuted is refused: the
reason says where the bound fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from actsearch.bounds.enclosure import enclose
from actsearch.bounds.extremes import bound_magnitude, bound_slope, enclose_values
from actsearch.bounds.interval import Array, Interval
from actsearch.errors import FormulaError
from actsearch.expression import Call, Expression

__all__ = ["PROPERTIES", "find_violation", "is_property"]

_LOW, _HIGH = -20.0, 20.0
_ROUNDING = 1e-6  # of a slope, that counts as none
_SAME = 1e-9  # of a value's scale, by which two count as equal
_FAR = (1e3, 1e6)  # two points that say of most formulas that they grow
_FARTHEST = 1e9  # further out, rounding alone may be larger than what is bounded
_TAIL = (
    2048  # parts from there to the end of the others, each longer than the one before by a share
)
_GROWTH = 1e-3  # share by which the outer half of these parts may exceed the inner one
_CHEAP = 8.0  # of the operators' column ``cost``: gelu has 4, x * sigmoid(x) too
_KINK = 1e-9  # width of a part within which a slope that changes, jumps
_ASIDE = 1e-6  # of a kink
_STEEP = 0.02  # change of slope, as a share of 1 + |slope|, that such a part may have
_MOST_PARTS = 40_000
_LIPSCHITZ = re.compile(r"lipschitz<=(\d+(?:\.\d+)?)")


def is_property(name: object) -> bool:
    """Whether a space may require it."""
    return isinstance(name, str) and (name in PROPERTIES or bool(_LIPSCHITZ.fullmatch(name)))


def find_violation(tree: Expression, names: Iterable[str]) -> str:
    """Why a formula has not all of some properties, with a point that shows it; empty if it has."""
    for name in names:
        bound = _LIPSCHITZ.fullmatch(name)
        try:
            reason = _is_steeper(tree, float(bound[1])) if bound else PROPERTIES[name](tree)
        except FormulaError as error:
            reason = str(error)
        if reason:
            return f"not {name}: {reason}"
    return ""


def _values(tree: Expression, points: Array) -> Array:
    found = enclose(tree, Interval(points, points)).values
    with np.errstate(invalid="ignore"):
        return (found.low + found.high) / 2


def _slope(tree: Expression, x: float) -> float:
    found = enclose(tree, Interval(np.array([x]), np.array([x]))).slopes
    return float((found.low[0] + found.high[0]) / 2)


def _find_kink(tree: Expression) -> str:
    """Halve the parts in which the slope changes much; where it does in the narrowest, it jumps."""
    edges = np.linspace(_LOW, _HIGH, 513)
    low, high = edges[:-1], edges[1:]
    while low.size:
        slopes = enclose(tree, Interval(low, high)).slopes
        steep = slopes.width > _STEEP * (1 + slopes.magnitude)
        steep |= ~np.isfinite(slopes.width)
        low, high = low[steep], high[steep]
        if not low.size:
            return ""
        if high[0] - low[0] < _KINK:
            return next(filter(None, (_describe_kink(tree, x) for x in (low + high) / 2)), "")
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        order = np.argsort(low)
        low, high = low[order], high[order]
        if low.size > _MOST_PARTS:
            return f"its slope changes too fast to be followed, as around x = {float(low[0]):.3g}"
    return ""


def _describe_kink(tree: Expression, x: float) -> str:
    """Slopes and values on either side; empty where they agree, as those of sums of kinks may."""
    at = 0.0 if abs(x) < 1e-8 else x
    before, after = (_slope(tree, x + step) for step in (-_ASIDE, _ASIDE))
    if not abs(after - before) <= _STEEP * (1 + abs(after)):
        return f"its slope goes from {before:.3g} to {after:.3g} at x = {at:.6g}"
    left, right = _values(tree, x + np.array([-_ASIDE, _ASIDE]))
    if not abs(right - left) <= 10 * _ASIDE * (1 + abs(after)):
        return f"it goes from {left:.3g} to {right:.3g} at x = {at:.6g}"
    return ""


def _find_turn(tree: Expression) -> str:
    rising, falling = bound_slope(tree, _LOW, _HIGH)
    if rising.at_most <= _ROUNDING or falling.at_most <= _ROUNDING:
        return ""
    if rising.reached > _ROUNDING and falling.reached > _ROUNDING:
        return f"it rises at x = {rising.point:.3g} and falls at x = {falling.point:.3g}"
    doubtful = falling if falling.reached <= _ROUNDING else rising
    return f"nothing rules out that it turns around x = {doubtful.doubtful:.3g}"


def _grows(tree: Expression) -> str:
    near = bound_magnitude(tree, _LOW, _HIGH)
    if not np.isfinite(near.at_most):
        return f"nothing bounds it around x = {near.doubtful:.3g}"
    for side in (-1.0, 1.0):
        with np.errstate(all="ignore"):
            far, farther = np.abs(_values(tree, side * np.array(_FAR)))
        if not np.isfinite(farther) or farther > 1.01 * max(far, near.at_most):
            return _describe_size(farther, side * _FAR[1])
        if reason := _tail_grows(tree, side, max(1.0, near.at_most)):
            return reason
    return ""


def _tail_grows(tree: Expression, side: float, scale: float) -> str:
    """Why it is not bounded on one side: bounds on growing intervals, and values within each of them."""
    edges = np.geomspace(_HIGH, _FARTHEST, _TAIL + 1)
    near, far = edges[:-1] * side, edges[1:] * side
    parts = Interval(np.minimum(near, far), np.maximum(near, far))
    middles = (near + far) / 2
    bounds = enclose_values(tree, parts).magnitude
    reached = np.nan_to_num(np.abs(_values(tree, middles)), nan=0.0)
    half = _TAIL // 2
    inner = float(np.max(bounds[:half], where=np.isfinite(bounds[:half]), initial=0.0))
    allowed = inner + _GROWTH * max(inner, scale)
    if reached[half:].max() > allowed:
        worst = half + int(np.argmax(reached[half:]))
        return _describe_size(reached[worst], middles[worst])
    if not np.isfinite(bounds).all():
        return f"nothing bounds it around x = {middles[~np.isfinite(bounds)][0]:.3g}"
    if bounds[half:].max() > allowed:
        doubtful = middles[half + int(np.argmax(bounds[half:] > allowed))]
        return f"nothing rules out that it grows, as around x = {doubtful:.3g}"
    return ""


def _describe_size(size: float, x: float) -> str:
    return f"it is {size:.3g} in size at x = {x:.3g}"


def _is_steeper(tree: Expression, steepest: float) -> str:
    for bound in bound_slope(tree, _LOW, _HIGH, close=_ROUNDING):
        if bound.reached > steepest + _ROUNDING:
            return f"its slope is {bound.reached:.4g} in size at x = {bound.point:.4g}"
        if bound.at_most > steepest * (1 + 1e-5) + _ROUNDING:
            return f"nothing bounds its slope by {steepest:g} around x = {bound.doubtful:.4g}"
    return ""


def _mirror(sign: float) -> Callable[[Expression], str]:
    def compare(tree: Expression) -> str:
        points = np.linspace(0, _HIGH, 2003)[1:]
        right, left = _values(tree, points), _values(tree, -points)
        with np.errstate(invalid="ignore"):
            gap = np.abs(right - sign * left)
            unequal = ~(gap <= _SAME * np.maximum(1, np.abs(right)))
        if not unequal.any():
            return ""
        worst = int(np.nanargmax(np.where(unequal & np.isfinite(gap), gap, -1)))
        x = float(points[worst])
        return f"f({x:.4g}) is {right[worst]:.4g} and f({-x:.4g}) is {left[worst]:.4g}"

    return compare


def _costs(tree: Expression) -> str:
    cost = sum(node.row.cost for node in tree.walk() if isinstance(node, Call))
    return f"its operators cost {cost:g} additions, more than {_CHEAP:g}" if cost > _CHEAP else ""


def _has_no_table(tree: Expression) -> str:
    if any(parameter.per == "channel" for parameter in tree.parameters):
        return "it learns for each channel, and a table holds one function"
    bound = bound_magnitude(tree, _LOW, _HIGH)
    return (
        "" if np.isfinite(bound.at_most) else f"nothing bounds it around x = {bound.doubtful:.3g}"
    )


PROPERTIES: Mapping[str, Callable[[Expression], str]] = MappingProxyType(
    {
        "smooth": _find_kink,
        "monotone": _find_turn,
        "bounded": _grows,
        "odd": _mirror(-1.0),
        "even": _mirror(1.0),
        "cheap": _costs,
        "onnx": lambda tree: (
            ""
        ),  # every operator is exported; rows that are no formula are refused before
        "int8": _has_no_table,
    }
)
"""By name, why a formula lacks it; ``lipschitz<=K`` besides, for any number K."""
