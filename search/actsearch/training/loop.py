"""Training: fit -> up to the next evaluation -> batch, one small function each."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from actsearch.activations import reseed_random_activations
from actsearch.devices import as_double, is_cpu
from actsearch.errors import TaskError
from actsearch.placement import forward
from actsearch.placement.random_streams import isolated_random
from actsearch.records import Diagnostics, EpochRecord, SiteDiagnostics
from actsearch.seeds import derive
from actsearch.task import Batches, Metric, Task, inputs_and_targets, on_device
from actsearch.training.attention import plain_attention
from actsearch.training.convention import Reading, reading_of
from actsearch.training.derivatives import measure
from actsearch.training.diagnose import (
    combine_diagnostics,
    fixed_batch,
    observe_sites,
    try_to_diagnose,
)
from actsearch.training.dropout import key_dropout
from actsearch.training.early_stopping import EarlyStopping
from actsearch.training.measures import (
    Measures,
    NonFinite,
    autocast_for,
    count_samples,
    detach,
    follows_metric,
    full_precision,
)
from actsearch.training.numerics import numerics_of
from actsearch.training.pace import check_time, tell
from actsearch.training.passes import TrainingPasses
from actsearch.training.row_groups import LeftOut, row_groups_of
from actsearch.training.schedule import check_schedule, schedule_steps
from actsearch.training.unread_losses import UnreadLosses
from actsearch.training.update import WeightUpdate

__all__ = ["TrainingRun", "TrainingResult", "fit", "seed_streams"]

Report = Callable[[int, float], bool | None]


@dataclass(frozen=True)
class TrainingResult:
    """What one training gave.

    Attributes:
        metrics: measures of the evaluation that counts, the optimised one first; empty if the run was stopped.
        epochs: one record for each evaluation, numbered by the epoch or step after which it took place.
        stopped: why and where the run was stopped; empty if it reached its end.
        seconds: wall time.
        diagnostics: of the sites, where they were asked for.
        without: the optimised metric on the test data without each group of rows; empty where it was not measured on
            them, or cannot be had for some of the rows.
    """

    metrics: Mapping[str, float]
    epochs: tuple[EpochRecord, ...]
    stopped: str = ""
    seconds: float = 0.0
    diagnostics: Diagnostics | None = None
    without: tuple[float, ...] = ()


def fit(
    task: Task,
    model: nn.Module,
    seed: int,
    *,
    on_test: bool = False,
    report: Report | None = None,
    watched: Sequence[str] = (),
    added: int | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    batch: Callable[[], Any] | None = None,
) -> TrainingResult:
    """Train a model in place under one seed and measure it.

    Data order, dropout and random activations draw from separate streams derived from the seed. Training stops at
    the first loss that is not finite, and the result says where.

    Args:
        task: data, loss, metric and budget.
        model: the model to train; on return it is trained, on the task's device.
        seed: seed of this run.
        on_test: also measure on the test data, once, at the end; the metrics are then the test's.
        report: called with (epoch or step, validation metric) after each evaluation; the run ends where it says True.
        watched: paths of the sites to be diagnosed, if the task wants that.
        added: numbers that the model learns beyond those of the user's own, to be written down.
        lr: learning rate; the task's own by default.
        epochs: evaluations after which the training ends; the task's own by default.
        batch: gives the batch that is diagnosed, see :func:`fixed_batch`; it is read anew by default.

    Raises:
        TaskError: when model, data, loss and metric, or optimizer and schedule, do not fit together.
    """
    started = time.perf_counter()
    run = TrainingRun(task, model, seed, lr, epochs, batch)
    done: list[EpochRecord] = []
    metrics: Mapping[str, float] = {}
    stopped = ""
    is_complete = False
    start = run.diagnose(watched)
    end: tuple[SiteDiagnostics, ...] | None = None
    with isolated_random(derive(seed, "dropout")), plain_attention(), numerics_of(task):
        try:
            for number in range(1, run.evaluations + 1):
                done.append(run.train_to(number))
                tell(number, run.evaluations)
                value = done[-1].valid_metric
                if report is not None and value is not None and report(done[-1].epoch, value):
                    break
                if run.is_out_of_patience:
                    is_complete = True
                    break
            else:
                is_complete = True
            if is_complete:
                metrics = run.final_metrics(on_test)
                end = run.diagnose(watched)
        except NonFinite as error:
            stopped = str(error)
    seconds = time.perf_counter() - started
    diagnostics = combine_diagnostics(start, end, done, added)
    return TrainingResult(metrics, tuple(done), stopped, seconds, diagnostics, run.without)


def seed_streams(model: nn.Module, seed: int) -> None:
    """Start every random stream that belongs to a module of the model: dropout and random activations."""
    reseed_random_activations(model, derive(seed, "activation"))
    key_dropout(model, seed)


class TrainingRun:
    """One model in training: what the way from one evaluation to the next shares.

    Attributes:
        without: what :meth:`final_metrics` has measured on the test data without each group of rows.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        seed: int,
        lr: float | None = None,
        epochs: int | None = None,
        batch: Callable[[], Any] | None = None,
    ) -> None:
        self.task = task
        self.evaluations = task.evaluations if epochs is None else epochs
        self._batch = batch or (lambda: fixed_batch(task, self.device))
        self.device = task.torch_device()
        self.model = model.to(self.device)
        seed_streams(self.model, seed)
        train = on_device(task, "train", self.device)
        self.train = Batches(train, task.batch_size, self.device, derive(seed, "data"))
        self._passes = TrainingPasses(task, self.train)
        self._valid: Batches | None = None
        steps = schedule_steps(task, self.train.steps, self.evaluations)
        check_schedule(task, self.model, schedule_steps(task, self.train.steps, task.evaluations))
        self.update = WeightUpdate(task, self.model, task.lr if lr is None else lr, steps)
        self._stopping = None if task.patience is None else EarlyStopping(task, self.model)
        self._last: Measures | None = None
        self.is_out_of_patience = False
        self._left_out: LeftOut | None = None
        self.without: tuple[float, ...] = ()

    @functools.cached_property
    def reading(self) -> Reading:
        """How outputs and targets are read; looked for only where something is measured."""
        return reading_of(self.task)

    @functools.cached_property
    def metric(self) -> Metric:
        """The task's, reading outputs and targets as the task's model and loss mean them."""
        return self.task.resolved_metric.bind(self.reading.convention)

    @property
    def follows_metric(self) -> bool:
        """Whether the metric is measured on the training batches too."""
        return follows_metric(self.task) and self.reading.in_training

    def diagnose(self, paths: Sequence[str]) -> tuple[SiteDiagnostics, ...] | None:
        """Diagnose some sites as they are now; None where that is not wanted or not possible."""
        if not paths or not self.task.diagnostics:
            return None

        def observe() -> tuple[SiteDiagnostics, ...]:
            batch = self._batch()
            # a step may have an optimizer of its own
            weights = () if self.task.step is None else self.model.parameters()
            return observe_sites(self.model, paths, lambda: self.loss(batch)[0], weights)

        return try_to_diagnose(observe)

    def train_to(self, evaluation: int) -> EpochRecord:
        """Train up to an evaluation, counted from 1, and measure on the validation data."""
        steps = self.steps_to(evaluation)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                record: EpochRecord = end.value
                return record

    def steps_to(self, evaluation: int) -> Generator[None, None, EpochRecord]:
        """As :meth:`train_to`, with a stop after each training step; the record is what the generator returns."""
        started = time.perf_counter()
        train = yield from self._train_pass(evaluation)
        position = self.task.position(evaluation)
        valid = self._last = self.validate(f"validation after {self.task.unit} {position}")
        self.update.schedule.after_evaluation(valid)
        if self._stopping is not None:
            self.is_out_of_patience = self._stopping.take(valid)
        seconds = time.perf_counter() - started
        return EpochRecord(position, train.loss, train.value, valid.loss, valid.value, seconds)

    def final_metrics(self, on_test: bool) -> Mapping[str, float]:
        """Measures of the trained model on validation or test data, the optimised one first.

        With patience, the model gets the weights of its best evaluation.
        """
        measures = self._last
        if self._stopping is not None:
            self._stopping.restore()
            measures = self._stopping.best
        if on_test:
            measures = measure(self.task, self._measure_test)
        assert measures is not None
        metrics = measures.as_metrics()
        if self._left_out is not None:
            self.without = self._left_out.result()
        return metrics

    def _measure_test(self) -> Measures:
        groups = row_groups_of(self.task)
        self._left_out = None if groups is None else LeftOut(self.task, self.metric, groups)
        return self._measure(self.batches("test"), "test", self._left_out)

    def _train_pass(self, evaluation: int) -> Generator[None, None, Measures]:
        metric = self.metric
        measures = Measures.of(metric) if self.follows_metric else Measures(metric, None)
        unread = None if is_cpu(self.device) else UnreadLosses()
        self.model.train()
        for number, batch in enumerate(self._passes.before(evaluation), start=1):
            loss, output, target = self.loss(batch)
            value, size = 0.0, count_samples(batch)
            if unread is None:
                value = loss.item()
                self._check_loss(value, evaluation, number)
            else:
                unread.add(loss.reshape(()), size)
            self.take_step(loss, batch)
            check_time()
            # what only training returns, as an auxiliary head, is for the loss alone
            is_measured = measures.accumulator is not None and isinstance(output, Tensor)
            detached = output.detach() if is_measured else None
            measures.add(value, detached, target, size)
            yield
        for number, read, size in unread.read() if unread is not None else ():
            self._check_loss(float(read), evaluation, number)
            measures.loss_sum += float(read) * size
        if self.task.unit == "epoch":
            self.update.end_epoch()
        return measures

    def _check_loss(self, value: float, evaluation: int, number: int) -> None:
        if not math.isfinite(value):
            where = self._passes.place(evaluation, number)
            raise NonFinite(f"training loss became {value} at {where}")

    def take_step(self, loss: Tensor, batch: Any) -> None:
        """Step down the gradient of the loss of a batch."""
        self.update.take(loss, lambda: self.loss(batch)[0])

    def loss(self, batch: Any) -> tuple[Tensor, Any, Any]:
        """Loss of one batch, with the output and the target where the batch has them."""
        loss, output, target = self._run_model(batch)
        return loss, full_precision(output), target

    def _run_model(self, batch: Any) -> tuple[Tensor, Any, Any]:
        """As :meth:`loss`, with the output in the precision that the loss was given."""
        with autocast_for(self.task, self.device):
            if self.task.step is not None:
                return self.task.step(self.model, batch), None, None
            inputs, target = inputs_and_targets(batch)
            output = forward(self.model, inputs)
            assert self.task.loss is not None
            loss = self.task.loss(output, target)
        return loss, output, target

    def validate(self, where: str, batches: Batches | None = None) -> Measures:
        """Loss and metric on the validation data, or on other batches in their place from here on.

        Raises:
            NonFinite: one of them is not a number.
        """
        self._valid = batches or self._valid

        def attempt() -> Measures:
            batches = self._valid or self.batches("valid")
            self._valid = None  # after an attempt that failed it begins anew
            measures = self._measure(batches, where)
            self._valid = batches
            return measures

        return measure(self.task, attempt)

    def batches(self, name: str) -> Batches:
        """Of one of the task's data sets, in its own order."""
        source = on_device(self.task, name, self.device)
        if self.task.evaluate is not None and isinstance(source, tuple):
            # as a DataLoader gives them: a function of the user's may call view on its batches
            source = tuple(tensor.contiguous() for tensor in source)
        return Batches(source, self.task.batch_size, self.device, None)

    def _measure(self, batches: Batches, where: str, left_out: LeftOut | None = None) -> Measures:
        measures = Measures.of(self.metric, self.task.more_metrics(self.reading.convention))
        self.model.eval()
        if self.task.evaluate is not None:
            with isolated_random(0):  # measuring must not shift the stream of dropout
                result = self.task.evaluate(self.model, batches)
            named = dict(result) if isinstance(result, Mapping) else {self.metric.name: result}
            measures.named = {name: float(value) for name, value in named.items()}
            if self.metric.name not in measures.named:
                raise TaskError(
                    f"evaluate returned {', '.join(measures.named)}, not the metric {self.metric.name}"
                )
        else:
            self._measure_batches(batches, measures, left_out)
        measures.check(where)
        return measures

    def _measure_batches(
        self, batches: Batches, measures: Measures, left_out: LeftOut | None
    ) -> None:
        for batch in batches:
            loss, output, target = self._run_model(batch)
            size = count_samples(batch)
            measures.add(as_double(loss.detach()), detach(full_precision(output)), target, size)
            if left_out is not None:
                left_out.add(output, target, size)
