"""How long the trials to come are expected to take, by those that ended."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TypeVar

from actsearch.records import Outcome, TrialRecord, TrialState

__all__ = ["TrialTimes"]

T = TypeVar("T")


class TrialTimes:
    """Of a study, as one call of optimize sees it. What failed or was pruned took less than others will."""

    def __init__(self, trials: Iterable[TrialRecord] = ()) -> None:
        """Args:
        trials: that are stored: whether they were trained one by one or together is not.
        """
        stored = [trial.seconds for trial in trials if trial.state is TrialState.COMPLETE]
        self._each = statistics.median(stored) if stored else None
        self._alone = stored[0] if len(stored) == 1 else None

    def note(self, outcomes: Iterable[Outcome], *, is_alone: bool) -> None:
        """Go by those that ended last: more in one pass take less each.

        Args:
            outcomes: of what ended together.
            is_alone: whether that was a trial in a pass of its own.
        """
        whole = [one.seconds for one in outcomes if one.state is TrialState.COMPLETE]
        if whole:
            self._each = statistics.median(whole)
            if is_alone:
                self._alone = whole[0]

    def together(self, gain: float) -> float | None:
        """Seconds of one of several in one pass, as far as is known.

        Args:
            gain: how many times as fast as alone it is. Stored trials have had it already, where they were together.
        """
        return self._each if self._alone is None else self._alone / gain

    def fitting(self, ready: Sequence[T], seconds: float) -> Sequence[T]:
        """Those of what is ready that are expected to end in time, at least one, which shows how long it takes."""
        if self._each is None:
            return ready[:1]
        most = seconds / max(self._each, 1e-9)
        return ready[: max(1, int(min(most, len(ready))))]
