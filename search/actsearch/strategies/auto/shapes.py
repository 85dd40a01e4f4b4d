"""Learned shapes as one more source of the default strategy: rounds of gradient search between its other trials."""

from __future__ import annotations

from collections.abc import Sequence

from actsearch.errors import SpaceError
from actsearch.records import FROZEN, LEARNED, NAMED, CandidateRecord, TrialRecord
from actsearch.strategies.base import Context, pending
from actsearch.strategies.gradient import Gradient
from actsearch.strategies.gradient.rounds import current_round

__all__ = ["SHAPES", "first_pass", "next_step"]

SHAPES = frozenset({LEARNED, NAMED, FROZEN})
"""Operations of what shape learning brings; its passes are trials of no activation."""


def first_pass(context: Context) -> CandidateRecord:
    """Where shape learning begins.

    Raises:
        SpaceError: with several objectives, or groups of sites: it learns one curve for one objective here.
    """
    if context.directions or len(context.site_groups) > 1:
        raise SpaceError(
            "acs.Auto(shapes=...) learns one shape for all sites and one objective: leave out shapes=, or choose "
            "strategy='gradient' for groups of sites"
        )
    return Gradient().first_pass(context)


def next_step(
    history: Sequence[TrialRecord], context: Context, rounds: int, credit: float, batch: int
) -> list[CandidateRecord]:
    """What gradient search would try next: a pass, a curve, or names; nothing when its rounds are over.

    Args:
        history: every trial.
        context: of the study.
        rounds: how many at most.
        credit: of what the rounds have brought; below 1, no other one begins.
        batch: trials of a logical batch. As many behind a curve without names for it mean that it has none.
    """
    if any(_is_step(trial) for trial in pending(history)):
        return []  # what comes next depends on what that comes to
    history = [trial for trial in history if not trial.state.is_open]
    gradient, now = Gradient(), current_round(history)
    if now.curves and not now.names:
        behind = [trial for trial in history if trial.number > now.curves[-1].number]
        if sum(trial.candidate.operation != "user" for trial in behind) >= batch:
            return []
    step = gradient.propose(history, gradient.batch_size(history, context), context)
    begins_another = bool(now.curves) and any(one.learns_shape for one in step)
    if begins_another and (now.index + 1 >= rounds or credit < 1):
        return []
    return step


def _is_step(trial: TrialRecord) -> bool:
    return trial.candidate.learns_shape or trial.candidate.operation in SHAPES
