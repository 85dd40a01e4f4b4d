"""What an answer may take: so many trainings, or so much time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from actsearch.checks import is_integer
from actsearch.errors import StudyError
from actsearch.study.times import format_seconds

__all__ = ["Budget", "parse_budget"]

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "sec": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


@dataclass(frozen=True)
class Budget:
    """How much one answer may take, over all calls.

    Attributes:
        trainings: at most so many; None where time is the limit.
        seconds: at most so long; None where trainings are counted.
    """

    trainings: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.trainings is not None:
            return f"{self.trainings} trainings"
        assert self.seconds is not None
        return format_seconds(self.seconds)


def parse_budget(budget: Any) -> Budget:
    """Read ``60`` (trainings), ``"3h"``, ``"1h30m"``, ``"45 min"``, ``"90s"``, or a timedelta.

    Raises:
        StudyError: it is none of these, or nothing at all.
    """
    if is_integer(budget) and budget >= 1:
        return Budget(trainings=int(budget))
    if isinstance(budget, timedelta) and budget > timedelta(0):
        return Budget(seconds=budget.total_seconds())
    if isinstance(budget, str):
        text = budget.strip().lower()
        if text.isascii() and text.isdecimal() and int(text) >= 1:
            return Budget(trainings=int(text))
        parts = _PART.findall(text)
        is_whole = "".join(_PART.split(text)[::3]) == "" and bool(parts)
        if is_whole and all(unit in _UNITS for _, unit in parts):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
            if 0 < seconds < math.inf:
                return Budget(seconds=seconds)
    raise StudyError(
        f"budget={budget!r}: give a number of trainings, as 60, or a time with its unit, as '3h', '45m' or '90s'"
    )
