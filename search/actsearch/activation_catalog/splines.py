"""A function that is given by points: linear between them, and beyond the last ones as between the last two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from actsearch.activation_catalog.rows import Hyperparameter, Row, Value
from actsearch.checks import short_repr
from actsearch.errors import ActivationError
from actsearch.expression import Limits

__all__ = ["MOST_POINTS", "SPLINES", "format_points", "parse_points", "spline_pieces"]

MOST_POINTS = 40
"""Of one function: a formula of as many hinges still keeps the limits of the language."""

_FEWEST_POINTS = 2
_DIGITS = 9  # of a coordinate, as text
Point = tuple[float, float]


def format_points(x: Sequence[float], y: Sequence[float]) -> str:
    """Points as the text that :func:`parse_points` reads.

    Args:
        x: coordinates, ascending.
        y: values there.
    """
    pairs = zip(x, y, strict=True)
    return " ".join(f"{float(a):.{_DIGITS}g}:{float(b):.{_DIGITS}g}" for a, b in pairs)


def parse_points(text: str) -> tuple[Point, ...]:
    """The points of a text as ``"-1:0 0:0 1:1"``.

    Raises:
        ActivationError: they are no 2 to 40 pairs of finite numbers with ascending x.
    """
    try:
        pairs = [tuple(map(float, item.split(":"))) for item in text.split()]
        points = tuple((a, b) for a, b in pairs)
    except ValueError:
        points = ()
    sound = all(abs(number) <= Limits.NUMBER for point in points for number in point)
    ascends = all(a[0] < b[0] for a, b in itertools.pairwise(points))
    if not sound or not ascends or not _FEWEST_POINTS <= len(points) <= MOST_POINTS:
        raise ActivationError(
            f"linear_spline: points must be {_FEWEST_POINTS} to {MOST_POINTS} pairs of numbers x:y with ascending x, "
            f"as '-1:0 0:0 1:1', not {short_repr(text)}"
        )
    return points


def spline_pieces(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Offset and slope of each piece from the left: ``offset + slope * x``; one fewer than points."""
    lines = []
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        slope = (next_y - y) / (next_x - x)
        lines.append((y - slope * x, slope))
    return lines


def _write(values: Mapping[str, Value]) -> str:
    """The same function as a sum of a line and a hinge at each inner point."""
    points = parse_points(str(values["points"]))
    lines = spline_pieces(points)
    terms = [f"({lines[0][0]!r})", f"({lines[0][1]!r}) * x"]
    for (x, _), (left, right) in zip(points[1:], itertools.pairwise(lines), strict=False):
        bend = right[1] - left[1]
        if bend and math.isfinite(bend):
            terms.append(f"({bend!r}) * relu(x - ({x!r}))")
    # in pairs, so that a long sum is not a deep one
    while len(terms) > 1:
        pairs = itertools.zip_longest(terms[::2], terms[1::2])
        terms = [a if b is None else f"({a} + {b})" for a, b in pairs]
    return terms[0]


SPLINES: tuple[Row, ...] = (
    Row(
        "linear_spline",
        "max(x, 0)",
        "linear between given points; as an activation Unser 2019, arXiv:1802.09210 (deep spline networks)",
        2019,
        (Hyperparameter("points", "-1:0 0:0 1:1", searched=False),),
        given=True,
        writer=_write,
    ),
)
