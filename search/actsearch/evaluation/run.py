"""One training under one seed, as an objective sees it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.halving import Judge
from actsearch.placement import (
    ModelAnalysis,
    Placement,
    expose_sites,
    initialise_for_gain,
    model_structure,
    place_analyzed,
)
from actsearch.placement.model_run import observe_output
from actsearch.records import EpochRecord, EvaluationRecord
from actsearch.seeds import derive
from actsearch.task import Task, inputs_and_targets, reading_copy
from actsearch.training import TrainingResult, fit, isolated_random

__all__ = ["Phase", "Run", "TrialPruned", "parameters_added", "prepared", "sample_of"]

Phase = Literal["search", "confirm"]


class TrialPruned(Exception):
    """Raised by an objective to end a trial early; its last reported value is kept."""


class Run:
    """What an objective needs to know about the training it is asked for.

    Attributes:
        seed: seed of this training; the same for every candidate of a study.
        number: trial number; -1 in a confirmation.
        device: where to train.
        budget: number of epochs asked for, or None when the objective decides.
    """

    def __init__(
        self,
        seed: int,
        number: int,
        phase: Phase,
        device: torch.device,
        budget: int | None,
        judge: Judge | None = None,
    ) -> None:
        self.seed = seed
        self.number = number
        self.device = device
        self.budget = budget
        self.asked_for_phase = False
        self._phase: Phase = phase
        self._judge = judge
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
            TaskError: the step is no whole number, as when the two come in Optuna's order.
        """
        if not float(step).is_integer():
            raise TaskError(
                f"run.report(step, value): the step must be a whole number, not {step!r}; "
                "Optuna's report has the two the other way round"
            )
        self._reported[int(step)] = float(value)
        if self._judge is not None:
            self._judge.report(int(step), float(value))

    def should_prune(self) -> bool:
        """Whether the trial should stop now by raising :class:`TrialPruned`.

        Decided by the study's pruner from what was reported under the study's first seed; False without a pruner.
        """
        return self._judge is not None and self._judge.pruned_at is not None

    @property
    def reason_to_prune(self) -> str:
        """What the pruner says; empty while the trial may go on."""
        return "" if self._judge is None else self._judge.reason

    def train(self, task: Task, candidate: Candidate) -> Mapping[str, float]:
        """Place a candidate in the task's model and train it under this run's seed.

        Returns:
            Metrics after the last epoch, the optimised one first; empty when training had to stop.

        Raises:
            TrialPruned: the study's pruner gives the trial up.
        """
        placement = prepared(task, candidate, self.seed)
        on_test = self.scores_on_test(task)

        def follow(epoch: int, value: float) -> bool:
            self.report(epoch, value)
            return self.should_prune() and epoch < task.epochs

        training = fit(
            task,
            placement.model,
            self.seed,
            on_test=on_test,
            report=follow,
            watched=[] if on_test else [item.path for item in placement.replaced],
            added=parameters_added(task, placement.model),
        )
        metrics = self.trained(training)
        if self.should_prune() and not metrics and not training.stopped:
            raise TrialPruned(self.reason_to_prune)
        return metrics

    def trained(self, training: TrainingResult) -> Mapping[str, float]:
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
        if self._training is not None:
            epochs, diagnostics = self._training.epochs, self._training.diagnostics
        else:
            epochs = tuple(
                EpochRecord(step, valid_metric=reported)
                for step, reported in sorted(self._reported.items())
            )
        return EvaluationRecord(
            self.seed, value, dict(metrics), epochs, seconds, reason, diagnostics
        )

    @property
    def stopped(self) -> str:
        """Why training was stopped, if it was."""
        return self._training.stopped if self._training is not None else ""


def prepared(task: Task, candidate: Candidate, seed: int, *, opened: bool = False) -> Placement:
    """A task's model built under a seed, with a candidate's activations in it.

    Args:
        task: whose model.
        candidate: what is placed.
        seed: of the weights.
        opened: whether every hidden activation of the model unchanged becomes a submodule, too.
    """
    with isolated_random(derive(seed, "init")):
        model = task.build()
    _sizes.setdefault(task, _size(model))
    record = candidate.record
    if record.is_baseline and not opened:
        return candidate.place(model)
    with isolated_random(0):  # a user's model may draw from any generator where it is run
        look = _look(task, model)
        placement = (
            expose_sites(look, model)
            if record.is_baseline
            else place_analyzed(look, model, record)
        )
    if task.gain == "auto" and not record.is_baseline:
        with isolated_random(derive(seed, "gain")):
            initialise_for_gain(placement, look.sample)
    return placement


_sizes: WeakKeyDictionary[Task, int | None] = WeakKeyDictionary()


def parameters_added(task: Task, model: nn.Module) -> int | None:
    """Numbers that a changed model learns beyond those of the task's own; None where their count is not known yet."""
    before, now = _sizes.get(task), _size(model)
    return None if before is None or now is None else now - before


def _size(model: nn.Module) -> int | None:
    parameters = list(model.parameters())
    if any(isinstance(item, nn.parameter.UninitializedParameter) for item in parameters):
        return None
    return sum(item.numel() for item in parameters)


_looks: WeakKeyDictionary[Task, tuple[Any, ModelAnalysis]] = WeakKeyDictionary()


def _look(task: Task, model: nn.Module) -> ModelAnalysis:
    """What was seen of a task's model; looked at once, since its candidates differ in their activations alone."""
    built = model_structure(model)
    known = _looks.get(task)
    if known is None or known[0] != built:
        known = _looks[task] = (built, ModelAnalysis(model, sample_of(task, model)))
    return known[1]


def sample_of(task: Task, model: nn.Module) -> Any:
    """A few inputs of the training data, for shapes; None where the task's step alone knows what the model takes.

    A batch that is a mapping of what the model's forward names is such inputs also with a step.
    """
    batch = _first_batch(task)
    if task.step is None:
        return inputs_and_targets(batch)[0]
    return _as_inputs(batch, model) if isinstance(batch, Mapping) else None


def _as_inputs(batch: Mapping[str, Any], model: nn.Module) -> Any:
    """Two samples of a batch, if the model takes it as it is."""
    sample = {key: item[:2] if isinstance(item, Tensor) else item for key, item in batch.items()}
    try:
        if set(sample) <= set(inspect.signature(model.forward).parameters):
            observe_output(model, sample)
            return sample
    except Exception:  # a step may well prepare a batch first: anything
        pass
    return None


def _first_batch(task: Task) -> Any:
    if isinstance(task.train, tuple):
        return tuple(tensor[:2] for tensor in task.train)
    train = reading_copy(task.train)
    with isolated_random(0):
        if hasattr(train, "batch_size"):
            return next(iter(train))
        item = train[0]
        if task.step is not None:
            return default_collate([item]) if isinstance(item, Mapping) else None
    return tuple(torch.as_tensor(part).unsqueeze(0) for part in item)
