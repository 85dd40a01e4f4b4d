"""Records as JSON data."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["to_json_data"]


def to_json_data(value: Any) -> Any:
    """Records, moments and enums as what JSON has; a number that is not finite is a text ("nan", "inf", "-inf")."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # what begins with _ is a way to read more, not data
        names = [item.name for item in dataclasses.fields(value) if item.name[0] != "_"]
        return {name: to_json_data(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_data(item) for item in value]
    return value
