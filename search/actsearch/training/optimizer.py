"""The user's optimiser and schedule, with learned activation parameters in a group of their own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from actsearch.activations import Activation
from actsearch.errors import TaskError
from actsearch.task import Task
from actsearch.task.task import SCHEDULES

__all__ = [
    "assemble_groups",
    "build_for_groups",
    "build_optimizer",
    "build_schedule",
    "parameter_groups",
    "uses_learning_rate",
]


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights first; learned activation parameters in a second group without weight decay.

    Decay would pull a learned slope towards 0, which is not a neutral value (He et al. 2015, arXiv:1502.01852, 2.2).
    """
    of_activations = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Activation)
        for parameter in module.parameters()
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in trained if id(parameter) not in of_activations]
    learned = [parameter for parameter in trained if id(parameter) in of_activations]
    return assemble_groups(weights, learned)


def assemble_groups(weights: Sequence[Tensor], learned: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Groups for an optimiser from weights and what activations learn; none of an empty list."""
    groups: list[dict[str, Any]] = [{"params": list(weights)}] if weights else []
    if learned:
        groups.append({"params": list(learned), "weight_decay": 0.0})
    return groups


def build_optimizer(task: Task, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The task's optimiser on a model, at a learning rate.

    Raises:
        TaskError: when the model has nothing to train, or the optimiser refuses its arguments.
    """
    groups = parameter_groups(model)
    if not groups:
        raise TaskError(f"{type(model).__name__} has no parameters that require gradients")
    return build_for_groups(task, groups, lr)


def build_for_groups(task: Task, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """The task's optimiser on groups of parameters, at a learning rate.

    Raises:
        TaskError: when the optimiser refuses its arguments.
    """
    settings: dict[str, Any] = {"lr": lr}
    # a functools.partial of the user's keeps its own decay unless the task sets one
    if _takes(task.optimizer, "weight_decay"):
        if task.weight_decay or not _is_preset(task.optimizer, "weight_decay"):
            settings["weight_decay"] = task.weight_decay
    elif task.weight_decay:
        raise TaskError(
            f"{task.optimizer!r} takes no weight_decay: set it in the optimizer function"
        )
    else:
        groups = [{"params": group["params"]} for group in groups]
    try:
        return task.optimizer(groups, **settings)
    except (TypeError, ValueError) as error:
        raise TaskError(f"the optimizer cannot be built: {error}") from error


def build_schedule(
    task: Task, optimizer: torch.optim.Optimizer, total_steps: int | None
) -> LRScheduler | None:
    """The task's schedule, or None.

    Raises:
        TaskError: when the number of steps is needed but the data does not know its length, or what should make the
            schedule does not.
    """
    if task.schedule is None:
        return None
    if total_steps is None:
        raise TaskError("a schedule needs training data that knows its length")
    make = SCHEDULES[task.schedule] if isinstance(task.schedule, str) else task.schedule
    try:
        schedule = make(optimizer, total_steps)
    except (TypeError, ValueError) as error:
        raise TaskError(f"schedule= is called with (optimizer, total_steps): {error}") from error
    if schedule is None:
        raise TaskError("schedule= is called with (optimizer, total_steps) and returned None")
    return schedule


def uses_learning_rate(task: Task) -> bool:
    """Whether the rates of a training follow the task's ``lr``: a schedule or optimiser of the user's may set its own.

    Both are built for a parameter of their own, at two rates.
    """
    try:
        return _first_rates(task, task.lr) != _first_rates(task, 3 * task.lr)
    except (
        Exception
    ):  # as an optimiser for other shapes alone; what is wrong with it is said when it trains
        return True


def _first_rates(task: Task, lr: float) -> list[float]:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    optimizer = build_for_groups(task, [{"params": [parameter]}], lr)
    schedule = build_schedule(
        task, optimizer, 2 * _PROBED
    )  # some refuse to be stepped at their end
    rates = []
    for _ in range(_PROBED):
        rates += [float(group["lr"]) for group in optimizer.param_groups]
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return rates


_PROBED = (
    16  # steps: a schedule that starts at a rate of 0 or at one of its own may follow lr later
)


def _is_preset(function: Any, argument: str) -> bool:
    """Whether a functools.partial has a value of the user's own for an argument."""
    return isinstance(function, functools.partial) and argument in function.keywords


def _takes(function: Any, argument: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return argument in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
