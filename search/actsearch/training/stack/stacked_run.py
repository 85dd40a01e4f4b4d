"""What the epochs of a stack share: the loop of :mod:`actsearch.training.loop`, every step for all members at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from actsearch.devices import as_double, is_cpu
from actsearch.placement import forward
from actsearch.records import EpochRecord, SiteDiagnostics
from actsearch.seeds import derive
from actsearch.task import Batches, Task, inputs_and_targets, on_device
from actsearch.training.convention import reading_of
from actsearch.training.derivatives import measures_derivatives
from actsearch.training.diagnose import (
    SiteObservation,
    fixed_batch,
    preserve_state,
    site_diagnostics,
    try_to_diagnose,
)
from actsearch.training.measures import (
    Measures,
    NonFinite,
    autocast_for,
    count_samples,
    follows_metric,
    full_precision,
)
from actsearch.training.pace import OutOfTime, check_time
from actsearch.training.passes import TrainingPasses
from actsearch.training.row_groups import LeftOut, row_groups_of
from actsearch.training.schedule import schedule_steps
from actsearch.training.stack.batches import stack_batches, unstack
from actsearch.training.stack.measures import (
    StackedMeasures,
    StackedMetric,
    has_class_scores,
    loss_for_all,
    stack_target,
    with_value,
)
from actsearch.training.stack.model import Member, StackedModel, computes_memberwise
from actsearch.training.stack.optimizer import StackedOptimizer
from actsearch.training.stack.stacked_site import Unstackable
from actsearch.training.unread_losses import UnreadLosses

__all__ = ["StackedRun"]


class StackedRun:
    """Members in training: what the way from one evaluation to the next shares.

    Attributes:
        members: which ones are in the stack still, by position; row for row.
        epochs: records of each member so far, one for each evaluation.
        stopped: why a member was stopped, by its position; empty for one that left.
        without: by a member's position, its metric on the test data without each group of rows, where there is one.
    """

    def __init__(
        self,
        task: Task,
        members: Sequence[Member],
        epochs: int | None = None,
        batch: Callable[[], Any] | None = None,
    ) -> None:
        _refuse_unstackable(task)
        self.task = task
        self.reading = reading_of(task)
        self.metric = task.resolved_metric.bind(self.reading.convention)
        self.device = task.torch_device()
        self.model = StackedModel(members)
        self._loss = loss_for_all(task.loss)
        size, seeds = task.batch_size, self.model.seeds
        train, valid = (on_device(task, name, self.device) for name in ("train", "valid"))
        self.train = [Batches(train, size, self.device, derive(seed, "data")) for seed in seeds]
        self.passes = [TrainingPasses(task, batches) for batches in self.train]
        self.valid = Batches(valid, size, self.device, None)
        evaluations = task.evaluations if epochs is None else epochs
        total = schedule_steps(task, self.train[0].steps, evaluations)
        self._batch = batch or (lambda: fixed_batch(task, self.device))
        self.optimizer = StackedOptimizer(task, self.model, [m.lr for m in members], total)
        self.members = list(range(len(members)))
        self.epochs: list[list[EpochRecord]] = [[] for _ in members]
        self.stopped: dict[int, str] = {}
        self.without: dict[int, tuple[float, ...]] = {}
        self._last: Mapping[int, Any] = {}  # measures after the last epoch, by row

    @property
    def running(self) -> list[int]:
        """Rows of members that were not stopped."""
        return [row for row, member in enumerate(self.members) if member not in self.stopped]

    def _shrink(self) -> None:
        """Drop the rows of stopped members where these are half of the stack or more.

        Two rows stay in any case: products over a stack of one are summed in another order.
        """
        rows = self.running
        # not for each: to take rows out copies all weights and the optimiser's state
        if 2 * len(rows) > len(self.members) or len(self.members) <= 2:
            return
        spare = (row for row in range(len(self.members)) if row not in rows)
        rows = sorted([*rows, *itertools.islice(spare, max(0, 2 - len(rows)))])
        self.optimizer.keep(rows, self.model.keep(rows))
        self.members = [self.members[row] for row in rows]

    def diagnose(self) -> Mapping[int, tuple[SiteDiagnostics, ...]]:
        """Diagnose the sites of all members in one pass; by position, empty where that is not possible."""
        by_row = try_to_diagnose(self._observe_sites)
        return {} if by_row is None else dict(zip(self.members, by_row, strict=True))

    def _observe_sites(self) -> list[tuple[SiteDiagnostics, ...]]:
        model, observations = self.model, dict[str, list[SiteObservation]]()

        def watch(path: str) -> Callable[..., None]:
            def observe(x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]) -> None:
                observation = SiteObservation.measure(x, y, again, model.count)
                observations.setdefault(path, []).append(observation)

            return observe

        with preserve_state(model.base, model.buffers.values()):
            for path, site in model.sites.items():
                site.observer = watch(path)
            loss = self.loss([self._batch()])[0].sum()
            return site_diagnostics(
                observations,
                loss,
                model.count,
                lambda path, row: model.sites[path].learned_by(row),
            )

    def train_to(self, evaluation: int) -> None:
        """Train up to an evaluation, counted from 1, and measure on the validation data."""
        started = time.perf_counter()
        self._shrink()
        losses, metrics = self._train_pass(evaluation)
        position = self.task.position(evaluation)
        measured = self._measure(self.valid, f"validation after {self.task.unit} {position}")
        seconds = (time.perf_counter() - started) / max(1, len(self.running))
        for index in self.running:
            valid = measured[index]
            record = EpochRecord(
                position, losses[index], metrics[index], valid.loss, valid.value, seconds
            )
            self.epochs[self.members[index]].append(record)
        self._last = measured

    def final_metrics(self, on_test: bool) -> list[Mapping[str, float]]:
        """Measures of each trained model, the optimised one first; empty for one that was stopped."""
        measured = self._last
        left_out: Mapping[int, LeftOut] = {}
        if on_test and self.running:
            source = on_device(self.task, "test", self.device)
            test = Batches(source, self.task.batch_size, self.device, None)
            left_out = self._left_out()
            measured = self._measure(test, "test", left_out)
        metrics: list[Mapping[str, float]] = [{} for _ in self.epochs]
        for row in self.running:
            try:
                metrics[self.members[row]] = measured[row].as_metrics()
            except NonFinite as error:
                self.stopped[self.members[row]] = str(error)
                continue
            if row in left_out:
                self.without[self.members[row]] = left_out[row].result()
        return metrics

    def _left_out(self) -> Mapping[int, LeftOut]:
        """Of each member that runs, by row; empty where no group of test rows can be left out."""
        groups = row_groups_of(self.task)
        if groups is None:
            return {}
        return {row: LeftOut(self.task, self.metric, groups) for row in self.running}

    def _train_pass(self, evaluation: int) -> tuple[list[float], list[float | None]]:
        """Mean loss of each member, and its metric on the training batches."""
        self.model.train()
        is_followed = follows_metric(self.task) and self.reading.in_training
        ignored = self.reading.convention.ignored
        metric = StackedMetric(self.metric, self.model.count, ignored, is_followed=is_followed)
        # float64, as the Measures of single training add Python's floats
        loss_sum = torch.zeros(self.model.count, dtype=torch.float64)
        samples = 0
        unread = None if is_cpu(self.device) else UnreadLosses()
        own = [item.before(evaluation) for item in self.passes]
        for step, batches in enumerate(zip(*own, strict=True), start=1):
            loss, outputs, target, dims = self.loss(batches)
            size = count_samples(batches[0])
            if unread is not None:
                unread.add(loss, size)
            else:
                values = loss.detach().double()
                self._check_losses(values, evaluation, step)
                loss_sum += values * size
            if not self.running:
                break
            self.update(loss)
            try:
                check_time()
            except OutOfTime as error:
                for row in self.running:
                    self.stopped[self.members[row]] = str(error)
                break
            samples += size
            if outputs is not None:
                metric.update(outputs, target, dims)
        for step, values, size in unread.read() if unread is not None else ():
            self._check_losses(values, evaluation, step)
            loss_sum += values * size
        if self.task.unit == "epoch":
            self.optimizer.end_epoch()
        means = (loss_sum / max(samples, 1)).tolist()
        return means, metric.result(means)

    def _check_losses(self, values: Tensor, evaluation: int, step: int) -> None:
        """Stop the members whose loss is not finite."""
        for index in (~torch.isfinite(values)).nonzero().flatten().tolist():
            where = self.passes[0].place(evaluation, step)
            reason = f"training loss became {values[index].item()} at {where}"
            # the first reason stays: a stopped member is stepped on until its row is dropped
            self.stopped.setdefault(self.members[index], reason)

    def update(self, loss: Tensor) -> None:
        """One step of every member down the gradient of its own loss."""
        # members share no weights, so that the gradient of the sum is each one's own
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.sum())
        self.optimizer.step()

    def loss(self, batches: Sequence[Any]) -> tuple[Tensor, Any, Any, Any]:
        """Loss of one batch, shape ``(members,)``.

        Args:
            batches: one for each seed.

        Returns:
            The loss; outputs, ``(members, ...)``, and targets where the batches have them; the targets' axis of
            members.
        """
        return self._loss_of(*self._stack_batches(batches))

    def _loss_of(self, batch: Any, dims: int | None) -> tuple[Tensor, Any, Any, Any]:
        task = self.task
        with autocast_for(task, self.device):
            if task.step is not None:
                return self.model.run(task.step, batch, dims=(dims,)), None, None, dims
            inputs, target = inputs_and_targets(batch)
            outputs = self.model.run(forward, inputs, dims=(dims,))
            loss = self._member_losses(outputs, target, dims)
        return loss, full_precision(outputs), target, dims

    def _member_losses(self, outputs: Any, target: Any, dims: int | None) -> Tensor:
        """The task's loss of each member, the very number of single training."""
        loss = self.task.loss
        assert loss is not None
        for_all = self._loss if has_class_scores(outputs, target, dims) else None
        if not computes_memberwise(self.device):
            if for_all is not None:
                return for_all(outputs, stack_target(outputs, target, dims))
            mapped: Tensor = torch.vmap(loss, in_dims=(0, dims))(outputs, target)
            return mapped
        rows = unstack(outputs, self.model.count)
        targets = [target] * len(rows) if dims is None else unstack(target, len(rows))
        if for_all is None:
            return torch.stack([loss(row, own) for row, own in zip(rows, targets, strict=True)])
        # gradients of the one call for all are exact, its values are not: these are taken one by one
        with torch.no_grad():
            values = [loss(row, own) for row, own in zip(rows, targets, strict=True)]
        stacked = for_all(outputs, stack_target(outputs, target, dims))
        return with_value(stacked, torch.stack(values))

    def _stack_batches(self, batches: Sequence[Any]) -> tuple[Any, Any]:
        """Each member's batch, and its axis of members: None where there is one seed, and all share it."""
        if len(batches) == 1:
            return batches[0], None
        return stack_batches(batches, self.model.seed_of), 0

    @torch.no_grad()
    def _measure(
        self, batches: Batches, where: str, left_out: Mapping[int, LeftOut] = MappingProxyType({})
    ) -> Mapping[int, Measures]:
        """Loss and metric of each member that runs: on a CPU as for one that is alone, else for all at once."""
        self.model.train(False)
        if not is_cpu(self.device) and not left_out:
            measures = self._measure_at_once(batches)
        else:
            measures = {
                index: Measures.of(self.metric, self.task.more_metrics(self.reading.convention))
                for index in self.running
            }
            for batch in batches:
                self._measure_batch(batch, measures, left_out)
        for index, measure in measures.items():
            try:
                measure.check(where)
            except NonFinite as error:
                self.stopped[self.members[index]] = str(error)
        return measures

    def _measure_at_once(self, batches: Batches) -> dict[int, Measures]:
        convention = self.reading.convention
        more = [metric.bind(convention) for metric in self.task.further_metrics()]
        together = StackedMeasures(self.metric, more, self.model.count, convention.ignored)
        for batch in batches:
            losses, outputs, target, _ = self._loss_of(batch, None)
            together.add(losses, outputs, target, count_samples(batch))
        return together.result(self.running)

    def _measure_batch(
        self, batch: Any, measures: Mapping[int, Measures], left_out: Mapping[int, LeftOut]
    ) -> None:
        task, size = self.task, count_samples(batch)
        with autocast_for(self.task, self.device):
            if task.step is not None:
                stacked = as_double(self.model.run(task.step, batch, dims=(None,)))
                for index, measure in measures.items():
                    measure.add(stacked[index], None, None, size)
                return
            inputs, target = inputs_and_targets(batch)
            rows = self.outputs(inputs)
            assert task.loss is not None
            losses = {index: as_double(task.loss(rows[index], target)) for index in measures}
        for index, measure in measures.items():
            measure.add(losses[index], full_precision(rows[index]), target, size)
        for index, item in left_out.items():
            item.add(rows[index], target, size)

    def outputs(self, inputs: Any) -> list[Any]:
        """What each member's model gives for inputs that all share."""
        return unstack(self.model.run(forward, inputs, dims=(None,)), self.model.count)


def _refuse_unstackable(task: Task) -> None:
    reasons = {
        "its evaluate function measures one model at a time": task.evaluate is not None,
        "each of its trainings has the length that its own patience gives it": task.patience
        is not None,
        "gradients of several batches are accumulated": task.accumulate_grad_batches > 1,
        "its losses are scaled, each by itself": task.amp_dtype is torch.float16,
        "it asks torch for derivatives where it is measured": measures_derivatives(task),
    }
    for reason, applies in reasons.items():
        if applies:
            raise Unstackable(reason)
