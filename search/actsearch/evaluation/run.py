"""One training under one seed, as an objective sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.halving import RungTracker
from actsearch.records import EpochRecord, EvaluationRecord
from actsearch.task import Task
from actsearch.training import TrainingResult, fit

__all__ = ["Phase", "Run", "TrialPruned"]

Phase = Literal["search", "confirm"]


class TrialPruned(Exception):
    """Raised by an objective to end a trial early; its last reported value is kept.

    Example:
        >>> def objective(candidate, run):
        ...     run.report(0, 0.5)
        ...     raise acs.TrialPruned
        >>> study = acs.create_study(study_name="pruned", direction="minimize")
        >>> study.optimize(objective, n_trials=1, show_progress_bar=False)
        >>> {trial.state.name for trial in study.trials if trial.value == 0.5}
        {'PRUNED'}
    """


class Run:
    """What an objective needs to know about the training it is asked for.

    Attributes:
        seed: seed of this training; the same for every candidate of a study.
        number: trial number; -1 in a confirmation.
        device: where to train: of a Task its own, else the current CUDA device where there is one. In child processes
            these are different ones, as far as there are.
        budget: number of epochs asked for, or of evaluations of a Task with ``steps``; None when the objective decides.

    Example:
        >>> def objective(candidate, run):
        ...     torch.manual_seed(run.seed)  # the same for every candidate of a study
        ...     for epoch in range(3):
        ...         value = candidate.module()(torch.randn(8)).mean().item()
        ...         run.report(epoch, value)
        ...     return value
        >>> study = acs.create_study(study_name="reported", direction="minimize")
        >>> study.optimize(objective, n_trials=1, show_progress_bar=False)
    """

    def __init__(
        self,
        seed: int,
        number: int,
        phase: Phase,
        device: torch.device,
        budget: int | None,
        tracker: RungTracker | None = None,
        lr: float | None = None,
        diagnose: bool = True,
    ) -> None:
        """Args:
        seed: see above, as number, device and budget.
        number: see above.
        phase: see :attr:`phase`.
        device: see above.
        budget: see above.
        tracker: the pruner's, which follows what is reported.
        lr: learning rate of a Task; None for its own.
        diagnose: whether a Task's sites are measured.
        """
        self.seed = seed
        self.number = number
        self.device = device
        self.budget = budget
        self.asked_for_phase = False
        self._phase: Phase = phase
        self._tracker = tracker
        self._lr = lr
        self._diagnose = diagnose
        self._reported: dict[int, float] = {}
        self._training: TrainingResult | None = None

    @property
    def phase(self) -> Phase:
        """ "search": score on validation data; "confirm": score on test data the search never touched.

        A verdict over an objective that never looks at this is labelled "validation only".
        """
        self.asked_for_phase = True
        return self._phase

    def report(self, step: int, value: float) -> None:
        """Tell an intermediate value (of the metric) after a step or epoch.

        Raises:
            TaskError: the step is not a whole number, as when the two come in Optuna's order.
        """
        if not float(step).is_integer():
            raise TaskError(
                f"run.report(step, value): the step must be a whole number, not {step!r}; "
                "Optuna's report has the two the other way round"
            )
        self._reported[int(step)] = float(value)
        if self._tracker is not None:
            self._tracker.report(int(step), float(value))

    def should_prune(self) -> bool:
        """Whether the trial should stop now by raising :class:`TrialPruned`.

        Decided by the study's pruner from what was reported under the study's first seed; False without a pruner.
        """
        return self._tracker is not None and self._tracker.pruned_at is not None

    @property
    def reason_to_prune(self) -> str:
        """What the pruner says; empty while the trial may go on."""
        return "" if self._tracker is None else self._tracker.reason

    def train(self, task: Task, candidate: Candidate) -> Mapping[str, float]:
        """Place a candidate in the task's model and train it under this run's seed.

        Returns:
            Metrics at the evaluation that counts, the optimised one first; empty when training had to stop.

        Raises:
            TrialPruned: the study's pruner gives the trial up.
        """
        # made for each run, it has the findings of all others of this Task object, in a table of their module
        analysis = TaskAnalysis(task)
        on_test = self.scores_on_test(task)
        is_diagnosed = self._diagnose and not on_test and task.diagnostics
        # of the model unchanged, sites can be watched where they are submodules
        placement = analysis.place(candidate, self.seed, opened=is_diagnosed)
        evaluations = self.budget or task.evaluations
        end = task.position(evaluations)

        def follow(position: int, value: float) -> bool:
            self.report(position, value)
            return self.should_prune() and position < end

        training = fit(
            task,
            placement.model,
            self.seed,
            on_test=on_test,
            report=follow,
            watched=[item.path for item in placement.replaced] if is_diagnosed else [],
            added=analysis.parameters_added(placement.model),
            lr=self._lr,
            epochs=evaluations,
            batch=analysis.diagnostics_batch,
        )
        metrics = self.record_training(training)
        if self.should_prune() and not metrics and not training.stopped:
            raise TrialPruned(self.reason_to_prune)
        return metrics

    def record_training(self, training: TrainingResult) -> Mapping[str, float]:
        """Take note of a training of a task; returns its metrics."""
        self._training = training
        return training.metrics

    def scores_on_test(self, task: Task) -> bool:
        """Whether a task is to be scored on its test data."""
        on_test = self.phase == "confirm"
        if on_test and task.test is None:
            raise TaskError("confirm needs data the search never saw: give the Task test=")
        return on_test

    @property
    def last_reported(self) -> float | None:
        """The value reported for the largest step."""
        return self._reported[max(self._reported)] if self._reported else None

    def record(
        self, value: float | None, metrics: Mapping[str, float], reason: str, seconds: float
    ) -> EvaluationRecord:
        """Write down how the training went."""
        diagnostics = None
        without: tuple[float, ...] = ()
        if self._training is not None:
            epochs, diagnostics = self._training.epochs, self._training.diagnostics
            # an objective of the user's own may make another number of it, or of several trainings
            is_its_metric = value == next(iter(self._training.metrics.values()), None)
            without = self._training.without if is_its_metric else ()
        else:
            epochs = tuple(
                EpochRecord(step, valid_metric=reported)
                for step, reported in sorted(self._reported.items())
            )
        return EvaluationRecord(
            self.seed, value, dict(metrics), epochs, seconds, reason, diagnostics, without
        )

    @property
    def stopped(self) -> str:
        """Why training was stopped, if it was."""
        return self._training.stopped if self._training is not None else ""
