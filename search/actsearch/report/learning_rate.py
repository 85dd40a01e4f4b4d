"""The learning rate that a study has chosen, as it is stored with the study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from actsearch.checks import is_integer, is_number

__all__ = ["RATE", "ChosenRate", "chosen_rate", "rate_trainings"]

RATE = "learning_rate"
"""Key of the study's user attributes: the rates that were tried, with their scores, and the one that is used.

Until one is chosen it has the scores that are there; it is absent where none is to be chosen, as in studies that were
stored before."""


class ChosenRate(NamedTuple):
    """A learning rate that trials train with in the place of the task's own."""

    given: float
    used: float

    def __str__(self) -> str:
        chosen = f"Trials trained with learning rate {self.used:.3g}"
        return f"{chosen}, which the study chose in the place of {self.given:.3g}."


def chosen_rate(attrs: Mapping[str, Any]) -> ChosenRate | None:
    """From a study's user attributes; None where trials train with the task's own rate."""
    if not isinstance(known := attrs.get(RATE), Mapping):
        return None
    match known.get("given"), known.get("used"):
        case (float() | int() as given, float() | int() as used):
            sound = all(is_number(rate) and 0 < rate < math.inf for rate in (given, used))
            return ChosenRate(float(given), float(used)) if sound and given != used else None
    return None


def rate_trainings(attrs: Mapping[str, Any]) -> int:
    """How many trainings the choice took so far; of versions that did not count them, the first under each rate."""
    if not isinstance(known := attrs.get(RATE), Mapping):
        return 0
    if is_integer(count := known.get("trainings")) and count >= 0:
        return int(count)
    tried = known.get("tried", known.get("unfinished"))
    return len(tried) if isinstance(tried, list) else 0
