"""How fast a study goes on, and how far it is with what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from actsearch.records import BASELINE, RunGoal
from actsearch_dashboard.filters import OPEN, TRAINED

__all__ = ["Pace", "measure_pace"]

_RECENT = 50  # trials from which the rate is taken: the pace of now, and not of one lucky trial
_TOGETHER = pd.Timedelta(5, "ms")  # earlier versions wrote a moment for each trial of a batch


@dataclass(frozen=True)
class Pace:
    """Where a running study is.

    Attributes:
        batch: 1-based number of the newest logical batch.
        size: how many trials were asked for; where no number was, how many of the newest batch are trained or to be.
        done: how many of those have ended.
        has_target: whether ``size`` is what was asked for.
        per_hour: trained trials an hour, from the latest ones; None before there are two moments to tell it from.
        left: seconds until all of ``size`` have ended at that rate, or the time that was asked for is over; None where
            that is unknown or nothing is left.
    """

    batch: int
    size: int
    done: int
    has_target: bool
    per_hour: float | None
    left: float | None


def measure_pace(
    trials: pd.DataFrame, goal: RunGoal | None = None, now: datetime | None = None
) -> Pace:
    """Tell the pace from the trials of a study.

    Args:
        trials: at least one, as :data:`actsearch.report.COLUMNS`.
        goal: what its driver has said.
        now: the present moment.
    """
    # the model unchanged is no batch of its own: it is counted with the first one
    created = trials["created"].where(trials["operation"] != BASELINE).bfill()
    batches = (created.diff() > _TOGETHER).cumsum()
    counted = trials["state"]
    target = goal.target if goal is not None else None
    if target is None:
        counted = counted[batches == batches.iloc[-1]]
    done = int(counted.isin(TRAINED).sum())
    size = done + int(counted.isin(OPEN).sum()) if target is None else max(target, done)
    per_hour = _per_hour(trials["completed"], goal.since if goal is not None else None)
    left = 3600 * (size - done) / per_hour if per_hour and size > done else None
    if goal is not None and goal.until is not None:
        limit = max(0.0, (goal.until - (now or datetime.now(UTC))).total_seconds())
        left = limit if left is None or target is None else min(left, limit)
    return Pace(int(batches.iloc[-1]) + 1, size, done, target is not None, per_hour, left or None)


def _per_hour(completed: pd.Series, since: datetime | None) -> float | None:
    """Rate of the latest trials, not reaching back before the driver began: a study may have rested for days."""
    ended = completed.dropna().sort_values()
    if since is not None:
        ended = ended[ended > since]
    if ended.empty:
        return None
    last = ended.iloc[-1]
    earlier = ended.iloc[:-_RECENT]
    if earlier.empty and since is None:
        earlier = ended.iloc[:1]
    if not earlier.empty and earlier.iloc[-1] == last:  # many end together
        earlier = ended[ended < last]
    start = since if earlier.empty else earlier.iloc[-1]
    if start is None or start >= last:
        return None
    return int((ended > start).sum()) * 3600 / float((last - start).total_seconds())
