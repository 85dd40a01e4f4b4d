"""What a task is known by: the settings and data that its results depend on, as JSON data."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from actsearch.errors import TaskError
from actsearch.seeds import global_streams
from actsearch.task.budget import budget_settings
from actsearch.task.data import describe_source, tensor_digest
from actsearch.task.values import ADDRESS, describe_tensor, hash_json, model_values, values_in

if TYPE_CHECKING:
    from actsearch.task.task import Task

__all__ = ["CHANGES", "FUNCTIONS", "data_hash", "describe_task", "summarize_values", "task_values"]

FUNCTIONS = ("loss", "metric", "optimizer", "schedule", "step", "evaluate", "model")
"""Fields of a task that are, or may be, functions of the user's own."""

CHANGES = "changes while it runs"
"""What is said of a value that training changes, such as a counter: it is like any other value."""

_MODEL_LINES = 400  # of a model's repr that are stored
_NAMED = 100  # values that are stored by name, so that a message can say which one differs


def describe_task(task: Task) -> dict[str, Any]:
    """What a search's results depend on, as JSON data: model, settings and data, never source text.

    ``"values"`` has every value of :func:`task_values`, to be summarized before it is stored.
    """
    model = _build(task)
    if lazy := [name for name, p in model.named_parameters() if is_lazy(p)]:
        raise TaskError(
            f"the model does not know the size of {lazy[0]} before it has run: give the layer its size, or run the "
            "model once where it is made, as model(sample)"
        )
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    return {
        "model": ADDRESS.sub("", repr(model)).splitlines()[:_MODEL_LINES],
        "parameters": f"{sum(map(math.prod, shapes.values()))} numbers {hash_json(shapes)}",
        "weights": _describe_weights(task.model),
        **_describe_buffers(model),
        "loss": _callable_name(task.loss),
        "metric": task.resolved_metric.described or task.resolved_metric.name,
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
        "amp": None if task.amp_dtype is None else str(task.amp_dtype).removeprefix("torch."),
        **{
            name: getattr(task, name)
            for name in ("deterministic", "tf32")
            if getattr(task, name) is not None
        },
        "step": _callable_name(task.step),
        "evaluate": _callable_name(task.evaluate),
        "train": data_hash(task.train),
        "valid": data_hash(task.valid),
        "values": _values(task) | model_values(model),
    }


def task_values(task: Task, *, with_model: bool) -> dict[str, str]:
    """The values that a task's functions, its loaders and its model compute with, by name; see :func:`values_in`.

    Args:
        task: which.
        with_model: also numbers of a model that is built for it.
    """
    values = _values(task)
    return values | model_values(_build(task)) if with_model else values


def _values(task: Task) -> dict[str, str]:
    values: dict[str, str] = {}
    for name in FUNCTIONS:
        what = getattr(task, name)
        if callable(what) and not (name == "model" and isinstance(what, nn.Module)):
            values |= values_in(name, what, is_factory=name == "model")
    for name in ("train", "valid"):
        if isinstance(source := getattr(task, name), DataLoader):
            values |= values_in(name, source)
    return values


def summarize_values(values: Mapping[str, str], changing: Collection[str] = ()) -> dict[str, str]:
    """Values as they are stored: by name, or one hash for each function where there are many.

    Args:
        values: by name.
        changing: names of those that training changes, such as counters: :data:`CHANGES` stands for them, and nothing
            where there are many.
    """
    if len(values.keys() | set(changing)) <= _NAMED:
        return dict(sorted({**values, **dict.fromkeys(changing, CHANGES)}.items()))
    parts: dict[str, dict[str, str]] = {}
    for name in sorted(values.keys() - set(changing)):
        value = values[name]
        parts.setdefault(name.partition(".")[0], {})[name] = value
    return {name: f"{len(own)} values {hash_json(own)}" for name, own in parts.items()}


def _build(task: Task) -> nn.Module:
    """The model under one seed of every global generator, which go on afterwards where they were."""
    with global_streams, torch.random.fork_rng(devices=[]):
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            return task.build()
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def data_hash(source: Any) -> str:
    """A hash of one data set as it is now."""
    return hash_json(describe_source(source))


def _describe_weights(model: Any) -> str:
    """Where a run's weights come from; a module's own are part of the task."""
    if not isinstance(model, nn.Module):
        return "built under each seed"
    state = {
        name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)
    }
    digests = {name: tensor_digest(value).hex() for name, value in state.items()}
    return f"kept {hash_json(digests)}"


def _describe_buffers(model: nn.Module) -> dict[str, str]:
    """What a model computes with besides its weights, such as scales of its inputs; nothing where it has none."""
    buffers = {name: describe_tensor(value) for name, value in model.named_buffers()}
    return {"buffers": f"{len(buffers)} tensors {hash_json(buffers)}"} if buffers else {}


def _callable_name(function: Any) -> str | None:
    """A callable's qualified name with bound arguments; memory addresses left out."""
    if function is None or isinstance(function, str):
        return function
    if isinstance(function, functools.partial):
        arguments = [repr(item) for item in function.args]
        arguments += [f"{key}={value!r}" for key, value in sorted(function.keywords.items())]
        return ADDRESS.sub("", f"{_callable_name(function.func)}({', '.join(arguments)})")
    if isinstance(function, nn.Module):
        return ADDRESS.sub("", repr(function))
    # without the module: a script's functions are in __main__ or not, depending on how it is started
    return str(getattr(function, "__qualname__", type(function).__qualname__))
