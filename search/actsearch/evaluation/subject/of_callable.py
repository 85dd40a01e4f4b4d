"""A function of the user's own as a subject: it trains whatever it likes, and only its values are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actsearch.devices import usual_device
from actsearch.evaluation.evaluate import ObjectiveCallable, evaluate
from actsearch.evaluation.pruner import Pruner
from actsearch.evaluation.request import LARGEST_STACK, Outcomes, Request
from actsearch.evaluation.subject.base import Subject
from actsearch.records import Outcome

__all__ = ["CallableSubject"]


class CallableSubject(Subject):
    """Any ``objective(candidate, run) -> float or {name: float}``."""

    def __init__(self, objective: ObjectiveCallable) -> None:
        self.objective = objective

    def train(
        self,
        requests: Sequence[Request],
        pruner: Pruner | None = None,
        *,
        inexact: bool = False,
        largest_stack: int = LARGEST_STACK,
    ) -> Outcomes:
        """See :meth:`Subject.train`; one after the other."""
        return Outcomes((self._train_one(request, pruner) for request in requests), largest_stack)

    def _train_one(self, request: Request, pruner: Pruner | None) -> Outcome:
        if pruner is None or request.split == "test":
            return evaluate(self.objective, request, device=usual_device())
        tracker = pruner.track(request.number)
        outcome = evaluate(self.objective, request, tracker, device=usual_device())
        pruner.enter(tracker)
        return outcome

    def describe(self) -> dict[str, Any]:
        """See :meth:`Subject.describe`: its name."""
        name = getattr(self.objective, "__qualname__", type(self.objective).__qualname__)
        return {"objective": str(name)}

    def test_id(self, study_id: int) -> str:
        """See :meth:`Subject.test_id`: the function as one study knows it."""
        return f"objective of study {study_id}"
