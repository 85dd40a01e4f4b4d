"""How fast a study goes on, and how far it is with what it has proposed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from actsearch.records import TrialState

__all__ = ["Pace", "pace_of"]

_RECENT = 50  # trials from which the rate is taken
_TOGETHER = pd.Timedelta(
    5, "ms"
)  # earlier versions wrote a moment of its own for each trial of a batch
_TRAINED = [state.value for state in TrialState if state.is_trained]
_OPEN = [state.value for state in TrialState if state.is_open]


@dataclass(frozen=True)
class Pace:
    """Where a running study is. How many trials were asked for is not stored: the batch is what is known to come.

    Attributes:
        batch: 1-based number of the newest logical batch.
        size: how many trials of it are trained or to be trained.
        done: how many of those have ended.
        per_hour: trained trials an hour, from the latest ones; None before two have ended.
        left: seconds until the batch has ended at that rate; None where that is unknown or nothing is left.
    """

    batch: int
    size: int
    done: int
    per_hour: float | None
    left: float | None


def pace_of(trials: pd.DataFrame) -> Pace:
    """Tell the pace from the trials of a study.

    Args:
        trials: at least one, as :data:`actsearch.report.COLUMNS`.
    """
    batches = (trials["created"].diff() > _TOGETHER).cumsum()
    newest = trials["state"][batches == batches.iloc[-1]]
    done = int(newest.isin(_TRAINED).sum())
    still_open = int(newest.isin(_OPEN).sum())
    ended = trials["completed"].dropna().nlargest(_RECENT)
    per_hour = None
    if len(ended) > 1:
        hours = (ended.iloc[0] - ended.iloc[-1]).total_seconds() / 3600
        per_hour = (len(ended) - 1) / hours if hours > 0 else None
    left = 3600 * still_open / per_hour if per_hour and still_open else None
    return Pace(int(batches.iloc[-1]) + 1, done + still_open, done, per_hour, left)
