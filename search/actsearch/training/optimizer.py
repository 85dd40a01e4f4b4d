"""The user's optimizer, with learned activation parameters in a group without weight decay."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.activations import Activation
from actsearch.errors import TaskError
from actsearch.records import OPTIMIZERS
from actsearch.task import Task

__all__ = [
    "build_for_model",
    "build_for_parameters",
    "further_settings",
    "needs_closure",
    "optimizer_settings",
    "parameter_groups",
    "takes_model",
]


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weights first; learned activation parameters in a second group without weight decay.

    Decay would pull a learned slope towards 0, which is not a neutral value (He et al. 2015, arXiv:1502.01852, 2.2).
    """
    return _assemble_groups(*_weights_and_learned(model))


def _weights_and_learned(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What of a model is trained: its weights, and what its activations learn."""
    of_activations = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Activation)
        for parameter in module.parameters()
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights: list[Tensor] = [item for item in trained if id(item) not in of_activations]
    return weights, [item for item in trained if id(item) in of_activations]


def _assemble_groups(weights: Sequence[Tensor], learned: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Groups for an optimizer from weights and what activations learn; none of an empty list."""
    groups: list[dict[str, Any]] = [{"params": list(weights)}] if weights else []
    if learned:
        groups.append({"params": list(learned), "weight_decay": 0.0})
    return groups


def build_for_model(task: Task, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The task's optimizer on a model, at a learning rate.

    Raises:
        TaskError: when the model has nothing to train, or the optimizer refuses its arguments.
    """
    weights, learned = _weights_and_learned(model)
    if not weights and not learned:
        raise TaskError(f"{type(model).__name__} has no parameters that require gradients")
    if takes_model(task.optimizer):
        return _build(task, model, learned, lr)
    return build_for_parameters(task, weights, learned, lr)


def build_for_parameters(
    task: Task, weights: Sequence[Tensor], learned: Sequence[Tensor], lr: float
) -> torch.optim.Optimizer:
    """The task's optimizer on weights and on what activations learn, at a learning rate.

    Raises:
        TaskError: when the optimizer refuses its arguments.
    """
    if _takes(task.optimizer, "weight_decay"):
        return _build(task, _assemble_groups(weights, learned), learned, lr)
    # one group: LBFGS takes no other
    return _build(task, [{"params": [*weights, *learned]}], learned, lr)


def _build(
    task: Task, trained: Any, learned: Sequence[Tensor], lr: float
) -> torch.optim.Optimizer:
    """Call the user's function on groups of parameters, or on the model."""
    settings: dict[str, Any] = {"lr": lr}
    # a functools.partial of the user's keeps its own decay unless the task sets one
    if _takes(task.optimizer, "weight_decay"):
        if task.weight_decay or not _is_preset(task.optimizer, "weight_decay"):
            settings["weight_decay"] = task.weight_decay
    elif task.weight_decay:
        raise TaskError(
            f"{task.optimizer!r} takes no weight_decay: set it in the optimizer function"
        )
    try:
        optimizer = task.optimizer(trained, **settings)
    except Exception as error:  # the user's function: anything
        is_model = isinstance(error, AttributeError) and not isinstance(trained, nn.Module)
        hint = "; to be given the model, call its first argument model" if is_model else ""
        raise TaskError(
            f"the optimizer cannot be built: {type(error).__name__}: {error}{hint}"
        ) from error
    if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
        raise TaskError(f"optimizer= returned {type(optimizer).__name__}, not an Optimizer")
    _spare_from_decay(optimizer, learned)
    return optimizer


def _spare_from_decay(optimizer: torch.optim.Optimizer, learned: Sequence[Tensor]) -> None:
    """Move what activations learn out of groups with weight decay, and add what is in no group."""
    of_activations = {id(item) for item in learned}
    missing = set(of_activations)
    for group in list(optimizer.param_groups):
        own = [item for item in group["params"] if id(item) in of_activations]
        missing -= {id(item) for item in own}
        if not own or not group.get("weight_decay"):
            continue
        if len(own) == len(group["params"]):
            group["weight_decay"] = 0.0
            continue
        settings = {name: value for name, value in group.items() if name != "params"}
        group["params"] = [item for item in group["params"] if id(item) not in of_activations]
        optimizer.add_param_group({**settings, "params": own, "weight_decay": 0.0})
    left = [item for item in learned if id(item) in missing]
    if left:
        optimizer.add_param_group({"params": left, "weight_decay": 0.0})


def optimizer_settings(task: Task) -> tuple[str, dict[str, Any], float | None]:
    """Name, options and weight decay of a task's optimizer, where that is a class of torch's own or a partial of one.

    Otherwise an empty name, no options, and None for a weight decay that is decided elsewhere.
    """
    function: Any = task.optimizer
    options: dict[str, Any] = {}
    if isinstance(function, functools.partial) and not function.args:
        function, options = function.func, dict(function.keywords)
    name = getattr(function, "__name__", "")
    plain = (bool, int, float, type(None), tuple)
    if (
        name not in OPTIMIZERS
        or function is not getattr(torch.optim, name)
        or not all(isinstance(value, plain) for value in options.values())
    ):
        return "", {}, task.weight_decay or None
    preset = options.pop("weight_decay", 0.0)
    return name, options, float(task.weight_decay or preset)


_FURTHER = (
    "schedule", "schedule_every", "clip_grad_norm", "accumulate_grad_batches", "patience", "amp", "step",
    "deterministic", "tf32",
)  # fmt: skip
"""Fields of a task that change how it trains, besides its optimizer."""


def further_settings(task: Task) -> tuple[str, ...]:
    """What else of a task changes how it trains, where it is not as usual; of functions that there is one."""
    usual = {field.name: field.default for field in dataclasses.fields(task)}
    values = ((name, getattr(task, name)) for name in _FURTHER)
    return tuple(
        f"{name}=..." if callable(value) else f"{name}={value!r}"
        for name, value in values
        if value != usual[name]
    )


def takes_model(function: Any) -> bool:
    """Whether an optimizer function wants the model, to group its parameters: its first argument is called model.

    One that is annotated as a module is meant as well.
    """
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None:
        return False
    is_module = isinstance(first.annotation, type) and issubclass(first.annotation, nn.Module)
    return first.name == "model" or is_module


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step evaluates the loss itself, by a function that it is given, as LBFGS does."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


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
