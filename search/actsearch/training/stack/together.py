"""Training one stack, or several side by side, each in a thread of its own."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from actsearch.placement.random_streams import isolated_random
from actsearch.task import Task
from actsearch.training.attention import mappable_attention
from actsearch.training.diagnose import combine_diagnostics
from actsearch.training.loop import TrainingResult
from actsearch.training.numerics import numerics_of
from actsearch.training.pace import tell
from actsearch.training.stack.exit_rule import ExitRule
from actsearch.training.stack.model import Member, computes_memberwise
from actsearch.training.stack.stacked_run import StackedRun

__all__ = ["fit_together"]

_SMALLEST_PART = 4  # members; smaller stacks are not worth a thread of their own


def fit_together(
    task: Task,
    members: Sequence[Member],
    *,
    on_test: bool = False,
    exit_rule: ExitRule | None = None,
    diagnose: bool = False,
    side_by_side: int | None = None,
    epochs: int | None = None,
    batch: Callable[[], Any] | None = None,
) -> list[TrainingResult]:
    """Train several models in one pass, or in several side by side; as :func:`actsearch.training.fit` for each.

    Each of a small stack's many operations is too small to be shared out between threads: it is divided into parts.

    Args:
        task: data, loss, metric and budget.
        members: equal learning rates side by side, and within these equal activations.
        on_test: also measure on the test data, once, at the end.
        exit_rule: which members leave before that.
        diagnose: observe the sites before and after training, if the task wants that.
        side_by_side: stacks at most, each in a thread of its own that has one thread of torch's; None for as many as
            torch may use. With 1, the stack has all of torch's threads for each operation.
        epochs: evaluations after which the training ends; the task's own by default.
        batch: gives the batch that is diagnosed; it is read anew by default.

    Returns:
        One result for each member; of one that was stopped or left, up to there.

    Raises:
        Unstackable: they cannot be trained together.
    """
    threads = torch.get_num_threads()
    most = threads if side_by_side is None else side_by_side
    parts = min(most, len(members) // _SMALLEST_PART) if _is_separable(task) else 1
    plan = _Plan(
        task, task.evaluations if epochs is None else epochs, on_test, exit_rule, diagnose, batch
    )
    is_mapped = not computes_memberwise(task.torch_device())
    with isolated_random(0), mappable_attention(is_mapped), numerics_of(task):
        if parts < 2:
            return _fit_in_step(plan, [members], map)
        share = -(-len(members) // parts)  # divided with rounding up
        shares = [members[start : start + share] for start in range(0, len(members), share)]
        # torch.set_num_threads counts for the thread that calls it
        one_thread = functools.partial(torch.set_num_threads, 1)
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


@dataclass(frozen=True)
class _Plan:
    """What the stacks of one call have in common; see :func:`fit_together`."""

    task: Task
    epochs: int
    on_test: bool
    exit_rule: ExitRule | None
    diagnose: bool
    batch: Callable[[], Any] | None


def _fit_in_step(
    plan: _Plan, parts: Sequence[Sequence[Member]], each: Callable[..., Iterable[Any]]
) -> list[TrainingResult]:
    """Train stacks side by side; they wait for each other where members may leave."""
    exit_rule = plan.exit_rule
    stacks = list(each(functools.partial(_TimedStack, plan), parts))
    rungs = sorted(exit_rule.epochs) if exit_rule is not None else []
    for epoch in [*rungs, plan.epochs]:
        list(each(functools.partial(_TimedStack.run_to, epoch=epoch), stacks))
        if exit_rule is not None and epoch in exit_rule.epochs:
            values = [value for stack in stacks for value in stack.values()]
            leaving = set(exit_rule.choose(epoch, dict(enumerate(values))))
            start = 0
            for stack in stacks:
                stack.leave({index - start for index in leaving})
                start += stack.count
    results = each(functools.partial(_TimedStack.results, on_test=plan.on_test), stacks)
    return [result for own in results for result in own]


class _TimedStack:
    """A stack with its clock."""

    def __init__(self, plan: _Plan, members: Sequence[Member]) -> None:
        started = time.perf_counter()
        self.count = len(members)
        self._added = [member.added for member in members]
        self._run = StackedRun(plan.task, members, plan.epochs, plan.batch)
        self._evaluations = plan.epochs
        self._diagnoses = plan.diagnose and plan.task.diagnostics
        self._start = self._run.diagnose() if self._diagnoses else {}
        self._epoch = 0
        self._seconds = time.perf_counter() - started

    def run_to(self, epoch: int) -> None:
        """Train up to an evaluation."""
        started = time.perf_counter()
        while self._epoch < epoch and self._run.running:
            self._epoch += 1
            self._run.train_to(self._epoch)
            tell(self._epoch, self._evaluations, self.count)
        self._seconds += time.perf_counter() - started

    def values(self) -> list[float | None]:
        """Each member's metric at the last evaluation; None for one that was stopped."""
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
                self._run.stopped.setdefault(index, "")  # a reason that is there stays

    def results(self, on_test: bool) -> list[TrainingResult]:
        """What each member's training gave."""
        started, run = time.perf_counter(), self._run
        metrics = run.final_metrics(on_test)
        end = run.diagnose() if self._diagnoses and run.running else {}
        share = (self._seconds + time.perf_counter() - started) / self.count
        return [
            TrainingResult(
                metrics[index],
                tuple(run.epochs[index]),
                run.stopped.get(index, ""),
                share,
                combine_diagnostics(
                    self._start.get(index),
                    end.get(index) if metrics[index] else None,
                    run.epochs[index],
                    self._added[index],
                ),
                run.without.get(index, ()),
            )
            for index in range(self.count)
        ]
