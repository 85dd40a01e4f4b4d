"""What a study needs to know of that which it optimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from actsearch.errors import TaskError
from actsearch.evaluation.evaluate import ObjectiveCallable
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.pruner import Pruner
from actsearch.evaluation.request import LARGEST_STACK, Outcomes, Request
from actsearch.placement import Sites
from actsearch.records import CandidateRecord, EpochRecord, Outcome, TrainingSettings
from actsearch.task.metrics import Direction
from actsearch.training import Overlap

__all__ = ["Objective", "Subject"]

Objective = ObjectiveCallable


class Subject(ABC):
    """What a study optimises.

    Made by :func:`actsearch.evaluation.make_subject`; search, verdict and executors ask it alone and know neither
    Task nor function. It can be sent to another process, which then finds out anew what it needs. What stands here
    holds for a function of the user's own, of which only values are known; a Task's subject knows more.

    Attributes:
        objective: what the user gave.
        has_model: whether its model unchanged can be trained.
        keeps_given_weights: whether each training starts from the weights of a module that the user gave.
        metric: name of what a trial's value is.
        objectives: each objective's name with its own direction, None where the user has to set it; empty if not known.
        epochs: of one training, or evaluations where its budget is in steps; None where the objective decides.
        evaluation_interval: epochs or steps from one evaluation to the next.
        unit: "epoch" or "step", what the numbers of a curve's records count.
        end: the last of these numbers; None where the objective decides.
        learning_rate: as given; None where a verdict cannot tune it.
        tune_lr: whether other rates are tried before a search, and "auto" where one has to be clearly better.
        device_type: kind of device that trains; empty where the objective decides.
        can_prune_afterwards: whether a pruner can decide on a training that has ended, from the values of its epochs.
    """

    objective: ObjectiveCallable
    has_model: bool = False
    keeps_given_weights: bool = False
    metric: str = "value"
    objectives: Mapping[str, Direction | None] = MappingProxyType({})
    epochs: int | None = None
    evaluation_interval: int = 1
    unit: str = "step"
    end: int | None = None
    learning_rate: float | None = None
    tune_lr: Literal["auto"] | bool = False
    device_type: str = ""
    can_prune_afterwards: bool = False

    @property
    def direction(self) -> Direction | None:
        """The metric's own direction; None where the user has to set it."""
        return self.objectives.get(self.metric)

    @property
    def seeds(self) -> int | Sequence[int]:
        """Under how many seeds each trial is trained, or the seeds themselves."""
        seeds: int | Sequence[int] = getattr(self.objective, "seeds", 1)
        return seeds

    @property
    def may_use_gpu(self) -> bool:
        """Whether a training may come out with other last bits when it is repeated in a stack of another size."""
        return self.device_type != "cpu" if self.device_type else torch.cuda.is_available()

    @property
    def takes_gpu(self) -> bool:
        """Whether it would be trained on a GPU elsewhere, be there one here or not."""
        return True

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

    @property
    def data(self) -> tuple[Any, ...]:
        """What it trains and is scored on, as the user gave it; nothing where that is not known."""
        return ()

    @property
    def stack_gain(self) -> float:
        """So many times faster a training is in one pass with others, as was measured; 0 where it was not."""
        return 0.0

    def note_stack_gain(self, gain: float, threads: int) -> None:
        """Take over what another process has measured.

        Args:
            gain: as :attr:`stack_gain`.
            threads: of torch, there.
        """
        return None

    def validation_score(self, epochs: Sequence[EpochRecord]) -> float | None:
        """The metric on validation data that counts for a training; None where it was not measured."""
        return epochs[-1].valid_metric if epochs else None

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

    def check_shape_learning(self, strategy: str, first: CandidateRecord | None) -> None:
        """Fail now where a strategy cannot train copies of the model with a shape of their activations that learns.

        Args:
            strategy: its name.
            first: what the first pass begins with.

        Raises:
            TaskError: says why.
        """
        raise TaskError(
            f"strategy {strategy!r} trains copies of the model itself, and a function of your own keeps its model to "
            "itself: give a Task, or choose another strategy"
        )

    def check_test(self) -> None:
        """Fail where a verdict is not possible.

        Raises:
            TaskError: there is no data that the search never saw.
        """
        return None

    def divide(
        self,
        parts: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[int] | None,
    ) -> list[Subject]:
        """The same with other data: each trains on some of the test rows besides, and tests others.

        Args:
            parts: of each, the rows that are trained on, and those that are tested.
            labels: rows of one label are left out together; see :data:`actsearch.records.ROW_GROUPS`.

        Raises:
            TaskError: its data are not known.
        """
        raise TaskError(
            "splits= and groups= divide the rows of a Task: your function keeps its data to itself"
        )

    def undefined_on_test(self) -> str:
        """Why the metric is no finite number on the test data with the model as it is built; empty where it is one."""
        return ""

    def rows_in_test(self) -> tuple[Overlap, ...]:
        """What the test data share with the data of the search.

        Raises:
            TaskError: nothing sound can come from the data.
        """
        return ()

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
        """Seconds that one training of the unchanged model is expected to take; None where that is not known."""
        return None

    def settings(self) -> TrainingSettings | None:
        """How it trains, for those who use a result; None where the objective keeps that to itself."""
        return None

    def baseline_label(self) -> str:
        """What the model unchanged is called: the types of activation that it has."""
        return "your model unchanged"

    def pretrained_share(self) -> tuple[float, float] | None:
        """Share of its weights that are there before a training starts, and of frozen ones; None for none."""
        return None
