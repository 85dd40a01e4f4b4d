"""One trial as users hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from actsearch.evaluation import Candidate
from actsearch.records import Diagnostics, TrialRecord, TrialState, say_pass
from actsearch.report import ChosenRate, Verdict, curve_frame, unexplained_of
from actsearch.report.notebook import show_trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Trial"]


@dataclass(frozen=True)
class Trial:
    """A trial of a study.

    Attributes:
        record: everything that is stored of it (without evaluations).
        study_name: the study it belongs to.
        verdict: the newest verdict with a line for it, if it was confirmed.
        chosen_rate: the learning rate that its study has chosen in the place of the task's; None where it has not.

    Example:
        >>> study = acs.create_study(study_name="demo", direction="minimize", strategy="random")
        >>> study.enqueue_trial("x * tanh(x)")
        0
        >>> trial = study.trials[0]
        >>> trial.number, trial.state.name, str(trial.candidate), trial.value
        (0, 'WAITING', 'x * tanh(x)', None)
    """

    record: TrialRecord
    study_name: str = ""
    verdict: Verdict | None = None
    _read_diagnostics: Callable[[int], Diagnostics | None] | None = field(
        default=None, repr=False, compare=False
    )
    chosen_rate: ChosenRate | None = None
    _curve_trial: int | None = field(default=None, repr=False, compare=False)
    _read_epochs: Callable[[int], TrialRecord] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def number(self) -> int:
        """0-based position in the study."""
        return self.record.number

    @property
    def state(self) -> TrialState:
        """Where it stands."""
        return self.record.state

    @property
    def value(self) -> float | None:
        """The metric at the last epoch, averaged over the study's seeds; a DUPLICATE has its original's."""
        return self.record.value

    @property
    def values(self) -> tuple[float | None, ...]:
        """Of every objective; with one, the value alone, and empty where there is none."""
        return self.record.values or (() if self.value is None else (self.value,))

    @property
    def diagnostics(self) -> Diagnostics | None:
        """What was seen inside of its training under the first seed, before and after; read from the storage.

        A DUPLICATE has its original's. None where nothing was looked at: trials that were never trained, objectives
        other than a Task, ``Task(diagnostics=False)``.
        """
        if self._read_diagnostics is None:
            return None
        original = self.duplicate_of
        return self._read_diagnostics(self.number if original is None else original)

    @property
    def curve(self) -> pd.DataFrame:
        """Every measurement of its trainings, read from the storage: a row for each seed and epoch (or step).

        Columns are seed, epoch, train_loss, train_metric, valid_loss, valid_metric and seconds; of an objective of the
        user's own, what it reported is valid_metric. A DUPLICATE has its original's; empty for what was never trained.
        """
        original = self.duplicate_of
        number = self.number if original is None else original
        read = self.record if self._read_epochs is None else self._read_epochs(number)
        return curve_frame(read)

    @property
    def is_baseline(self) -> bool:
        """Whether it is the user's model unchanged, the first trial of a study that searches for a Task."""
        return self.record.candidate.is_baseline

    @property
    def candidate(self) -> Candidate:
        """What was tried: ``.module()``, ``.place(model)``, ``.formula``; of a pass of shape learning, which has no
        activation of its own, ``.formula`` is where it began."""
        record = self.record.candidate
        return Candidate(
            record, say_pass(self.number, self._curve_trial) if record.learns_shape else ""
        )

    @property
    def reason(self) -> str:
        """Why it failed, was pruned, refused, or what it repeats."""
        return self.record.reason

    @property
    def duplicate_of(self) -> int | None:
        """Number of the trial that a DUPLICATE repeats."""
        return self.record.duplicate_of

    @property
    def warnings(self) -> tuple[str, ...]:
        """What screening noticed without refusing."""
        return self.record.warnings

    @property
    def user_attrs(self) -> Mapping[str, Any]:
        """Further data kept with the trial."""
        return self.record.user_attrs

    @property
    def datetime_start(self) -> datetime | None:
        """When training started, UTC."""
        return self.record.started

    @property
    def datetime_complete(self) -> datetime | None:
        """When training ended, UTC."""
        return self.record.completed

    def __repr__(self) -> str:
        value = "" if self.value is None else f", value={self.value:.6g}"
        if self.record.values:
            value = (
                f", values=({', '.join('?' if v is None else f'{v:.6g}' for v in self.values)})"
            )
        unexplained = unexplained_of(self.record)
        near = "" if unexplained is None else f", {unexplained:.1e} of its curve unexplained"
        return f"Trial({self.number}, {self.state.name}{value}, {self.candidate}{near})"

    def _repr_html_(self) -> str:
        return show_trial(self.record, self.verdict, self.chosen_rate, lambda: self.curve)
