"""The user's own model as the first trial of a study."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from actsearch.evaluation import Subject
from actsearch.records import BASELINE, CandidateRecord, StudyRecord, TrialRecord, TrialState
from actsearch.task.objectives import MEASURED

__all__ = ["ATTRIBUTE", "UNCHANGED", "baseline_label", "missing_baseline"]

_log = logging.getLogger("actsearch")

ATTRIBUTE = "baseline"
"""Key of the study's user attributes: what its model is called. Studies of before have none, and no such trial."""

UNCHANGED = "your model unchanged"


def baseline_label(study: StudyRecord, subject: Subject) -> str:
    """What a new study calls the model that its first trial trains; empty where there is none.

    Args:
        study: with its objectives named.
        subject: what it optimises.
    """
    if not subject.has_model:
        _log.info(
            "study %s: the model of a function is not known, so its first trial is none of the model unchanged; "
            "study.enqueue_trial('baseline') hands the function a candidate that places nothing",
            study.name,
        )
        return ""
    if measured := [name for name in study.objectives if name in MEASURED]:
        _log.info(
            "study %s: its first trial is none of the model unchanged, since %s is measured on what is placed",
            study.name, " and ".join(measured),
        )  # fmt: skip
        return ""
    types = subject.baseline_label()
    return types if types == UNCHANGED else f"{types} ({UNCHANGED})"


def missing_baseline(study: StudyRecord, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trial of the model unchanged, where the study wants one and has none yet."""
    name = study.user_attrs.get(ATTRIBUTE)
    if not name or any(trial.candidate.is_baseline for trial in trials):
        return []
    candidate = CandidateRecord.baseline(str(name))
    return [TrialRecord(-1, TrialState.WAITING, candidate, fingerprint=BASELINE)]
