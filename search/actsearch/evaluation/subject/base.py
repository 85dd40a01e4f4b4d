"""What a study needs to know of that which it optimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.pruner import Pruner
from actsearch.evaluation.request import LARGEST_STACK, Outcomes, Request
from actsearch.placement import Sites
from actsearch.records import CandidateRecord, Outcome
from actsearch.training import Overlap

__all__ = ["Objective", "Subject"]

Objective = ObjectiveCallable


class Subject(ABC):
    """What a study optimises.

    Made by :func:`actsearch.evaluation.subject.subject_of`; search, verdict and executors ask it alone and know
    neither Task nor function. It can be sent to another process, which then finds out anew what it needs.

    What is said here, for a function of the user's own, of which nothing but its values can be known; a Task's subject
    says more.
    """

    objective: ObjectiveCallable
    """What the user gave."""

    @abstractmethod
    def train(
        self,
        requests: Sequence[Request],
        pruner: Pruner | None = None,
        *,
        inexact: bool = False,
        largest_stack: int = LARGEST_STACK,
    ) -> Outcomes:
        """Train candidates, several in one pass where that gives what each gets alone. Never raises for a candidate.

        Args:
            requests: of one split, by number.
            pruner: which trials are given up early; verdicts are never pruned.
            inexact: also in stacks that may give other last bits.
            largest_stack: most trainings in one pass.
        """

    def batch_for(self, requests: Sequence[Request], largest_stack: int = LARGEST_STACK) -> int:
        """How many candidates to train in one pass: 1, or as many as a stack takes where that is faster."""
        return 1

    def with_values(
        self, outcome: Outcome, record: CandidateRecord, objectives: Objectives
    ) -> Outcome:
        """A trial's outcome with its values in several objectives."""
        return objectives.read(outcome, record)

    # what its results depend on

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the stored results depend on besides the candidate, as JSON data."""

    @abstractmethod
    def test_id(self, study_id: int) -> str:
        """What the comparisons of verdicts are counted on: the test data, or the function in one study."""

    def check(self) -> None:
        """Fail now rather than in every trial; before a search.

        Raises:
            TaskError: model, data, loss and metric do not fit together, or nothing sound can come from the data.
            PlacementError: the model has nothing to replace.
        """
        return None

    def check_test(self) -> None:
        """Fail where a verdict is not possible.

        Raises:
            TaskError: there is no data that the search never saw.
        """
        return None

    def rows_in_test(self) -> tuple[Overlap, ...]:
        """What the test data share with the data of the search.

        Raises:
            TaskError: nothing sound can come from the data.
        """
        return ()

    # how it is measured and trained

    @property
    def metric(self) -> str:
        """Name of what a trial's value is."""
        return "value"

    @property
    def objectives(self) -> Mapping[str, Literal["maximize", "minimize"] | None]:
        """Each objective's name with its own direction, None where the user has to say it; empty if not known."""
        return {}

    @property
    def direction(self) -> Literal["maximize", "minimize"] | None:
        """The metric's own direction; None where the user has to say it."""
        return self.objectives.get(self.metric)

    @property
    def seeds(self) -> int | Sequence[int]:
        """Under how many seeds each trial is trained, or the seeds themselves."""
        seeds: int | Sequence[int] = getattr(self.objective, "seeds", 1)
        return seeds

    @property
    def epochs(self) -> int | None:
        """Of one training; None where the objective decides."""
        return None

    @property
    def learning_rate(self) -> float | None:
        """As given; None where a verdict cannot tune it."""
        return None

    @property
    def device(self) -> str:
        """Kind of device that trains; empty where the objective decides."""
        return ""

    @property
    def may_use_gpu(self) -> bool:
        """Whether a training may be repeated with other last bits."""
        return torch.cuda.is_available()

    @property
    def can_be_judged_later(self) -> bool:
        """Whether a pruner may judge a training that has ended, from the values of its epochs."""
        return False

    # its model, for the search

    def sites(self, *, again: bool = False) -> Sites | None:
        """The activations of its model; None where it keeps its model to itself.

        Args:
            again: of a model that is built anew.
        """
        return None

    def pre_activations(self) -> dict[str, Tensor]:
        """What arrives at each hidden site, by path, for screening."""
        return {}

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which its activations compute."""
        return torch.float32

    # for people

    def forecast_seconds(self) -> float | None:
        """Seconds that one training of the unchanged model is expected to take; None where that cannot be told."""
        return None

    def baseline_label(self) -> str:
        """What the model unchanged is called: the types of activation that it has."""
        return "your model unchanged"

    def pretrained_share(self) -> tuple[float, float] | None:
        """Share of its weights that are there before a training starts, and of frozen ones; None for none."""
        return None
