"""What ``acs.find`` keeps with a study: what it planned, what its verdict is about, and what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from actsearch.checks import is_integer, is_number
from actsearch.study.answer.budget import Budget

__all__ = ["FOUND", "Decision"]

FOUND = "find"
"""Key of the study's user attributes."""


@dataclass(frozen=True)
class Decision:
    """The state of an answer, such that a call that was interrupted goes on as if it had not been.

    Attributes:
        target: trials that the search goes to; 0 before that is planned.
        planned: trainings of the budget that it was planned for; 0 where that is a time.
        planned_seconds: likewise, its seconds.
        trials: how many were trained when the verdict was begun; 0 before.
        top_k: its finalists.
        is_tuned: whether it tries several learning rates: 1, or 0.
        asked: a digest of what it was asked; "" before it is begun.
        open: trainings that it took, while it is cut short.
        answer: which of the study's verdicts is the newest answer; -1 for none.
        answered: what that was asked.
        answer_tuned: whether it tried several learning rates: 1, or 0.
        answer_planned: trainings of the budget that it was planned for; 0 where that is a time.
        answer_seconds: likewise, its seconds.
        given_up: trainings of verdicts that were cut short and not gone on with.
        weights: trainings whose model was kept.
        seconds: that all calls took together.
    """

    target: int = 0
    planned: int = 0
    planned_seconds: float = 0.0
    trials: int = 0
    top_k: int = 1
    is_tuned: int = 1
    asked: str = ""
    open: int = 0
    answer: int = -1
    answered: str = ""
    answer_tuned: int = 1
    answer_planned: int = 0
    answer_seconds: float = 0.0
    given_up: int = 0
    weights: int = 0
    seconds: float = 0.0

    def is_planned_for(self, budget: Budget) -> bool:
        """Whether the target is of such a budget."""
        return self.target > 0 and (self.planned, self.planned_seconds) == (
            budget.trainings or 0,
            budget.seconds or 0.0,
        )

    def is_answered_for(self, budget: Budget) -> bool:
        """Whether the answer is what such a budget was planned for, to the end of its search."""
        own = (self.answer_planned, self.answer_seconds)
        if own == (0, 0.0):  # kept before that was noted
            own = (self.planned, self.planned_seconds)
        return self.answer >= 0 and own == (budget.trainings or 0, budget.seconds or 0.0)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def read(cls, attrs: Mapping[str, Any]) -> Decision:
        """From a study's user attributes; what is no such thing counts as nothing decided."""
        known = attrs.get(FOUND)
        if not isinstance(known, Mapping):
            return cls()
        read: dict[str, Any] = {}
        for item in fields(cls):
            value, default = known.get(item.name, item.default), item.default
            if isinstance(default, str):
                fits = isinstance(value, str)
            elif isinstance(default, int):
                fits = is_integer(value) and value >= min(default, 0)
            else:
                fits = is_number(value) and 0 <= value < float("inf")
            if not fits:
                return cls()
            read[item.name] = value
        return cls(**read)
