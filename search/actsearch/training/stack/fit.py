"""Training a stack: the loop of :mod:`actsearch.training.loop`, every step of it for all members at once."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actsearch.placement import forward
from actsearch.placement.random_streams import isolated_random
from actsearch.records import EpochRecord, SiteDiagnostics
from actsearch.seeds import derive
from actsearch.task import Batches, Task, inputs_and_targets
from actsearch.training.attention import mappable_attention
from actsearch.training.diagnose import (
    Seen,
    diagnosed,
    finished,
    fixed_batch,
    site_diagnostics,
    undisturbed,
)
from actsearch.training.loop import TrainingResult
from actsearch.training.measures import Measures, NonFinite, batch_size_of, full_precision
from actsearch.training.stack.batches import stack_batches, unstack
from actsearch.training.stack.measures import (
    StackedMetric,
    has_class_scores,
    loss_for_all,
    stack_target,
    with_value,
)
from actsearch.training.stack.model import Member, StackedModel, computes_memberwise
from actsearch.training.stack.optimizer import StackedOptimizer
from actsearch.training.stack.stacked_site import Unstackable
from actsearch.training.stack.watch import Watch

__all__ = ["StackedFit", "fit_stack", "fit_together"]

_SMALLEST_PART = 4  # members of a stack in a thread of its own


def fit_together(
    task: Task,
    members: Sequence[Member],
    *,
    on_test: bool = False,
    watch: Watch | None = None,
    diagnose: bool = False,
    side_by_side: int | None = None,
    epochs: int | None = None,
    batch: Callable[[], Any] | None = None,
) -> list[TrainingResult]:
    """Train several models at once; as :func:`fit_stack`, of which it may make several side by side.

    Each of a small stack's many operations is too small to be shared out between threads.

    Args:
        side_by_side: stacks at most, each in a thread of its own that has one thread of torch's; None for as many as
            torch may use. With 1, the stack has all of torch's threads for each operation.
        epochs: as in :func:`fit_stack`, like all others.
    """
    threads = torch.get_num_threads()
    most = threads if side_by_side is None else side_by_side
    parts = min(most, len(members) // _SMALLEST_PART) if _is_separable(task) else 1
    plan = _Plan(task, task.epochs if epochs is None else epochs, on_test, watch, diagnose, batch)
    with isolated_random(0), mappable_attention(not computes_memberwise(task.torch_device())):
        if parts < 2:
            return _fit_in_step(plan, [members], map)
        share = -(-len(members) // parts)
        shares = [members[start : start + share] for start in range(0, len(members), share)]
        one_thread = functools.partial(
            torch.set_num_threads, 1
        )  # counts for the thread that says it
        try:
            with ThreadPoolExecutor(len(shares), initializer=one_thread) as pool:
                return _fit_in_step(plan, shares, pool.map)
        finally:
            torch.set_num_threads(threads)


def _is_separable(task: Task) -> bool:
    """Whether nothing of a task is used by two stacks in turn: no loader, no metric of the user's own, one CPU."""
    sources = (task.train, task.valid, task.test)
    has_tensors = all(source is None or isinstance(source, tuple) for source in sources)
    return has_tensors and isinstance(task.metric, str) and task.torch_device().type == "cpu"


def fit_stack(
    task: Task,
    members: Sequence[Member],
    *,
    on_test: bool = False,
    watch: Watch | None = None,
    diagnose: bool = False,
    epochs: int | None = None,
    batch: Callable[[], Any] | None = None,
) -> list[TrainingResult]:
    """Train several models in one pass; as :func:`actsearch.training.fit` for each.

    Args:
        task: data, loss, metric and budget.
        members: equal learning rates side by side, and within these equal activations.
        on_test: also measure on the test data, once, after the last epoch.
        watch: which members leave before that.
        diagnose: look at the sites before and after training, if the task wants that.
        epochs: passes over the training data; the task's own by default.
        batch: gives the batch that is diagnosed; it is read anew by default.

    Returns:
        One result for each member; of one that was stopped or left, up to there.

    Raises:
        Unstackable: they cannot be trained together.
    """
    count = task.epochs if epochs is None else epochs
    plan = _Plan(task, count, on_test, watch, diagnose, batch)
    return _fit_in_step(plan, [members], map)


@dataclass(frozen=True)
class _Plan:
    """What the stacks of one call have in common; see :func:`fit_stack`."""

    task: Task
    epochs: int
    on_test: bool
    watch: Watch | None
    diagnose: bool
    batch: Callable[[], Any] | None


def _fit_in_step(
    plan: _Plan, parts: Sequence[Sequence[Member]], each: Callable[..., Iterable[Any]]
) -> list[TrainingResult]:
    """Train stacks side by side; they wait for each other where members may leave."""
    watch = plan.watch
    stacks = list(each(functools.partial(_Part, plan), parts))
    rungs = sorted(watch.epochs) if watch is not None else []
    for epoch in [*rungs, plan.epochs]:
        list(each(functools.partial(_Part.run_to, epoch=epoch), stacks))
        if watch is not None and epoch in watch.epochs:
            values = [value for part in stacks for value in part.values()]
            gone = set(watch.leaving(epoch, dict(enumerate(values))))
            start = 0
            for part in stacks:
                part.leave({index - start for index in gone})
                start += part.count
    found = each(functools.partial(_Part.results, on_test=plan.on_test), stacks)
    return [result for part in found for result in part]


class _Part:
    """A stack with its clock."""

    def __init__(self, plan: _Plan, members: Sequence[Member]) -> None:
        started = time.perf_counter()
        self.count = len(members)
        self._added = [member.added for member in members]
        self._run = StackedFit(plan.task, members, plan.epochs, plan.batch)
        self._start = self._run.look(plan.diagnose)
        self._diagnose = plan.diagnose
        self._epoch = 0
        self._seconds = time.perf_counter() - started

    def run_to(self, epoch: int) -> None:
        """Train up to the end of an epoch."""
        started = time.perf_counter()
        while self._epoch < epoch and self._run.running:
            self._epoch += 1
            self._run.epoch(self._epoch)
        self._seconds += time.perf_counter() - started

    def values(self) -> list[float | None]:
        """Each member's metric after the last epoch; None for one that was stopped."""
        run = self._run
        is_out = [index in run.stopped or not run.epochs[index] for index in range(self.count)]
        return [
            None if out else own[-1].valid_metric
            for out, own in zip(is_out, run.epochs, strict=True)
        ]

    def leave(self, members: Collection[int]) -> None:
        """Go on without some members."""
        for index in self._run.members:
            if index in members:
                self._run.stopped.setdefault(index, "")

    def results(self, on_test: bool) -> list[TrainingResult]:
        """What each member's training gave."""
        started, run = time.perf_counter(), self._run
        metrics = run.final_metrics(on_test)
        end = run.look(self._diagnose and bool(run.running))
        share = (self._seconds + time.perf_counter() - started) / self.count
        return [
            TrainingResult(
                metrics[index],
                tuple(run.epochs[index]),
                run.stopped.get(index, ""),
                share,
                finished(
                    self._start.get(index),
                    end.get(index) if metrics[index] else None,
                    run.epochs[index],
                    self._added[index],
                ),
            )
            for index in range(self.count)
        ]


class StackedFit:
    """Members in training: what their epochs share.

    Attributes:
        members: which ones are in the stack still, by position; row for row.
        epochs: records of each member so far.
        stopped: why a member was stopped, by its position; empty for one that left.
    """

    def __init__(
        self,
        task: Task,
        members: Sequence[Member],
        epochs: int | None = None,
        batch: Callable[[], Any] | None = None,
    ) -> None:
        if task.evaluate is not None:
            raise Unstackable("its evaluate function measures one model at a time")
        self.task = task
        self.metric = task.resolved_metric
        self.device = task.torch_device()
        self.model = StackedModel(members)
        self._loss = loss_for_all(task.loss)
        size, seeds = task.batch_size, self.model.seeds
        self.train = [
            Batches(task.train, size, self.device, derive(seed, "data")) for seed in seeds
        ]
        self.valid = Batches(task.valid, size, self.device, None)
        steps = self.train[0].steps
        total = None if steps is None else steps * (task.epochs if epochs is None else epochs)
        self._batch = batch or (lambda: fixed_batch(task, self.device))
        self.optimizer = StackedOptimizer(task, self.model, [m.lr for m in members], total)
        self.members = list(range(len(members)))
        self.epochs: list[list[EpochRecord]] = [[] for _ in members]
        self.stopped: dict[int, str] = {}
        self._last: Mapping[int, Any] = {}

    @property
    def running(self) -> list[int]:
        """Rows of members that were not stopped."""
        return [row for row, member in enumerate(self.members) if member not in self.stopped]

    def _shrink(self) -> None:
        """Drop the rows of stopped members where these are half of the stack or more.

        Two rows stay in any case: products over a stack of one are summed in another order.
        """
        rows = self.running
        if 2 * len(rows) > len(self.members) or len(self.members) <= 2:
            return
        spare = (row for row in range(len(self.members)) if row not in rows)
        rows = sorted([*rows, *itertools.islice(spare, max(0, 2 - len(rows)))])
        self.optimizer.keep(rows, self.model.keep(rows))
        self.members = [self.members[row] for row in rows]

    def look(self, wanted: bool) -> Mapping[int, tuple[SiteDiagnostics, ...]]:
        """Diagnose the sites of all members in one pass; by position, empty where that is not wanted or possible."""
        if not wanted or not self.task.diagnostics:
            return {}
        found = diagnosed(self._look)
        return {} if found is None else dict(zip(self.members, found, strict=True))

    def _look(self) -> list[tuple[SiteDiagnostics, ...]]:
        model, calls = self.model, dict[str, list[Seen]]()

        def watch(path: str) -> Callable[..., None]:
            def seen(x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]) -> None:
                calls.setdefault(path, []).append(Seen.of(x, y, again, model.count))

            return seen

        with undisturbed(model.base, model.buffers.values()):
            for path, site in model.sites.items():
                site.observer = watch(path)
            loss = self.loss([self._batch()])[0]
            return site_diagnostics(
                calls, loss.sum(), model.count, lambda path, row: model.sites[path].learned_by(row)
            )

    def epoch(self, number: int) -> None:
        """One pass over the training data, then one over the validation data."""
        started = time.perf_counter()
        self._shrink()
        losses, metrics = self._train_pass(number)
        measured = self._measure(self.valid, f"validation after epoch {number}")
        seconds = (time.perf_counter() - started) / max(1, len(self.running))
        for index in self.running:
            valid = measured[index]
            record = EpochRecord(
                number, losses[index], metrics[index], valid.loss, valid.value, seconds
            )
            self.epochs[self.members[index]].append(record)
        self._last = measured

    def final_metrics(self, on_test: bool) -> list[Mapping[str, float]]:
        """Measures of each trained model, the optimised one first; empty for one that was stopped."""
        measured = self._last
        if on_test and self.running:
            test = Batches(self.task.test, self.task.batch_size, self.device, None)
            measured = self._measure(test, "test")
        found: list[Mapping[str, float]] = [{} for _ in self.epochs]
        for row in self.running:
            try:
                found[self.members[row]] = measured[row].as_metrics()
            except NonFinite as error:
                self.stopped[self.members[row]] = str(error)
        return found

    def _train_pass(self, epoch: int) -> tuple[list[float], list[float | None]]:
        """Mean loss of each member, and its metric on the training batches."""
        self.model.train()
        metric = StackedMetric(self.task, self.model.count)
        loss_sum = torch.zeros(self.model.count, dtype=torch.float64)
        samples = 0
        for step, batches in enumerate(zip(*self.train, strict=True), start=1):
            loss, outputs, target, dims = self.loss(batches)
            values = loss.detach().double().cpu()
            for index in (~torch.isfinite(values)).nonzero().flatten().tolist():
                place = (
                    f"training loss became {values[index].item()} at epoch {epoch}, step {step}"
                )
                self.stopped.setdefault(self.members[index], place)
            if not self.running:
                break
            self.update(loss)
            size = batch_size_of(batches[0])
            loss_sum += values * size
            samples += size
            if outputs is not None:
                metric.update(outputs, target, dims)
        means = (loss_sum / max(samples, 1)).tolist()
        return means, metric.result(means)

    def update(self, loss: Tensor) -> None:
        """One step of every member down the gradient of its own loss."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.sum())
        self.optimizer.step()

    def loss(self, batches: Sequence[Any]) -> tuple[Tensor, Any, Any, Any]:
        """Loss of one batch, shape ``(members,)``; outputs and targets where the batches have them, and these's axis.

        Args:
            batches: one for each seed.
        """
        task = self.task
        batch, dims = self._stack_batches(batches)
        with self._autocast():
            if task.step is not None:
                return self.model.run(task.step, batch, dims=(dims,)), None, None, dims
            inputs, target = inputs_and_targets(batch)
            outputs = self.model.run(forward, inputs, dims=(dims,))
            loss = self._loss_of(outputs, target, dims)
        return loss, full_precision(outputs), target, dims

    def _loss_of(self, outputs: Any, target: Any, dims: int | None) -> Tensor:
        """The task's loss of each member, the very number of single training."""
        loss = self.task.loss
        assert loss is not None
        is_usual = self._loss is not None and has_class_scores(outputs, target, dims)
        if not computes_memberwise(self.device):
            if is_usual and self._loss is not None:
                return self._loss(outputs, stack_target(outputs, target, dims))
            mapped: Tensor = torch.vmap(loss, in_dims=(0, dims))(outputs, target)
            return mapped
        rows = unstack(outputs, self.model.count)
        targets = [target] * len(rows) if dims is None else unstack(target, len(rows))
        if self._loss is None or not is_usual:
            return torch.stack([loss(row, own) for row, own in zip(rows, targets, strict=True)])
        with torch.no_grad():
            values = [loss(row, own) for row, own in zip(rows, targets, strict=True)]
        return with_value(
            self._loss(outputs, stack_target(outputs, target, dims)), torch.stack(values)
        )

    def _autocast(self) -> Any:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.task.amp is not None
        )

    def _stack_batches(self, batches: Sequence[Any]) -> tuple[Any, Any]:
        """Each member's batch, and its axis of members: None where there is one seed, and all share it."""
        if len(batches) == 1:
            return batches[0], None
        return stack_batches(batches, self.model.seed_of), 0

    @torch.no_grad()
    def _measure(self, batches: Batches, where: str) -> Mapping[int, Measures]:
        """Loss and metric of each member that runs, computed as for one that is alone."""
        self.model.train(False)
        measures = {
            index: Measures.of(self.metric, self.task.more_metrics()) for index in self.running
        }
        for batch in batches:
            self._measure_batch(batch, measures)
        for index, measure in measures.items():
            try:
                measure.check(where)
            except NonFinite as error:
                self.stopped[self.members[index]] = str(error)
        return measures

    def _measure_batch(self, batch: Any, measures: Mapping[int, Measures]) -> None:
        task, size = self.task, batch_size_of(batch)
        with self._autocast():
            if task.step is not None:
                losses = self.model.run(task.step, batch, dims=(None,)).double()
                for index, measure in measures.items():
                    measure.add(losses[index], None, None, size)
                return
            inputs, target = inputs_and_targets(batch)
            rows = self.outputs(inputs)
            assert task.loss is not None
            losses = {index: task.loss(rows[index], target).double() for index in measures}
        for index, measure in measures.items():
            measure.add(losses[index], full_precision(rows[index]), target, size)

    def outputs(self, inputs: Any) -> list[Any]:
        """What each member's model gives for inputs that all share."""
        return unstack(self.model.run(forward, inputs, dims=(None,)), self.model.count)
