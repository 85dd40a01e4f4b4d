"""What an answer says where there is none yet, and of what it rests on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from actsearch.records import TrialRecord, TrialState
from actsearch.report import INTERRUPTED, LOOKS, PairedTest, leaderboard
from actsearch.report.verdict.table import format_value
from actsearch.study.study import Study

__all__ = ["ONE_RATE", "describe_best", "describe_visible", "say_unanswered"]

_ENOUGH = 4  # scores from which a deviation is told

ONE_RATE = " All were trained at your model's learning rate alone: a larger budget tries others for each of them."
"""Behind the sentence of a verdict in which no other rate was tried, though others could have been."""


def describe_best(trained: Sequence[TrialRecord], direction: str | None, metric: str) -> str:
    """What leads on validation data.

    Args:
        trained: trials, that of the model unchanged among them.
        direction: which way is better.
        metric: what is scored.
    """
    own = next((trial for trial in trained if trial.candidate.is_baseline), None)
    ranked = leaderboard(trained, direction)
    best = next((trial for trial in ranked if not trial.candidate.is_baseline), None)
    if best is None or best.value is None:
        others = len(trained) - (own is not None)
        if others:
            return f"{others} {'trial' if others == 1 else 'trials'} besides your model unchanged, none complete"
        return "nothing was tried" + (" but your model unchanged" if own is not None else "")
    beside = ""
    if own is not None and own.value is not None:
        beside = f", your model unchanged {format_value(own.value)}"
    return (
        f"{len(trained)} trials; {best.candidate.label} leads on validation data ({metric} "
        f"{format_value(best.value)}{beside}), which is partly luck"
    )


def describe_visible(
    trained: Sequence[TrialRecord], seeds: int, study: Study, finalists: int
) -> str:
    """Which difference a verdict will show, where noise was measured; else "".

    By the last verdict, or, before one, by how the scores of trials differ between seeds, where there are several.

    Args:
        trained: trials.
        seeds: of a trial.
        study: theirs, with its verdicts.
        finalists: of the verdict.
    """
    least = math.inf
    spreads = [
        one.spread
        for one in trained
        if one.state is TrialState.COMPLETE and one.spread is not None
    ]
    if verdicts := study.verdicts:
        least = verdicts[-1].visible_difference
    elif seeds > 1 and seeds * len(spreads) >= _ENOUGH:
        deviation = math.sqrt(2 * statistics.fmean(spread**2 for spread in spreads))
        # of a difference to either side
        least = PairedTest(finalists, "maximize", LOOKS).visible(deviation, LOOKS[-1])
    if not 0 < least < math.inf:
        return ""
    return f"a difference of about {format_value(least)} would show"


def say_unanswered(why: str, best: str) -> str:
    """That there is no verdict yet.

    Args:
        why: what ended the call.
        best: what :func:`describe_best` says.
    """
    again = "The same call" if why.startswith(INTERRUPTED) else "With a larger budget it"
    return f"No answer yet: {why}. So far: {best}. {again} goes on from there."
