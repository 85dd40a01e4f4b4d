"""Reading values that another program may have written: one of the wrong type becomes an empty one of the right type.

One damaged row must not keep the others from being read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from actsearch.expression import Limits
from actsearch.records import ActivationRecord, TrialState
from actsearch.storage.redaction import escape_unprintable

__all__ = [
    "UNREADABLE",
    "activation",
    "attributes",
    "is_surely_shallow",
    "json_value",
    "mapping",
    "number",
    "one_line",
    "settings",
    "state",
    "text",
    "texts",
    "integer",
    "integers",
]

_SHOWN = 200  # characters of a damaged value in a message
_DEEPEST = 100  # levels of JSON data: code that walks through it recurses
_LONGEST_NAME = 200  # characters of the name of a catalog row
# of a formula: the parser refuses longer ones, so their end is not needed
_LONGEST = Limits.LENGTH

UNREADABLE = "unreadable"
"""Label of an activation that cannot be read; its formula begins with it and says why."""


def json_value(text: Any) -> Any:
    """JSON as data; None for text that is not JSON, or is nested too deeply."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    if len(text) > 2 * _DEEPEST and not _is_shallow(text, value):
        return None
    return value


def _encodable(value: Any) -> Any:
    """The same data with halves of surrogate pairs escaped, which no encoding can write."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list) else value


def is_surely_shallow(text: Any) -> bool:
    """Whether JSON text has too few brackets to be nested too deeply; TypeError for what is not text."""
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"{type(text).__name__} is not JSON text")
    plain_text = text if isinstance(text, str) else text.decode("latin-1")
    return plain_text.count("[") + plain_text.count("{") <= _DEEPEST


def _is_shallow(text: Any, value: Any) -> bool:
    """Whether data is nested at most _DEEPEST levels; few brackets are proof enough."""
    if is_surely_shallow(text):
        return True
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return True
    return False


def one_line(value: Any, width: int = 500) -> str:
    """A value as one line of text of visible characters, all others escaped.

    Control characters, every separator of lines, characters that turn the direction of writing and halves of surrogate
    pairs are escaped, so that neither a terminal nor a reader of source files takes them for more than text.

    Args:
        value: a text, or what is shown as one.
        width: longer ones are cut.
    """
    return _shorten(escape_unprintable(_shorten(str(value), width)), width)


def _shorten(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def text(value: Any) -> str:
    """A text as it is; anything else converted to text, None to ""."""
    return value if type(value) is str else "" if value is None else str(value)


def integer(value: Any) -> int | None:
    """A whole number; None for anything else."""
    return value if type(value) is int else None


def attributes(value: Any) -> Mapping[str, Any]:
    """A JSON object of the user, exactly as it was given."""
    return value if isinstance(value, dict) else {}


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object of ours."""
    return _encodable(value) if isinstance(value, dict) else {}


def settings(value: Any) -> Mapping[str, Any] | None:
    """A JSON object, or None where there is none."""
    return _encodable(value) if isinstance(value, dict) else None


def texts(value: Any) -> tuple[str, ...]:
    """A JSON list of texts."""
    return tuple(str(_encodable(item)) for item in value) if isinstance(value, list) else ()


def integers(value: Any) -> tuple[int, ...]:
    """A JSON list of integers."""
    return tuple(item for item in value if type(item) is int) if isinstance(value, list) else ()


def number(value: Any, text: Any = None) -> float | None:
    """A number, or the non-finite one that the text beside it names; NaN for anything else."""
    if value is None and text is None:
        return None
    try:
        return float(value if text is None else text)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def state(word: Any) -> tuple[TrialState, str]:
    """A state; for a word that is not one, FAILED with a reason."""
    try:
        return TrialState(word), ""
    except ValueError:
        return TrialState.FAILED, f"its stored state {one_line(word, _SHOWN)!r} is not a state"


def activation(item: Any) -> ActivationRecord:
    """A stored activation; anything else becomes a formula that cannot be parsed."""
    if isinstance(item, dict):
        name, given = item.get("name"), item.get("hyperparameters")
        if _is_name(name) and isinstance(given, dict):
            formula, label = str(item.get("formula")), str(item.get("label", ""))
            return ActivationRecord(formula[: _LONGEST + 1], name, given, label[: _LONGEST + 1])
    return ActivationRecord(f"{UNREADABLE}: {one_line(item, _SHOWN)}", label=UNREADABLE)


def _is_name(name: Any) -> bool:
    return name is None or (isinstance(name, str) and len(name) <= _LONGEST_NAME)
