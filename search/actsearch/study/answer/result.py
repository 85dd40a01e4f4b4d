"""What ``acs.find`` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from actsearch.errors import StudyError
from actsearch.export import to_python
from actsearch.report import Recipe, Verdict
from actsearch.study.answer.budget import Budget
from actsearch.study.study import Study
from actsearch.study.times import format_seconds

if TYPE_CHECKING:
    from actsearch.task import Task

__all__ = ["FindResult", "Spent"]


@dataclass(frozen=True)
class Spent:
    """What an answer took, over all calls.

    Attributes:
        rate: trainings for the learning rate of the model unchanged.
        search: trainings of trials.
        verdict: trainings of verdicts.
        weights: trainings whose model was kept.
        seconds: about how long.
    """

    rate: int = 0
    search: int = 0
    verdict: int = 0
    weights: int = 0
    seconds: float = 0.0

    @property
    def trainings(self) -> int:
        """In all."""
        return self.rate + self.search + self.verdict + self.weights

    def __str__(self) -> str:
        parts = {
            "for the learning rate": self.rate,
            "to search": self.search,
            "for the verdict": self.verdict,
            "for the weights": self.weights,
        }
        listed = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
        more = f" ({listed})" if listed else ""
        return f"{self.trainings} trainings{more} in {format_seconds(self.seconds)}"


@dataclass(frozen=True, repr=False)
class FindResult:
    """The answer of :func:`actsearch.find`. ``print`` shows the verdict, and what was spent.

    Attributes:
        study: to look at, and to go on with.
        task: what was searched for.
        verdict: on test data that the search never touched; None where the budget, or Ctrl-C, ended it before.
        sentence: what to do, in plain words.
        budget: what it might take.
        spent: what it took.
        model: the winner trained once more under a seed of its own, on the task's device, in evaluation mode: the
            user's own model where nothing is better. None without a verdict. Where no file has its weights, each call
            trains it again, which is counted once.
        is_interrupted: whether Ctrl-C ended it.
        weights: the file of its weights beside the database, see ``find(max_weights_mb=...)``; None if there is none.

    Example:
        >>> x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
        >>> y = x.prod(1, keepdim=True)
        >>> task = acs.Task(
        ...     model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
        ...     train=(x[:32], y[:32]), valid=(x[32:64], y[32:64]), test=(x[64:], y[64:]),
        ...     loss=nn.functional.mse_loss, epochs=1, lr=1e-2, tune_lr=False,
        ... )
        >>> result = acs.find(task, budget=60, storage=None, strategy="random", show_progress_bar=False)
        >>> str(result).endswith("s.") and result.sentence in str(result)
        True
    """

    study: Study
    task: Task
    verdict: Verdict | None
    sentence: str
    budget: Budget
    spent: Spent
    model: nn.Module | None = None
    weights: Path | None = None
    is_interrupted: bool = False

    @property
    def recipe(self) -> Recipe:
        """How to train the winner: activation, learning rate, optimizer.

        Raises:
            StudyError: there is no verdict yet.
        """
        return self._known().recipe()

    def to_python(self) -> str:
        """The winner as code to paste, with its learning rate and optimizer; see :func:`actsearch.to_python`.

        Raises:
            StudyError: there is no verdict yet.
        """
        return to_python(self._known())

    def _known(self) -> Verdict:
        if self.verdict is None:
            raise StudyError(self.sentence)
        return self.verdict

    def __repr__(self) -> str:
        return f"FindResult({self.study!r}: {self.sentence})"

    def __str__(self) -> str:
        said = self.sentence
        if self.verdict is not None:
            said = f"{self.verdict}{said.removeprefix(self.verdict.sentence)}"
        lines = [said]
        lines.append(f"Spent of a budget of {self.budget}: {self.spent}.")
        if self.weights is not None:
            lines.append(f"Weights of the winner: {self.weights}")
        return "\n".join(lines)
