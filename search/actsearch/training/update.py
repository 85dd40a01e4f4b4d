"""From the loss of a batch to the next weights: backward, accumulation, scaling, clipping, the optimizer's step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.errors import TaskError
from actsearch.task import Task
from actsearch.training.optimizer import build_for_model, needs_closure
from actsearch.training.schedule import Schedule

__all__ = ["WeightUpdate"]


class WeightUpdate:
    """The optimizer of one training, with all that stands around its steps.

    Attributes:
        optimizer: the task's.
        schedule: of its learning rates.
    """

    def __init__(
        self, task: Task, model: nn.Module, lr: float, schedule_steps: int | None
    ) -> None:
        """Args:
        task: its optimizer, schedule, clipping and precision are used.
        model: on its device.
        lr: learning rate.
        schedule_steps: how often the schedule is going to be stepped.

        Raises:
            TaskError: the optimizer does not go with the model or with other settings.
        """
        self.optimizer = build_for_model(task, model, lr)
        self.schedule = Schedule(task, self.optimizer, schedule_steps)
        self._model = model
        self._clip = task.clip_grad_norm
        self._batches = task.accumulate_grad_batches
        self._taken = 0  # batches whose gradients wait for the step
        self._evaluates = needs_closure(self.optimizer)
        is_half = task.amp_dtype is torch.float16
        self._scaler = torch.amp.GradScaler(task.torch_device().type, enabled=is_half)
        if self._evaluates and (is_half or self._batches > 1):
            setting = "amp='float16'" if is_half else "accumulate_grad_batches"
            raise TaskError(
                f"{type(self.optimizer).__name__} evaluates the loss several times in one step: leave out {setting}"
            )

    def take(self, loss: Tensor, again: Callable[[], Tensor]) -> None:
        """Take the loss of one more batch, and make a step where that is its turn.

        Args:
            loss: of the batch.
            again: computes it anew, for an optimizer that evaluates it several times in one step.
        """
        if self._evaluates:
            self._step_by_closure(loss, again)
            return
        if self._taken == 0:
            self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(loss))
        self._taken += 1
        if self._taken == self._batches:
            self._step()

    def end_epoch(self) -> None:
        """Make a step of the batches that are left, and step a schedule that counts epochs."""
        if self._taken:
            self._step()
        self.schedule.after_epoch()

    def _step(self) -> None:
        self._scaler.unscale_(self.optimizer)
        if self._taken > 1:
            self._average_gradients()
        self._clip_gradients()
        scale = self._scaler.get_scale()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._taken = 0
        if self._scaler.get_scale() >= scale:  # else gradients overflowed, and no step was made
            self.schedule.after_step()

    @torch.no_grad()
    def _average_gradients(self) -> None:
        for parameter in self._model.parameters():
            if parameter.grad is not None:
                parameter.grad /= self._taken

    def _clip_gradients(self) -> None:
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)

    def _step_by_closure(self, loss: Tensor, again: Callable[[], Tensor]) -> None:
        computed = [loss]

        def evaluate() -> Any:  # torch's own annotation has a float
            self.optimizer.zero_grad(set_to_none=True)
            value = computed.pop() if computed else again()
            torch.autograd.backward(value)
            self._clip_gradients()
            return value

        self.optimizer.step(evaluate)
        self.schedule.after_step()
