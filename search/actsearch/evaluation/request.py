"""What is asked of a subject, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from actsearch.devices import refuses_work, says_device_is_lost
from actsearch.evaluation.run import Phase
from actsearch.records import CandidateRecord, Outcome

__all__ = ["LARGEST_STACK", "Outcomes", "Request", "Split"]

Split = Literal["valid", "test"]

LARGEST_STACK = 128  # members of a stack; more gain little and cost memory


@dataclass(frozen=True)
class Request:
    """A candidate to be trained under some seeds.

    Attributes:
        record: the candidate.
        seeds: one training each.
        number: trial number, passed to the objective; -1 in a confirmation.
        split: the data it is scored on: "valid" in a search, "test" in a verdict.
        lr: learning rate of a Task; None for its own.
        epochs: of each training, or evaluations of a Task with ``steps``; None for as many as is usual.
        diagnose: whether a Task's sites are measured; never when it is scored on test data.
    """

    record: CandidateRecord
    seeds: tuple[int, ...]
    number: int = -1
    split: Split = "valid"
    lr: float | None = None
    epochs: int | None = None
    diagnose: bool = True

    @property
    def phase(self) -> Phase:
        """What an objective sees of it as ``run.phase``."""
        return "confirm" if self.split == "test" else "search"


class Outcomes(list[Outcome]):
    """One outcome for each request, with what was learned meanwhile.

    Attributes:
        largest_stack: most members of a stack that fit into memory, as far as is known now.
    """

    def __init__(self, outcomes: Iterable[Outcome], largest_stack: int = LARGEST_STACK) -> None:
        super().__init__(outcomes)
        self.largest_stack = largest_stack

    @property
    def device_is_lost(self) -> bool:
        """Whether CUDA refuses this process everything since an error in one of the trainings.

        The first of them is at fault, or another one of its stack; of those after it nothing is known.
        """
        reasons = [outcome.reason for outcome in self if outcome.reason]
        return any(map(says_device_is_lost, reasons)) or (bool(reasons) and refuses_work())
