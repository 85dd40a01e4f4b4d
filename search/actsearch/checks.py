"""Checks of what users give: each returns the value in Python's own type, or raises one form of sentence.

``name must be a positive integer, not 0``: the name, what is allowed, and the ``repr`` of what was given. A bool is
no number here, numpy's integers and floats are, and what is returned can be written as JSON.
"""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard, TypeVar

__all__ = [
    "check_integer",
    "is_integer",
    "is_number",
    "check_known",
    "nearest",
    "check_number",
    "check_one_of",
    "check_field",
    "check_share",
    "short_repr",
]

T = TypeVar("T")
_Error = Callable[[str], Exception]

_LONGEST_NAME = 100  # of what a similar name is looked for; difflib takes long for long ones
_MOST_LISTED = 40  # names in a message
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 20


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer of any library, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number of any library, finite or not, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_integer(
    name: str,
    value: object,
    error: _Error,
    *,
    low: int | None = None,
    high: int | None = None,
) -> int:
    """An integer within a closed range."""
    if not is_integer(value) or not _is_within(value, low, high):
        raise error(f"{name} must be {_range('an integer', low, high)}, not {short_repr(value)}")
    return int(value)


def check_number(
    name: str,
    value: object,
    error: _Error,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    finite: bool = True,
) -> float:
    """A number within a closed range, or larger than ``above``; an integer stays one. NaN is refused in any case."""
    if (
        not is_number(value)
        or math.isnan(value)
        or (finite and not math.isfinite(value))
        or not _is_within(value, low, high)
        or (above is not None and not value > above)
    ):
        wanted = _range("a number", low, high) if above is None else f"a number above {above:g}"
        raise error(f"{name} must be {wanted}, not {short_repr(value)}")
    return int(value) if is_integer(value) else float(value)


def check_share(name: str, value: object, error: _Error) -> float:
    """A number from 0 to 1."""
    return check_number(name, value, error, low=0, high=1)


def check_one_of(name: str, value: object, choices: Sequence[T], error: _Error) -> T:
    """The choice that is equal and of the same kind: True is not 1, and "2" is not 2."""
    for choice in choices:
        if _is_same(value, choice):
            return choice
    *most, last = map(repr, choices)
    wanted = f"{', '.join(most)} or {last}" if most else last
    raise error(f"{name} must be {wanted}, not {short_repr(value)}")


def check_known(kind: str, name: object, names: Iterable[str], error: _Error) -> str:
    """A name of a table, or the nearest ones in the message."""
    names = list(names)
    if not isinstance(name, str) or name not in names:
        raise error(f"unknown {kind} {short_repr(name)}{nearest(name, names)}")
    return name


def check_field(
    owner: object, field: str, check: Callable[..., Any], error: _Error, **limits: Any
) -> None:
    """Check a field of a frozen dataclass in its ``__post_init__``, and keep what the check returns."""
    object.__setattr__(owner, field, check(field, getattr(owner, field), error, **limits))


def nearest(name: object, names: Iterable[str]) -> str:
    """A hint for a misspelt name: ``"; did you mean 'relu'?"``, or the known names."""
    names = sorted(names)
    lowered = {item.lower(): item for item in names}  # ReLU is meant to be relu
    text = str(name)[:_LONGEST_NAME].lower()
    if close := difflib.get_close_matches(text, lowered, n=3, cutoff=0.6):
        return "; did you mean " + " or ".join(repr(lowered[item]) for item in close) + "?"
    listed = ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")
    return f"; known: {listed}" if names else ""


def short_repr(value: object) -> str:
    """A value as Python writes it, shortened where it is long."""
    return _REPR.repr(value)


def _is_within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _range(what: str, low: float | None, high: float | None) -> str:
    lowest, highest = (f"{end:g}" if isinstance(end, float) else end for end in (low, high))
    if low is not None and high is not None:
        return f"{what} from {lowest} to {highest}"
    if high is not None:
        return f"{what} of at most {highest}"
    if low is not None:
        is_positive = (what, low) == ("an integer", 1)
        return "a positive integer" if is_positive else f"{what} of at least {lowest}"
    return what if what == "an integer" else "a finite number"


def _is_same(value: object, choice: object) -> bool:
    if value is choice:
        return True
    of_one_kind = (is_number(value) and is_number(choice)) or (
        isinstance(value, str) and isinstance(choice, str)
    )
    return of_one_kind and value == choice
