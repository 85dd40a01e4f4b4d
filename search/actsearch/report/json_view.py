"""A study with everything it holds as one JSON document."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from actsearch.records import StudyRecord, TrialRecord
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
        "study": {key: value for key, value in _plain(study).items() if key != "id"},
        "trials": [_trial(trial) for trial in trials],
        "verdicts": [
            {"created": _plain(created), "verdict": verdict.to_json(), "text": str(verdict)}
            for created, verdict in verdicts
        ],
    }
    return _text(document)


def trial_json(study_name: str, trial: TrialRecord) -> str:
    """One trial as such a document: its candidate, and whatever of its trainings was read.

    Args:
        study_name: where it comes from.
        trial: with its epochs and diagnostics, if they are wanted.
    """
    document = {"format": 1, "study": {"name": study_name}, "trials": [_trial(trial)]}
    return _text(document)


def _text(document: Any) -> str:
    """As text that every encoding of Unicode can write: halves of surrogate pairs are escaped, as JSON has it."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def _trial(trial: TrialRecord) -> dict[str, Any]:
    candidate = trial.candidate
    data: dict[str, Any] = _plain(trial)
    data["candidate"] = {
        "formula": candidate.formula,
        "label": candidate.label,
        **data["candidate"],
    }
    return data


def _plain(value: Any) -> Any:
    """Records, moments and numbers as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
