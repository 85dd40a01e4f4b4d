"""When a call of optimize ends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from actsearch.checks import check_field, check_integer, check_number
from actsearch.errors import StudyError
from actsearch.records import RunGoal

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """When an optimize ends; see :meth:`actsearch.Study.optimize`."""

    n_trials: int | None
    total_trials: int | None
    timeout: float | None

    def __post_init__(self) -> None:
        for name in ("n_trials", "total_trials"):
            if getattr(self, name) is not None:
                check_field(self, name, check_integer, StudyError, low=0)
        if self.timeout is not None:
            check_number("timeout (seconds)", self.timeout, StudyError, above=0, finite=False)

    def remaining(self, trained_here: int, trained_in_all: int) -> int | None:
        """How many more trials may be trained; None for no limit on their number."""
        left = []
        if self.n_trials is not None:
            left.append(self.n_trials - trained_here)
        if self.total_trials is not None:
            left.append(self.total_trials - trained_in_all)
        return max(0, min(left)) if left else None

    def run_goal(self, left: int | None, trained: int) -> RunGoal:
        """What a search says that begins now, with so many trials left of so many trained."""
        until = None
        if self.timeout is not None:
            with contextlib.suppress(OverflowError):  # later than any date
                until = datetime.now(UTC) + timedelta(seconds=self.timeout)
        return RunGoal("search", None if left is None else trained + left, until)
