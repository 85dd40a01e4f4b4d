"""What a study took, for its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from actsearch.checks import is_integer, is_number
from actsearch.records import TRAININGS, StudyRecord, TrialRecord, TrialState
from actsearch.report import Verdict, rate_trainings

__all__ = ["list_spent"]

_FOUND = "find"  # what an answer keeps among a study's attributes


def list_spent(
    study: StudyRecord, trials: Sequence[TrialRecord], verdicts: Sequence[Verdict], cut: int
) -> list[tuple[str, str]]:
    """Lines of a table; the trainings in all are those of ``FindResult.spent``.

    Args:
        study: whose.
        trials: with their trainings.
        verdicts: that are stored.
        cut: trainings of verdicts that were cut short.
    """
    states = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    trained = [trial for trial in trials if trial.state.is_trained]
    trainings = {
        "the learning rate": rate_trainings(study.user_attrs),
        "the search": math.ceil(round(sum(_took(trial) for trial in trained), 6)),
        "verdicts": sum(verdict.trainings for verdict in verdicts),
        "verdicts that were cut short": cut,
        "the weights": _weights(study),
    }
    return [
        ("trials", ", ".join(f"{n} {state.value}" for state, n in states.items() if n) or "none"),
        ("time of the search's trainings", f"{sum(trial.seconds for trial in trained):.1f} s"),
        *((f"trainings of {what}", str(count)) for what, count in trainings.items() if count),
        ("trainings in all", str(sum(trainings.values()))),
    ]


def _took(trial: TrialRecord) -> float:
    """Trainings of a trial; one that was given up early is a part of one."""
    count = trial.user_attrs.get(TRAININGS)
    return float(count) if is_number(count) and 0 <= count < math.inf else len(trial.evaluations)


def _weights(study: StudyRecord) -> int:
    found = study.user_attrs.get(_FOUND)
    count = found.get("weights") if isinstance(found, Mapping) else 0
    return int(count) if is_integer(count) and count > 0 else 0
