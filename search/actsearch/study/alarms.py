"""Results that look like a search and are none: all candidates equal to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actsearch.records import Score, TrialRecord, TrialState

__all__ = ["describe_equal_scores", "describe_equal_values"]

_ENOUGH = 4  # candidates; fewer may coincide on a few validation samples

_WHY = (
    "the metric is constant or cannot get better, or the activations do not reach the model's output; take a finer "
    "metric, as 'loss', or harder data"
)


def describe_equal_values(trials: Iterable[TrialRecord], metric: str) -> str:
    """What to say of a search whose candidates all have one value; empty where they differ or are few.

    Args:
        trials: of the study; duplicates do not count, since they were not trained.
        metric: what the value is.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    values = {trial.value for trial in complete}
    if len(complete) < _ENOUGH or len(values) > 1:
        return ""
    return f"all {len(complete)} candidates have the same {metric}, {values.pop()}: {_WHY}"


def describe_equal_scores(scores: Sequence[Sequence[Score]], metric: str) -> str:
    """What to say of a baseline and finalists that score alike on every seed; empty where any two differ.

    Args:
        scores: of the baseline, then of each candidate, by seed.
        metric: what is scored.
    """
    values = {score.test for own in scores for score in own}
    if len(scores) < 3 or len(values) > 1 or None in values:
        return ""
    return (
        f"the baseline and all {len(scores) - 1} candidates have the same {metric}, {values.pop()}, on validation data "
        f"under all {len(scores[0])} fresh seeds, and no verdict can tell them apart: {_WHY}"
    )
