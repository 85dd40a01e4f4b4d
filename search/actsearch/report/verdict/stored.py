"""The door for stored verdicts: what goes through it is a valid activation, a number, or one line of text.

A database may have been changed by another program, and what a verdict holds goes into code that people paste. So
nothing is kept as it was stored: activations are made anew from the catalog and the formula language, and texts lose
what a terminal, a source file or a spreadsheet could take for more than text. No torch here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from actsearch.activation_catalog import CATALOG
from actsearch.checks import is_number
from actsearch.errors import ActsearchError
from actsearch.expression import parse
from actsearch.records import ActivationRecord, CandidateRecord
from actsearch.storage import tolerant
from actsearch.storage.tolerant import UNREADABLE, one_line

__all__ = [
    "Placed",
    "read_digest",
    "read_number",
    "read_numbers",
    "read_word",
    "read_placed",
    "read_share",
    "read_count",
    "rebuild_activation",
]

_NONFINITE = ("nan", "inf", "-inf")  # as JSON data has them


class Placed(NamedTuple):
    """What a line of a verdict placed into the model.

    Attributes:
        formula: its formula, or the label of the baseline.
        label: short text for tables.
        activation: as JSON data; None for the model unchanged, and for what cannot be read.
    """

    formula: str
    label: str
    activation: Mapping[str, Any] | None


def read_placed(data: Mapping[str, Any]) -> Placed:
    """The activation of a stored line, made anew; formula and label say "unreadable" where there is no valid one."""
    stored = data.get("activation")
    if stored is None:
        return Placed(one_line(data["formula"]), one_line(data["label"]), None)
    try:
        groups = _groups(CandidateRecord.groups_in(stored))
        record = CandidateRecord({group: _activation(item) for group, item in groups})
    except (ActsearchError, TypeError, ValueError, OverflowError) as error:
        return Placed(one_line(f"{UNREADABLE}: {error}"), UNREADABLE, None)
    return Placed(record.formula, record.label, record.to_json())


def _groups(stored: Any) -> list[tuple[str, Any]]:
    if not isinstance(stored, dict) or not stored:
        raise ValueError("its groups of sites are not a mapping")
    for group in stored:
        if not group.isprintable():
            raise ValueError(f"'{one_line(group)}' is not a name of sites")
    return list(stored.items())


def _activation(item: Any) -> ActivationRecord:
    stored = tolerant.activation(item)
    if stored.formula.startswith(UNREADABLE):
        raise ValueError(stored.formula.removeprefix(f"{UNREADABLE}: "))
    return rebuild_activation(stored)


def rebuild_activation(stored: ActivationRecord) -> ActivationRecord:
    """The same activation as the catalog and the formula language write it: nothing is kept as it was stored.

    Raises:
        ActsearchError: it cannot be read; ValueError, TypeError and OverflowError likewise.
    """
    if stored.name is None:
        formula = str(parse(stored.formula))
        return ActivationRecord(formula, label=formula)
    row = CATALOG[stored.name]
    values = row.bind(stored.hyperparameters)
    # the start of a fitted row is fitted with torch: here its stored formula has to do, which is read as any other
    formula = str(parse(stored.formula)) if row.fitted else row.text(values)
    return ActivationRecord(formula, row.name, values, one_line(row.label(values)))


def read_number(value: Any) -> float:
    """A number; one that is not finite is a text in JSON data.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, str) and value in _NONFINITE:
        return float(value)
    if not is_number(value):
        raise ValueError(f"{one_line(value, _SHORT)!r} is not a number")
    return float(value)


def read_numbers(values: Any) -> tuple[float, ...]:
    """A list of numbers; ValueError for anything else."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{one_line(values, _SHORT)!r} is not a list of numbers")
    return tuple(read_number(value) for value in values)


def read_count(value: Any, low: int = 0) -> int:
    """A whole number from ``low`` on; ValueError for anything else."""
    if type(value) is not int or not low <= value <= _LARGEST:
        raise ValueError(f"{one_line(value, _SHORT)!r} is not a whole number from {low} on")
    return value


def read_word(word: Any, words: Any) -> Any:
    """One of the words of a Literal; ValueError for anything else."""
    if not isinstance(word, str) or word not in get_args(words):
        raise ValueError(f"{one_line(word, _SHORT)!r} is not one of {', '.join(get_args(words))}")
    return word


def read_share(value: Any) -> float:
    """A number from 0 to 1; ValueError for anything else."""
    share = read_number(value)
    if math.isnan(share) or not 0 <= share <= 1:
        raise ValueError(f"{share} is not a share")
    return share


def read_digest(value: Any) -> str | None:
    """A digest in hexadecimal digits; None for anything else, as what cannot be read is not known."""
    return value if isinstance(value, str) and _DIGEST.fullmatch(value) else None


_DIGEST = re.compile(r"[0-9a-f]{16,64}")
_SHORT = 40
_LARGEST = 2**63 - 1  # what a database holds
