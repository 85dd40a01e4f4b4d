"""Results that look like a search and are none: all candidates equal to the last bit, or all failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actsearch.errors import StudyError
from actsearch.records import Score, TrialRecord, TrialState
from actsearch.study.history import History

__all__ = ["all_failed", "check_failures", "describe_equal_scores", "describe_equal_values"]

_ENOUGH = 4  # candidates; fewer may coincide on a few validation samples
_SAME_FAILURES = 10  # so many first trials that fail for one reason: the objective is wrong

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


def all_failed(history: History) -> list[TrialRecord]:
    """The trials that were trained, if every one of them failed."""
    trained = [trial for trial in history if trial.state.is_trained]
    return trained if all(trial.state is TrialState.FAILED for trial in trained) else []


def check_failures(study_name: str, history: History, latest: int) -> None:
    """An objective that fails whatever it is given is wrong; the failures are stored all the same.

    Args:
        study_name: for the message.
        history: of the study.
        latest: how many trials have just ended.

    Raises:
        StudyError: the first ten have failed for one reason.
    """
    count = history.trained
    if not count - latest < _SAME_FAILURES <= count:
        return
    failed = all_failed(history)
    reasons = {trial.reason for trial in failed}
    if len(reasons) == 1:
        raise StudyError(
            f"the first {len(failed)} trials of study {study_name!r} all failed in the same way: "
            f"{reasons.pop()}; fix the objective and start a new study"
        )
