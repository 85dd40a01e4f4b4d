"""Reading what somebody else may have written into a database: what is not of its kind becomes nothing of that kind.

One row that was tampered with must not keep the others from being read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from actsearch.records import ActivationRecord, TrialState

__all__ = [
    "activation",
    "json_value",
    "mapping",
    "number",
    "settings",
    "state",
    "texts",
    "whole_numbers",
]

_SHOWN = 200


def json_value(text: Any) -> Any:
    """JSON as data; None for text that is none."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object."""
    return value if isinstance(value, dict) else {}


def settings(value: Any) -> Mapping[str, Any] | None:
    """A JSON object, or None where there is none."""
    return value if isinstance(value, dict) else None


def texts(value: Any) -> tuple[str, ...]:
    """A JSON list of texts."""
    return tuple(map(str, value)) if isinstance(value, list) else ()


def whole_numbers(value: Any) -> tuple[int, ...]:
    """A JSON list of integers."""
    return tuple(item for item in value if type(item) is int) if isinstance(value, list) else ()


def number(value: Any, text: Any = None) -> float | None:
    """A number, or the one that a text beside it names; NaN for what is neither."""
    if value is None and text is None:
        return None
    try:
        return float(value if text is None else text)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def state(text: Any) -> tuple[TrialState, str]:
    """A state; for a word that is none, FAILED with a reason."""
    try:
        return TrialState(text), ""
    except ValueError:
        return TrialState.FAILED, f"its stored state {str(text)[:_SHOWN]!r} is none"


def activation(item: Any) -> ActivationRecord:
    """A stored activation; what is none becomes a formula that no reader takes."""
    if isinstance(item, dict):
        name, given = item.get("name"), item.get("hyperparameters")
        if (name is None or isinstance(name, str)) and isinstance(given, dict):
            return ActivationRecord(
                str(item.get("formula")), name, given, str(item.get("label", ""))
            )
    return ActivationRecord(f"unreadable: {str(item)[:_SHOWN]}", label="unreadable")
