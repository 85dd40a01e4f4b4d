"""What a task is known by: the settings and data that its results depend on, as JSON data."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actsearch.seeds import global_streams
from actsearch.task.budget import budget_settings
from actsearch.task.data import describe_source, tensor_digest

if TYPE_CHECKING:
    from actsearch.task.task import Task

__all__ = ["data_hash", "describe_task"]

_MODEL_LINES = 400  # of a model's repr that are stored


def describe_task(task: Task) -> dict[str, Any]:
    """What a search's results depend on, as JSON data: model, settings and data, never source text."""
    with global_streams, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build()
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    return {
        "model": repr(model).splitlines()[:_MODEL_LINES],
        "parameters": f"{sum(map(math.prod, shapes.values()))} numbers {_hash(shapes)}",
        "weights": _describe_weights(task.model),
        "loss": _callable_name(task.loss),
        "metric": task.resolved_metric.name,
        **({} if task.objectives is None else {"objectives": list(task.objectives)}),
        **budget_settings(task),
        **({} if task.sample is None else {"sample": "given"}),
        "batch_size": task.batch_size,
        "optimizer": _callable_name(task.optimizer),
        "lr": task.lr,
        "weight_decay": task.weight_decay,
        "schedule": _callable_name(task.schedule),
        "clip_grad_norm": task.clip_grad_norm,
        "seeds": task.seeds if isinstance(task.seeds, int) else list(task.seeds),
        "gain": task.gain,
        "amp": None if task.amp is None else "bfloat16",
        "step": _callable_name(task.step),
        "evaluate": _callable_name(task.evaluate),
        "train": data_hash(task.train),
        "valid": data_hash(task.valid),
    }


def data_hash(source: Any) -> str:
    """A hash of one data set as it is now."""
    return _hash(describe_source(source))


def _describe_weights(model: Any) -> str:
    """Where a run's weights come from; a module's own are part of the task."""
    if not isinstance(model, nn.Module):
        return "built under each seed"
    state = {
        name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)
    }
    digests = {name: tensor_digest(value).hex() for name, value in state.items()}
    return f"kept {_hash(digests)}"


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _callable_name(function: Any) -> str | None:
    """A callable's qualified name with bound arguments; memory addresses left out."""
    if function is None or isinstance(function, str):
        return function
    if isinstance(function, functools.partial):
        arguments = [repr(item) for item in function.args]
        arguments += [f"{key}={value!r}" for key, value in sorted(function.keywords.items())]
        return f"{_callable_name(function.func)}({', '.join(arguments)})"
    if isinstance(function, nn.Module):
        return repr(function)
    # without the module: a script's functions are in __main__ or not, depending on how it is started
    return str(getattr(function, "__qualname__", type(function).__qualname__))
