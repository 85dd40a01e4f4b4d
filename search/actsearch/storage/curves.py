"""How the metric of each trial went, read without the rest."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from actsearch.records import TrialState
from actsearch.storage import tolerant
from actsearch.storage.tables import EpochRow, EvaluationRow, TrialRow

__all__ = ["Curves", "first_curves"]

Curves = dict[int, list[tuple[int, float]]]

_OPEN = [state.value for state in TrialState if state.is_open]


def first_curves(session: Session, study_id: int, steps: Iterable[int] | None) -> Curves:
    """By number of trial, (step, value) under its first seed in order; steps without a value are left out.

    Of trials that have ended: a pruner has not decided on what is held of others.
    """
    first = (
        sa.select(sa.func.min(EvaluationRow.id).label("id"), TrialRow.number)
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .where(TrialRow.study_id == study_id, TrialRow.state.not_in(_OPEN))
        .group_by(TrialRow.id)
        .subquery()
    )
    query = (
        sa.select(first.c.number, EpochRow.epoch, EpochRow.valid_metric, EpochRow.nonfinite)
        .join(first, first.c.id == EpochRow.evaluation_id)
        .order_by(first.c.number, EpochRow.epoch)
    )
    if steps is not None:
        query = query.where(EpochRow.epoch.in_(sorted(steps)))
    by_trial: Curves = {}
    for number, step, value, texts in session.execute(query):
        value = tolerant.number(value, tolerant.attributes(texts).get("valid_metric"))
        if value is not None:
            by_trial.setdefault(number, []).append((step, value))
    return by_trial
