"""What ``acs.find`` keeps with a study: what its verdict is about, and what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actsearch.checks import is_integer, is_number
from actsearch.study.answer.budget import Budget

__all__ = ["FOUND", "Decision"]

FOUND = "find"
"""Key of the study's user attributes."""


@dataclass(frozen=True)
class Decision:
    """The state of an answer.

    Attributes:
        trials: how many were trained when the verdict was begun; 0 before.
        top_k: its finalists.
        is_answered: whether it is made.
        budget: with which.
        weights: trainings whose model was kept.
        seconds: that all calls took together.
    """

    trials: int = 0
    top_k: int = 1
    is_answered: bool = False
    budget: Budget = Budget()
    weights: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "trials": self.trials,
            "top_k": self.top_k,
            "answered": self.is_answered,
            "trainings": self.budget.trainings,
            "seconds_allowed": self.budget.seconds,
            "weights": self.weights,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, attrs: Mapping[str, Any]) -> Decision:
        """From a study's user attributes; what is no such thing counts as nothing decided."""
        known = attrs.get(FOUND)
        if not isinstance(known, Mapping):
            return cls()
        counts = [known.get(key) for key in ("trials", "top_k", "weights")]
        seconds, trainings, allowed = map(known.get, ("seconds", "trainings", "seconds_allowed"))
        if not all(is_integer(count) and count >= 0 for count in counts) or not is_number(seconds):
            return cls()
        return cls(
            int(counts[0] or 0),
            max(1, int(counts[1] or 0)),
            known.get("answered") is True,
            Budget(
                int(trainings) if is_integer(trainings) else None,
                float(allowed) if is_number(allowed) else None,
            ),
            int(counts[2] or 0),
            max(0.0, float(seconds)),
        )
