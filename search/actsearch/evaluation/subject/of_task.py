"""A Task as a subject: its model is analyzed once, and its candidates are trained alone or in stacks."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from actsearch.errors import TaskError
from actsearch.evaluation.candidate import Candidate
from actsearch.evaluation.changing_values import find_changing_values
from actsearch.evaluation.data_draws import draws_by_itself
from actsearch.evaluation.evaluate import SeedRun, aggregate, evaluate, seed_result, with_pruning
from actsearch.evaluation.objectives import Objectives
from actsearch.evaluation.pretrained import pretrained_share
from actsearch.evaluation.pruner import Pruner, cut_training, metric_curve
from actsearch.evaluation.request import LARGEST_STACK, Outcomes, Request
from actsearch.evaluation.run import Run
from actsearch.evaluation.shape_pass import check_shape_learning, run_shape_pass
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.subject.base import Subject
from actsearch.evaluation.subject.stack_choice import StackChoice
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.halving import RungTracker
from actsearch.records import (
    COMPUTED_ON,
    CandidateRecord,
    EpochRecord,
    Outcome,
    TrainingSettings,
    TrialState,
)
from actsearch.task import Task
from actsearch.task.identity import describe_task, summarize_values
from actsearch.task.rows import join_rows, take_rows
from actsearch.training import (
    TrainingResult,
    fit,
    further_settings,
    isolated_random,
    optimizer_settings,
    uses_learning_rate,
)
from actsearch.training.convention import (
    Reading,
    keep_reading,
    known_reading,
    reading_of,
    set_reading,
)
from actsearch.training.numerics import numerics_in_force
from actsearch.training.row_groups import Assigned, assign_rows, given_groups, set_groups
from actsearch.training.streams import check_ends

__all__ = ["TaskSubject"]

_log = logging.getLogger("actsearch")

_OWN_DRAWS = "its training data differ each time they are read under one seed"
_SHORT = 3.0  # seconds


class TaskSubject(TaskAnalysis, Subject):
    """A Task with what was found out about it; every evaluation of its trainings is recorded."""

    can_prune_afterwards = True
    has_model = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.objective = task
        self.keeps_given_weights = isinstance(task.model, torch.nn.Module)
        self.metric = task.resolved_metric.name
        self.objectives = task.objective_directions
        self.epochs = task.evaluations
        self.evaluation_interval = task.evaluation_interval
        self.unit = task.unit
        self.end = task.position(task.evaluations)
        self.tune_lr = task.tune_lr
        self.device_type = self.device.type
        if self.findings.may_stack_later:
            self.findings.stack_refusal = ""
        self._test_hash: str | None = None
        self._changing: set[str] | None = None
        self._is_checked = False
        self._stack_choice = StackChoice(self)

    @functools.cached_property
    def learning_rate(self) -> float | None:  # type: ignore[override]
        """The task's; None where its optimiser or schedule sets rates of its own, so that no other one can be tried."""
        with isolated_random(0):
            if uses_learning_rate(self.task):
                return self.task.lr
        _log.warning(
            "the rates of training do not follow the task's lr, its optimizer or schedule sets its own: a verdict "
            "compares at these alone; to have the rate tuned for each activation, derive them from the optimizer's lr"
        )
        return None

    def __reduce__(self) -> Any:
        """Another process gets the task, and of what was found that which decides values and their last bits."""
        known = self.findings.is_small, known_reading(self.task), given_groups(self.task)
        return _restore, (self.task, *known)

    @property
    def stack_refusal(self) -> str:
        """Why nothing of this task is stacked; empty while it is."""
        return self.findings.stack_refusal

    @property
    def stack_differences(self) -> Mapping[Any, str]:
        """By structure of the models that were checked, why a stack may give other last bits; empty if it does not."""
        return self.findings.stack_differences

    @property
    def takes_gpu(self) -> bool:
        """See :attr:`Subject.takes_gpu`."""
        return self.task.device == "auto" or self.device.type != "cpu"

    @property
    def data(self) -> tuple[Any, ...]:
        """See :meth:`Subject.data`."""
        return self.task.train, self.task.valid, self.task.test

    @property
    def stack_gain(self) -> float:
        """See :meth:`Subject.stack_gain`."""
        return self.findings.stack_gain[1]

    def note_stack_gain(self, gain: float, threads: int) -> None:
        """See :meth:`Subject.note_stack_gain`; with as many threads it is not measured again."""
        if gain > 0:
            self.findings.stack_gain = threads, gain

    # training

    def train(
        self,
        requests: Sequence[Request],
        pruner: Pruner | None = None,
        *,
        inexact: bool = False,
        largest_stack: int = LARGEST_STACK,
    ) -> Outcomes:
        """See :meth:`Subject.train`; passes of shape learning one after the other."""
        outcomes = self._train(requests, pruner, inexact, largest_stack)
        if noted := numerics_in_force(self.task):
            for index, outcome in enumerate(outcomes):
                attrs = {**outcome.user_attrs, COMPUTED_ON: noted}
                outcomes[index] = dataclasses.replace(outcome, user_attrs=attrs)
        return outcomes

    def _train(
        self,
        requests: Sequence[Request],
        pruner: Pruner | None,
        inexact: bool,
        largest_stack: int,
    ) -> Outcomes:
        learning = [request for request in requests if request.record.learns_shape]
        if learning:
            with self.threads():
                passes = {request.number: run_shape_pass(self, request) for request in learning}
            others = [request for request in requests if request.number not in passes]
            rest = self._train(others, pruner, inexact, largest_stack)
            left = iter(rest)
            return Outcomes(
                (passes.get(request.number) or next(left) for request in requests),
                rest.largest_stack,
            )
        if requests and requests[0].split == "test":
            pruner = None
        if self.stack_refusal or len(requests) < 2:
            alone = (self._train_alone(request, pruner) for request in requests)
            return Outcomes(alone, largest_stack)
        epochs = requests[0].epochs or self.task.evaluations
        stacker = Stacker(
            self,
            largest=largest_stack,
            on_test=requests[0].split == "test" and self.task.test is not None,
            inexact=inexact,
            epochs=epochs,
            diagnose=requests[0].diagnose,
        )
        exit_rule = None if pruner is None else pruner.exit_rule(requests, epochs)
        with self.threads():
            results = iter(stacker.train(self._trainings(requests), exit_rule))
        outcomes = [
            self._outcome(request, [next(results) for _ in request.seeds], pruner)
            for request in requests
        ]
        return Outcomes(outcomes, stacker.largest)

    def _trainings(self, requests: Sequence[Request]) -> list[Training]:
        return [
            Training(request.record, seed, self.task.lr if request.lr is None else request.lr)
            for request in requests
            for seed in request.seeds
        ]

    def _train_alone(self, request: Request, pruner: Pruner | None) -> Outcome:
        request = dataclasses.replace(request, epochs=request.epochs or self.epochs)
        tracker = None if pruner is None else pruner.track(request.number)
        with self.threads():
            outcome = evaluate(self.task, request, tracker, device=self.device, is_own=False)
        if pruner is not None and tracker is not None:
            pruner.enter(tracker)
        return outcome

    def _outcome(
        self,
        request: Request,
        results: Sequence[TrainingResult | None],
        pruner: Pruner | None,
    ) -> Outcome:
        """Of what was trained together; trained alone where that could not be."""
        started = time.perf_counter()
        trained = [result for result in results if result is not None]
        if len(trained) < len(results):
            return self._train_alone(request, pruner)
        tracker = None if pruner is None else pruner.track(request.number)
        if tracker is not None:
            tracker.read(metric_curve(trained[0].epochs))
        if tracker is not None and tracker.pruned_at is not None:
            trained = [cut_training(trained[0], tracker.pruned_at)]
        elif any(not result.metrics and not result.stopped for result in trained):
            if tracker is None or pruner is None or pruner.open_numbers is None:
                # it left a stack that was given up later
                return self._train_alone(request, pruner)
            tracker.pruned_at = trained[0].epochs[-1].epoch  # that is known of its neighbours
        runs = [
            self._seed_result(request, seed, result, tracker)
            for seed, result in zip(request.seeds, trained, strict=False)
        ]
        if pruner is not None and tracker is not None:
            pruner.enter(tracker)
        seconds = sum(run.evaluation.seconds for run in runs) + time.perf_counter() - started
        return with_pruning(aggregate(runs, request.phase, seconds), tracker)

    def _seed_result(
        self, request: Request, seed: int, result: TrainingResult, tracker: RungTracker | None
    ) -> SeedRun:
        run = Run(seed, request.number, request.phase, self.device, request.epochs or self.epochs)
        run.scores_on_test(self.task)
        metrics = run.record_training(result)
        if tracker is not None and tracker.pruned_at is not None:
            value = result.epochs[-1].valid_metric
            return seed_result(run, TrialState.PRUNED, value, {}, tracker.reason, result.seconds)
        value = next(iter(metrics.values()), None)
        return seed_result(run, TrialState.COMPLETE, value, metrics, "", result.seconds)

    def validation_score(self, epochs: Sequence[EpochRecord]) -> float | None:
        """See :meth:`Subject.validation_score`: with patience the best one, whose weights are scored on test data."""
        values = [item.valid_metric for item in epochs if item.valid_metric is not None]
        if self.task.patience is None or not values:
            return super().validation_score(epochs)
        return max(values) if self.direction == "maximize" else min(values)

    def with_values(
        self, outcome: Outcome, record: CandidateRecord, objectives: Objectives
    ) -> Outcome:
        """See :meth:`Subject.with_values`."""
        return objectives.read(outcome, record, self)

    def batch_for(self, requests: Sequence[Request], largest_stack: int = LARGEST_STACK) -> int:
        """See :meth:`Subject.batch_for`: more than 1 where a stack was measured to be faster."""
        if self.stack_refusal:  # trained one at a time, each is stored as it ends
            return 1
        return self._stack_choice.batch_for(requests, self._trainings(requests), largest_stack)

    # what its results depend on

    def describe(self) -> dict[str, Any]:
        """See :meth:`Subject.describe`."""
        described = describe_task(self.task)
        for name in ("train", "valid"):
            self.compare_data(name, described[name])
        values = described["values"]
        if values and self._changing is None:
            self._changing = find_changing_values(self.task, values, self.check)
            self._is_checked = True
        return described | {"values": summarize_values(values, self._changing or ())}

    def check(self) -> None:
        """See :meth:`Subject.check`; not again where describing it has just done so."""
        if not self._is_checked:
            super().check()
            self._check_draws()
        self._is_checked = False

    def _check_draws(self) -> None:
        if self.findings.draws_by_itself is not None:
            return
        self.findings.draws_by_itself = draws_by_itself(self.task)
        if not self.findings.draws_by_itself:
            return
        _log.warning(
            "the training data differ when they are read again under one seed: data set, transforms or sampler draw "
            "from a generator that cannot be seeded from here, so another run makes other trials, and candidates train "
            "on different draws; draw from torch, numpy.random or random, or keep the generator as an attribute"
        )
        self.findings.stack_refusal = _OWN_DRAWS

    def test_id(self, study_id: int) -> str:
        """See :meth:`Subject.test_id`: its test data, whatever the study."""
        if self._test_hash is None:
            self._test_hash = self.task.data_hash("test")
            self.compare_data("test", self._test_hash)
        return self._test_hash

    def check_shape_learning(self, strategy: str, first: CandidateRecord | None) -> None:
        """See :meth:`Subject.check_shape_learning`: of a Task, its data and what arrives at the activations."""
        if first is not None:
            with self.threads():
                check_shape_learning(self, first)

    def check_test(self) -> None:
        """See :meth:`Subject.check_test`."""
        check_ends(self.task, ["test"])
        if self.task.test is None:
            raise TaskError(
                "confirm needs data the search never saw: give the Task test=(inputs, targets)"
            )

    def divide(
        self,
        parts: Sequence[tuple[Sequence[int], Sequence[int]]],
        labels: Sequence[int] | None,
    ) -> list[Subject]:
        """See :meth:`Subject.divide`."""
        assigned = assign_rows(self.task, labels)
        return [self._on_rows(trained, tested, assigned) for trained, tested in parts]

    def undefined_on_test(self) -> str:
        """See :meth:`Subject.undefined_on_test`."""
        model = Candidate.baseline().place(self.build()).model
        # there are no best weights, and no steps, of which many a schedule must have one
        untrained = self.task.replace(patience=None, schedule=None)
        keep_reading(self.task, untrained)
        with self.threads():
            return fit(untrained, model, 0, on_test=True, epochs=0).stopped

    def _on_rows(
        self, trained: Sequence[int], tested: Sequence[int], assigned: Assigned | None
    ) -> TaskSubject:
        task, train = self.task, self.task.train
        if len(trained):
            train = join_rows(train, take_rows(task.test, trained))
        divided = dataclasses.replace(task, train=train, test=take_rows(task.test, tested))
        # outputs and targets of one model are read alike, whichever rows come first
        set_reading(divided, reading_of(task))
        set_groups(divided, None if assigned is None else assigned.take(tested))
        subject = TaskSubject(divided)
        known = self.findings
        subject.findings.model, subject.findings.parameters = known.model, known.parameters
        subject.findings.draws_by_itself = known.draws_by_itself
        subject.findings.stack_refusal = known.stack_refusal
        subject.findings.stack_gain = known.stack_gain
        return subject

    # for people

    def forecast_seconds(self) -> float:
        """See :meth:`Subject.forecast_seconds`: from the way to the first evaluation."""
        seconds = self._time_evaluation()
        if seconds < _SHORT:  # what runs first pays for what torch loads only then
            seconds = self._time_evaluation()
        return seconds * self.task.evaluations

    def _time_evaluation(self) -> float:
        """Seconds of the way to the first evaluation."""
        model = Candidate.baseline().place(self.build()).model
        started = time.perf_counter()
        fit(self.task, model, 0, epochs=1)
        return time.perf_counter() - started

    def settings(self) -> TrainingSettings:
        """See :meth:`Subject.settings`."""
        hidden = (site for site in self.sites() if site.role == "hidden")
        return TrainingSettings(
            self.task.lr,
            *optimizer_settings(self.task),
            self.task.gain,
            tuple((site.path, site.type) for site in hidden),
            further_settings(self.task),
        )

    def baseline_label(self) -> str:
        """See :meth:`Subject.baseline_label`."""
        types = dict.fromkeys(site.type for site in self.sites() if site.role == "hidden")
        return " + ".join(types) or super().baseline_label()

    def pretrained_share(self) -> tuple[float, float] | None:
        """See :meth:`Subject.pretrained_share`."""
        return pretrained_share(self.task)


def _restore(
    task: Task,
    is_small: bool | None,
    reading: Reading | None,
    groups: tuple[Assigned | None] | None = None,
) -> TaskSubject:
    """The subject in another process."""
    subject = TaskSubject(task)
    if reading is not None:
        set_reading(task, reading)
    if groups is not None:
        set_groups(task, *groups)
    subject.findings.is_small = is_small
    return subject
