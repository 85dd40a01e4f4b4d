"""The task's own optimiser on stacked weights, with a learning rate for each member."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn, optim
from torch.nn.utils import get_total_norm

from actsearch.devices import is_cpu
from actsearch.task import Task
from actsearch.training.optimizer import build_for_parameters, takes_model
from actsearch.training.schedule import Schedule
from actsearch.training.stack.model import StackedModel
from actsearch.training.stack.stacked_site import Unstackable

__all__ = ["ELEMENTWISE", "StackedOptimizer"]

ELEMENTWISE = (
    optim.SGD,
    optim.Adam,
    optim.AdamW,
    optim.Adamax,
    optim.NAdam,
    optim.RAdam,
    optim.RMSprop,
    optim.Adagrad,
    optim.Adadelta,
    optim.Rprop,
)
"""Optimisers whose step for one number depends on that number and its gradient alone; others would mix members."""


class StackedOptimizer:
    """One of the task's optimisers for each learning rate, which steps slices of the stacked weights."""

    def __init__(
        self, task: Task, model: StackedModel, rates: Sequence[float], steps: int | None
    ) -> None:
        """Args:
        task: its optimiser, weight decay, schedule and clipping are used.
        model: whose weights are stepped.
        rates: learning rate of each member; equal ones side by side.
        steps: of the whole training, for the schedule.

        Raises:
            Unstackable: the optimiser is not one of :data:`ELEMENTWISE`, or groups the parameters by itself.
        """
        if takes_model(task.optimizer):
            raise Unstackable("its optimizer groups the parameters of one model")
        self._model = model
        self._clip = task.clip_grad_norm
        self._slices: list[tuple[nn.Parameter, Tensor, int, int]] = []
        self._optimizers: list[optim.Optimizer] = []
        self._schedules: list[Schedule] = []
        self._owners: list[tuple[nn.Parameter, Tensor]] | None = None
        start = 0
        for rate, equal in itertools.groupby(rates):
            end = start + len(list(equal))
            optimizer = build_for_parameters(task, *self._parameters(start, end), rate)
            if type(optimizer) not in ELEMENTWISE:
                raise Unstackable(f"{type(optimizer).__name__} may mix the members of a stack")
            _prefer_foreach(optimizer)
            self._optimizers.append(optimizer)
            self._schedules.append(Schedule(task, optimizer, steps))
            if self._schedules[-1].follows_plateaus:
                raise Unstackable("its schedule goes by what one model reaches")
            start = end  # equal rates lie side by side, so that each optimiser has one slice

    def _parameters(self, start: int, end: int) -> tuple[list[Tensor], list[Tensor]]:
        """The weights of some members, and what their activations learn."""
        weights = [self._slice(item, start, end) for item in self._model.trained]
        learned = []
        for item, owners in self._model.learned:
            rows = [row for row, owner in enumerate(owners) if start <= owner < end]
            if rows:
                learned.append(self._slice(item, rows[0], rows[-1] + 1))
        return weights, learned

    def _slice(self, parameter: nn.Parameter, start: int, end: int) -> Tensor:
        part = parameter.detach()[start:end]
        self._slices.append((parameter, part, start, end))
        return part

    def keep(self, rows: Sequence[int], kept: Mapping[nn.Parameter, Sequence[int]]) -> None:
        """Go on with some rows of the stacked weights, which have been taken out already.

        Args:
            rows: of the stack.
            kept: for each parameter, which rows it kept.
        """
        self._owners = None
        renewed = {}  # new slice and its rows of the old one, by the old one
        for index, (parameter, part, start, end) in enumerate(self._slices):
            inside = [row - start for row in kept[parameter] if start <= row < end]
            begin = sum(row < start for row in kept[parameter])
            new = parameter.detach()[begin : begin + len(inside)]
            self._slices[index] = (parameter, new, begin, begin + len(inside))
            renewed[id(part)] = (new, torch.tensor(inside, dtype=torch.long, device=part.device))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["params"] = [
                    _move_state(optimizer, old, *renewed[id(old)]) for old in group["params"]
                ]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter, part, _, _ in self._slices:
            parameter.grad = part.grad = None

    def step(self) -> None:
        """One step of every member, gradients clipped for each."""
        if self._clip is not None:
            self._clip_gradients(self._clip)
        # slices share the weights' memory and not their gradients
        for parameter, part, start, end in self._slices:
            part.grad = None if parameter.grad is None else parameter.grad[start:end]
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.after_step()

    def end_epoch(self) -> None:
        """A pass over the training data has ended."""
        for schedule in self._schedules:
            schedule.after_epoch()

    @torch.no_grad()
    def _clip_gradients(self, largest: float) -> None:
        """As ``torch.nn.utils.clip_grad_norm_`` does for one model."""
        model = self._model
        if is_cpu(model.seed_of.device):
            each = [get_total_norm(model.gradients(member)) for member in range(model.count)]
            norms = torch.stack(each)
        else:
            norms = self._norms_at_once()
        factor = (largest / (norms + 1e-6)).clamp(max=1.0)  # torch's own epsilon
        for item, owners in self._owned():
            if item.grad is not None:
                item.grad.mul_(factor[owners].view(-1, *(1 for _ in item.grad.shape[1:])))

    def _norms_at_once(self) -> Tensor:
        """Of each member's gradient, by one call for each parameter: on a GPU it is calls that cost."""
        squares = torch.zeros(self._model.count, device=self._model.seed_of.device)
        for item, owners in self._owned():
            if item.grad is not None:
                norms = torch.linalg.vector_norm(item.grad.reshape(len(owners), -1), dim=1)
                squares.index_add_(0, owners, norms.square().to(squares.dtype))
        return squares.sqrt()

    def _owned(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Each stacked parameter with the members that own its rows; the indices are copied to a GPU once."""
        if self._owners is None:
            model, device = self._model, self._model.seed_of.device
            everyone = torch.arange(model.count, device=device)
            self._owners = [
                *((item, everyone) for item in model.trained),
                *((item, torch.tensor(own, device=device)) for item, own in model.learned),
            ]
        return self._owners


def _move_state(optimizer: optim.Optimizer, old: Tensor, new: Tensor, rows: Tensor) -> Tensor:
    """Give a tensor's state to some of its rows."""
    if old in optimizer.state:
        optimizer.state[new] = {
            name: item[rows] if isinstance(item, Tensor) and item.shape == old.shape else item
            for name, item in optimizer.state.pop(old).items()
        }
    return new


def _prefer_foreach(optimizer: optim.Optimizer) -> None:
    """Let torch step all tensors of a group by one call for each operation, where the user left that open.

    The numbers stay the same to the last bit; those of ``fused=True`` would not, nor those of NAdam and RAdam.
    """
    if isinstance(optimizer, (optim.NAdam, optim.RAdam)):
        return
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None and not group.get("fused"):
            group["foreach"] = True
