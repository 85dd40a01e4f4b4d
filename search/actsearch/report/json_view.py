"""A study with everything it holds as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from actsearch.records import StudyRecord, TrialRecord
from actsearch.report.json_values import to_json_data
from actsearch.report.verdict import Verdict

__all__ = ["study_json"]


def study_json(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    verdicts: Sequence[tuple[datetime | None, Verdict]],
) -> str:
    """The document as text; numbers that are not finite are texts in it ("nan", "inf", "-inf").

    Args:
        study: its settings.
        trials: its trials, with their evaluations and epochs.
        verdicts: its confirmations with their time.
    """
    document = {
        "format": 1,
        "study": {key: value for key, value in to_json_data(study).items() if key != "id"},
        "trials": [_trial_data(trial) for trial in trials],
        "verdicts": [
            {"created": to_json_data(created), "verdict": verdict.to_json(), "text": str(verdict)}
            for created, verdict in verdicts
        ],
    }
    return _to_text(document)


def trial_json(study_name: str, trial: TrialRecord) -> str:
    """One trial as such a document: its candidate, and whatever of its trainings was read.

    Args:
        study_name: where it comes from.
        trial: with its epochs and diagnostics, if they are wanted.
    """
    document = {"format": 1, "study": {"name": study_name}, "trials": [_trial_data(trial)]}
    return _to_text(document)


def _to_text(document: Any) -> str:
    """As text that every encoding of Unicode can write: halves of surrogate pairs are escaped, as JSON has it."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def _trial_data(trial: TrialRecord) -> dict[str, Any]:
    candidate = trial.candidate
    data: dict[str, Any] = to_json_data(trial)
    data["candidate"] = {
        "formula": candidate.formula,
        "label": candidate.label,
        **data["candidate"],
    }
    return data
