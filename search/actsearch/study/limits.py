"""When a call of optimize or confirm ends."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from actsearch.checks import check_field, check_integer, check_number
from actsearch.errors import StudyError
from actsearch.records import RunGoal

__all__ = ["ConfirmLimits", "Limits"]


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


@dataclass(frozen=True)
class ConfirmLimits:
    """When a verdict ends before its answer is known; see :meth:`actsearch.Study.confirm`.

    Attributes:
        budget: trainings in all, those of interrupted calls included; None for any number.
        timeout: seconds; None for any time.
        named: what the limit is called, where it is part of a larger one.
        takes_interrupt: whether Ctrl-C ends it like a limit, with what is known by then, and not by an exception.
        began: of the monotonic clock.
    """

    budget: int | None = None
    timeout: float | None = None
    named: str = ""
    takes_interrupt: bool = False
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_field(self, "budget", check_integer, StudyError, low=1)
        if self.timeout is not None:
            check_number("timeout (seconds)", self.timeout, StudyError, above=0, finite=False)

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self.budget is not None or self.timeout is not None

    def run_goal(self, trainings: int) -> RunGoal:
        """What a verdict of about so many trainings says."""
        if self.budget is not None:
            trainings = min(trainings, self.budget)
        until = None
        if self.timeout is not None:
            with contextlib.suppress(OverflowError):  # later than any date
                until = datetime.now(UTC) + timedelta(seconds=self.timeout - self.spent)
        return RunGoal("confirm", trainings, until)

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def __str__(self) -> str:
        if self.named:
            return self.named
        if self.timeout is None:
            return f"the budget of {self.budget} trainings"
        if self.budget is None:
            return f"the timeout of {self.timeout:g} s"
        return f"the budget of {self.budget} trainings and {self.timeout:g} s"
