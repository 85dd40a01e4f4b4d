"""A study, its trials, and what became of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from actsearch.records.candidate import CandidateRecord
from actsearch.records.diagnostics import Diagnostics

__all__ = [
    "ROW_GROUPS",
    "EpochRecord",
    "EvaluationRecord",
    "Outcome",
    "RunGoal",
    "Score",
    "StudyRecord",
    "TrialRecord",
    "TrialState",
]


ROW_GROUPS = 20
"""Groups of test rows of which one after the other is left out: what a verdict knows of the noise of its test data."""


class TrialState(enum.Enum):
    """Where a trial stands.

    REJECTED trials were screened out and never trained; a DUPLICATE has the identity of an earlier trial.

    Example:
        >>> acs.TrialState.COMPLETE.name, acs.TrialState.COMPLETE.is_trained
        ('COMPLETE', True)
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    DUPLICATE = "DUPLICATE"

    @property
    def is_trained(self) -> bool:
        """Whether the trial was trained to an end, well or badly."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)

    @property
    def is_open(self) -> bool:
        """Whether the trial still has to be trained."""
        return self in (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class EpochRecord:
    """Measurements at one evaluation; non-finite numbers are kept as they are, None was not measured."""

    epoch: int  # 1-based; the step, where the budget of training is in steps
    train_loss: float | None = None
    train_metric: float | None = None
    valid_loss: float | None = None
    valid_metric: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class EvaluationRecord:
    """One training of a candidate under one seed."""

    seed: int
    value: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0
    reason: str = ""  # why it ended early, if it did
    diagnostics: Diagnostics | None = None
    without: tuple[float, ...] = ()  # its value without each group of test rows; not stored


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate: a value, or the reason why there is none.

    Attributes:
        state: COMPLETE, PRUNED or FAILED.
        value: mean over seeds of the metric at the last epoch; None unless COMPLETE or PRUNED. With several objectives,
            that of the first.
        spread: standard deviation over seeds, or, of a Task with one seed, over its last epochs.
        evaluations: one record a seed.
        reason: why it failed or was pruned.
        validation_only: in a confirmation, the objective did not tell search from confirmation.
        user_attrs: further data to be kept with the trial.
        values: of every objective where there are several, the first included; else empty.
    """

    state: TrialState
    value: float | None
    spread: float | None = None
    evaluations: tuple[EvaluationRecord, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    validation_only: bool = False
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Score:
    """One training of a verdict.

    Attributes:
        valid: its score on validation data; None where it diverged.
        test: on test data, while finalists are chosen on validation data; None where it diverged.
        blind: the objective did not tell search from confirmation.
        losses: of each epoch, on validation data where they were measured.
        reason: why there is no score.
        without: the score on test data without each of :data:`ROW_GROUPS` groups of rows, or of fewer that the user
            named, which are the same in every training; empty on validation data, and where it cannot be had.
    """

    valid: float | None
    test: float | None
    blind: bool
    losses: tuple[float | None, ...] = ()
    reason: str = field(default="", compare=False)
    without: tuple[float, ...] = ()


@dataclass(frozen=True)
class TrialRecord:
    """One row of a study.

    Attributes:
        number: 0-based position in the study.
        fingerprint: identity, see ``acs.fingerprint``; empty when it could not be computed.
        alias: hash of the values alone.
        mirror: hash of the mirror class; equal for f(x), f(-x), -f(x) and -f(-x).
        duplicate_of: number of the trial with the same identity, for DUPLICATE.
        warnings: what screening noticed without refusing.
        validation: as above for evaluations; only filled when asked for.
        proposed_with: versions of python and the libraries that proposed it; empty where that was not yet stored.
        trained_with: likewise, that trained it.
        values: of every objective, ``value`` first, where the study has several; else empty.
    """

    number: int
    state: TrialState
    candidate: CandidateRecord
    value: float | None = None
    spread: float | None = None
    reason: str = ""
    fingerprint: str = ""
    alias: str = ""
    mirror: str = ""
    duplicate_of: int | None = None
    warnings: tuple[str, ...] = ()
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[EvaluationRecord, ...] = ()
    seconds: float = 0.0
    created: datetime | None = None  # UTC
    started: datetime | None = None
    completed: datetime | None = None
    proposed_with: Mapping[str, str] = field(default_factory=dict)
    trained_with: Mapping[str, str] = field(default_factory=dict)
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class RunGoal:
    """What the process that drives a study works towards.

    Attributes:
        purpose: "search" or "confirm".
        target: number of trained trials of the study at which the search ends; of a confirmation, about how many
            trainings it takes. None where no number was asked for, or is known.
        until: when it ends at the latest; None where no time was asked for.
        since: when it began.
    """

    purpose: str
    target: int | None = None
    until: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class StudyRecord:
    """A study's settings as stored.

    Attributes:
        direction: "maximize" or "minimize"; None until a task or the user has said it.
        space: what may be proposed, as JSON data with every name in full.
        strategy: name and settings of the strategy.
        task: description of the task first optimised; None before.
        versions: versions of python, torch, optuna, deap and actsearch that made the study.
        pruner: name and settings of the pruner; None where nothing is pruned.
        directions: of every objective where there are several, ``direction`` first; else empty.
        objectives: their names; empty until they are named.
    """

    id: int
    name: str
    seed: int
    direction: str | None
    space: Mapping[str, Any]
    strategy: Mapping[str, Any]
    task: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    pruner: Mapping[str, Any] | None = None
    directions: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
