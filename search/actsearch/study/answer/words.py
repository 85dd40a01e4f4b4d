"""What an answer says where there is none yet, and of what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from actsearch.records import TrialRecord
from actsearch.report import INTERRUPTED, leaderboard
from actsearch.report.verdict.table import format_value

__all__ = ["ONE_RATE", "describe_best", "say_unanswered"]

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
        return f"{len(trained)} trials"
    beside = ""
    if own is not None and own.value is not None:
        beside = f", your model unchanged {format_value(own.value)}"
    return (
        f"{len(trained)} trials; {best.candidate.label} leads on validation data ({metric} "
        f"{format_value(best.value)}{beside}), which is partly luck"
    )


def say_unanswered(why: str, best: str) -> str:
    """That there is no verdict yet.

    Args:
        why: what ended the call.
        best: what :func:`describe_best` says.
    """
    again = "The same call" if why.startswith(INTERRUPTED) else "With a larger budget it"
    return f"No answer yet: {why}. So far: {best}. {again} goes on from there."
