"""What the user's unchanged model makes of some rows."""

from __future__ import annotations

import copy
import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from actsearch.placement import forward
from actsearch.placement.random_streams import isolated_random
from actsearch.task import Task, inputs_and_targets, to_device
from actsearch.task.metrics.convention import class_axes
from actsearch.training.data_check.rows import Origin
from actsearch.training.loop import TrainingRun

__all__ = ["MAX_PROBED", "ModelProbe", "attempt"]

_log = logging.getLogger("actsearch")

MAX_PROBED = 64
"""Rows that the model is tried on at most."""

T = TypeVar("T")
D = TypeVar("D")

_CPU = torch.device("cpu")


def attempt(what: str, action: Callable[[], T], default: D) -> T | D:
    """The result of an action, or the default where the user's data, model or loss do not allow it."""
    try:
        return action()
    except Exception as error:  # code of the user's: anything
        _log.debug("not checked: %s (%s: %s)", what, type(error).__name__, error)
        return default


class ModelProbe:
    """Runs copies of a task's model on chosen rows; nothing is trained, and no random stream moves.

    What depends on labels runs on the CPU: on a GPU a label out of range ends the process' use of it for good.
    """

    def __init__(self, task: Task, build: Callable[[], nn.Module]) -> None:
        """Args:
        task: whose loss is used.
        build: gives its model unchanged.
        """
        self._task = task
        self._build = build

    def nonfinite_reason(self, origin: Origin, which: Sequence[int], *, gradients: bool) -> str:
        """What is not finite when the model is given these rows; empty if nothing is.

        Args:
            origin: of the rows.
            which: the rows.
            gradients: whether the weights' gradients count as well.

        Raises:
            Exception: whatever the user's model raises on them.
        """
        loss, run = self._loss(self._task, origin, which)
        if not math.isfinite(loss.item()):
            return f"the loss of your model on them is {loss.item()}"
        if not gradients:
            return ""
        torch.autograd.backward(loss)
        grads = [p.grad for p in run.model.parameters() if p.grad is not None]
        return "" if all(bool(g.isfinite().all()) for g in grads) else "its gradient is not finite"

    def accepts_labels(self, origin: Origin, which: Sequence[int]) -> bool:
        """Whether the loss takes the labels of these rows.

        Raises:
            Exception: whatever else the user's model raises on them.
        """
        try:
            self._loss(self._task.replace(device="cpu"), origin, which)
        except IndexError:
            return False
        return True

    def classes(self, origin: Origin) -> int | None:
        """Scores for classes that the model gives a row; None where its output is of another form, or may be of two."""
        with isolated_random(0), torch.no_grad():
            inputs, target = inputs_and_targets(to_device(origin.batch([0]), _CPU))
            output = forward(self._model_on_cpu, inputs)
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return None
        sizes = _class_counts(output, target)
        return sizes[0] if len(sizes) == 1 else None

    def are_targets_classes(self, origin: Origin, which: Sequence[int]) -> bool:
        """Whether the targets are classes, seen by a loss that takes those of these rows, and none that has no output.

        Raises:
            Exception: whatever the user's model and loss raise on these rows.
        """
        output, target, loss = self._evaluate(origin, which)
        sizes = _class_counts(output, target) if isinstance(output, Tensor) else []
        if not sizes:
            return False
        loss(output, target)
        try:
            loss(output, torch.full_like(target, max(sizes)))
        except IndexError:
            return True
        return False

    def ignores_rows(self, origin: Origin, which: Sequence[int]) -> bool:
        """Whether the loss leaves these rows out: it is not finite, or the same whatever the model's output is.

        Raises:
            Exception: whatever the user's model and loss raise on these rows.
        """
        output, target, loss = self._evaluate(origin, which)
        value = loss(output, target)
        if not isinstance(output, Tensor) or not bool(torch.isfinite(value).all()):
            return True
        other = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        return bool((value == loss(other.to(output.dtype), target)).all())

    def uses_targets(self, origin: Origin, which: Sequence[int]) -> bool:
        """Whether the loss on these rows would be another with other targets; they may be placeholders."""
        output, target, loss = self._evaluate(origin, which)
        return bool((loss(output, target) != loss(output, _other_targets(target))).any())

    def _evaluate(
        self, origin: Origin, which: Sequence[int]
    ) -> tuple[Any, Tensor, Callable[[Any, Tensor], Tensor]]:
        """The model's output on these rows, their targets, and the task's loss of the two."""
        loss = self._task.loss
        assert loss is not None
        if isinstance(loss, nn.Module):
            loss = copy.deepcopy(loss).to(_CPU)
        with isolated_random(0), torch.no_grad():
            inputs, target = inputs_and_targets(to_device(origin.batch(which), _CPU))
            return forward(self._model_on_cpu, inputs), target, torch.no_grad()(loss)

    def _loss(
        self, task: Task, origin: Origin, which: Sequence[int]
    ) -> tuple[Tensor, TrainingRun]:
        run = TrainingRun(task, copy.deepcopy(self._build()), 0)
        run.model.eval()  # the statistics of a normalisation need more rows than there may be
        with isolated_random(0):
            loss, _, _ = run.loss(to_device(origin.batch(which), run.device))
        return loss, run

    @functools.cached_property
    def _model_on_cpu(self) -> nn.Module:
        return copy.deepcopy(self._build()).to(_CPU).eval()


def _class_counts(output: Tensor, target: Tensor) -> list[int]:
    """How many classes an output may have scores for."""
    if output.dim() != target.dim() + 1:
        return []
    return [output.shape[axis] for axis in class_axes(output, target)]


def _other_targets(target: Tensor) -> Tensor:
    if target.dtype is torch.bool:
        return ~target
    if target.is_floating_point():
        return target + 1
    return torch.where(target == 0, 1, 0).to(target.dtype)
