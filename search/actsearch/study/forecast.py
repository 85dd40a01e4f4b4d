"""What a search and a verdict are expected to take, for the log."""

from __future__ import annotations

import logging

from actsearch.evaluation import Subject
from actsearch.records import StudyRecord
from actsearch.report import LOOKS
from actsearch.study.finalists import POOL
from actsearch.study.race import forecast_race

__all__ = ["log_forecast"]

_log = logging.getLogger("actsearch")

_TOP_K = 5  # finalists of ``confirm`` by default


def log_forecast(study: StudyRecord, subject: Subject, seeds: int, count: int | None) -> None:
    """Say how long trials take, one at a time, and a verdict with the default settings.

    Args:
        study: whose.
        subject: what it optimises; one epoch of it is trained where somebody reads the log.
        seeds: of a trial.
        count: trials to come; None for any number.
    """
    if not count or not _log.isEnabledFor(logging.INFO):
        return
    if (each := subject.forecast_seconds()) is None:
        return
    has_rates = subject.learning_rate is not None
    verdict = (
        POOL * _TOP_K + 1 + forecast_race(_TOP_K + 1, LOOKS[-1], is_race=True, has_rates=has_rates)
    )
    seconds = each * seeds
    _log.info(
        "study %s: one at a time about %.2g s a trial, %.0f an hour, %d trials in about %.0f s; "
        "a verdict over %d finalists in about %.0f s",
        study.name, seconds, 3600 / seconds, count, seconds * count, _TOP_K, each * verdict,
    )  # fmt: skip
