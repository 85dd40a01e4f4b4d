"""Whether the trainings of a task are worth a stack: measured once, when as much was trained as measuring takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from actsearch.evaluation.request import Request
from actsearch.evaluation.stacked import MEASURED, Stacker, Training
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.task import Task

__all__ = ["StackChoice"]

_log = logging.getLogger("actsearch")

_WORTH = 2000  # training steps; about as long take checking and measuring a stack
_GAIN = 1.05  # a stack must be so much faster than one at a time


class StackChoice:
    """How many candidates of a task are trained in one pass; what was measured is kept with the task's analysis.

    That decides how long trainings take, and no value: where a stack may give other last bits, as on a GPU, nothing
    that is measured decides.
    """

    def __init__(self, analysis: TaskAnalysis) -> None:
        self._analysis = analysis
        # whether stacks are faster; None until it is worth asking
        self._is_stacked: bool | None = None
        self._alone = 0  # training steps before it was known whether a stack is faster

    def batch_for(
        self, requests: Sequence[Request], trainings: Sequence[Training], largest_stack: int
    ) -> int:
        """See :meth:`Subject.batch_for`.

        Asked once, when what was trained alone together with what is asked for now is as long as asking takes: as many
        will come as have been, which is the best guess there is. All later ones follow.
        """
        if self._is_stacked is None:
            steps = _count_steps(self._analysis.task)
            if len(requests) < 2 or self._alone + len(trainings) * steps < _WORTH:
                self._alone += sum(len(request.seeds) for request in requests[:1]) * steps
                return 1
            stacker = Stacker(self._analysis, largest=largest_stack)
            self._is_stacked = self._gains_from(stacker, trainings)
        largest_stack = min(largest_stack, self._analysis.findings.most_members or largest_stack)
        seeds = max((len(request.seeds) for request in requests), default=1)
        return max(1, largest_stack // seeds) if self._is_stacked else 1

    def _gains_from(self, stacker: Stacker, trainings: Sequence[Training]) -> bool:
        """Whether trainings are faster in a stack than one after the other."""
        findings, threads = self._analysis.findings, torch.get_num_threads()
        measured, gain = findings.stack_gain
        if measured == threads:
            return gain >= _GAIN
        with self._analysis.threads():
            gain = stacker.gain(sorted(trainings, key=lambda item: item.key))
        if gain > 0 and self._analysis.device.type != "cpu":
            return True
        if gain > 0:
            findings.stack_gain = threads, gain
            count = min(len(trainings), stacker.largest, MEASURED)
            together = "are trained together" if gain >= _GAIN else "would be no faster together"
            _log.info(
                "candidates %s: %d in one pass take %.1f times less each", together, count, gain
            )
        return gain >= _GAIN


def _count_steps(task: Task) -> int:
    """Training steps of one training; 1 an epoch where the data does not know its length."""
    source = task.train
    if task.steps is not None:
        return task.steps
    if isinstance(source, tuple):
        batches = -(-len(source[0]) // task.batch_size)
    else:
        try:
            is_batched = hasattr(source, "batch_size")
            batches = len(source) if is_batched else -(-len(source) // task.batch_size)
        except TypeError:
            batches = 1
    return batches * task.epochs
