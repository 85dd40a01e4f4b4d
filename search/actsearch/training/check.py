"""Saying before the search starts what would fail in every trial."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from actsearch.errors import ActsearchError, TaskError
from actsearch.placement import forward
from actsearch.placement.random_streams import isolated_random
from actsearch.task import Task, inputs_and_targets, reading_copy, to_device
from actsearch.task.nested import describe
from actsearch.task.structured import StructuredData
from actsearch.training.inputs import check_arguments, explain_inputs
from actsearch.training.loop import TrainingRun
from actsearch.training.memory import is_out_of_memory

__all__ = ["check_task"]

_ZEROS = 2  # rows in the place of test data


def check_task(task: Task, model: nn.Module, batch: Any = None) -> None:
    """Run one training batch, backward included, and one validation batch.

    Args:
        task: what is checked.
        model: a copy of its model with activations placed; on return its gradients are set.
        batch: of the training data, where one was read already.

    Raises:
        TaskError: naming the data set and the shapes that do not fit.
    """
    copies = {name: reading_copy(getattr(task, name)) for name in ("train", "valid")}
    run = TrainingRun(task.replace(**copies), model, 0)
    train: Any = None
    for name, batches in (("train", run.train), ("valid", run.valid)):
        if name == "valid" and task.evaluate is not None:
            continue
        with isolated_random(0):
            is_read = name == "train" and batch is not None
            first = to_device(batch, run.device) if is_read else next(iter(batches), None)
            if first is None:
                raise TaskError(f"{name} data gives no batch")
            _check_batch(run, name, first)
        if name == "train":
            train = first
    _check_test(run, train)


def _check_test(run: TrainingRun, train: Any) -> None:
    """Whether test data of another shape or dtype than the training data can be scored; none of their values is read.

    Where they differ, the model and the loss are given zeros in their place.
    """
    task, tensors = run.task, _tensors_of(run.task.test)
    if not tensors or task.step is not None or task.evaluate is not None:
        return
    known = _tensors_of(task.train) or (list(train) if isinstance(train, (tuple, list)) else [])
    if not all(isinstance(item, Tensor) for item in known):
        return
    kinds = [[(item.shape[1:], item.dtype) for item in items] for items in (tensors, known)]
    if kinds[0] == kinds[1]:
        return
    zeros = [torch.zeros_like(item[:_ZEROS], device=run.device) for item in tensors]
    batch = task.test.restore(zeros) if isinstance(task.test, StructuredData) else tuple(zeros)
    with isolated_random(0):
        _check_batch(run, "test", batch, has_values=False)


def _tensors_of(source: Any) -> list[Tensor]:
    """The tensors that a data set is made of; none where its items would have to be read."""
    if isinstance(source, DataLoader) and source.collate_fn is default_collate:
        source = source.dataset
    while isinstance(source, Subset):
        source = source.dataset
    if isinstance(source, tuple):
        return list(source)
    return list(source.tensors) if isinstance(source, (TensorDataset, StructuredData)) else []


def _check_batch(run: TrainingRun, name: str, batch: Any, *, has_values: bool = True) -> None:
    check_arguments(run.task, run.model, batch, name)
    try:
        with warnings.catch_warnings():
            # torch broadcasts targets of another shape to the output, with this warning
            warnings.filterwarnings("error", message="Using a target size", category=UserWarning)
            loss, output, target = run.loss(batch)
        _check_loss(loss)
        if name == "train":
            torch.autograd.backward(loss)
        if has_values and output is not None and run.metric.accumulator is not None:
            accumulator = run.metric.accumulator()
            accumulator.update(output.detach(), target)
            float(accumulator.result())
    except ActsearchError:
        raise
    except Exception as error:
        raise TaskError(_explain_failure(run, name, batch, error)) from error


def _check_loss(loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TaskError(f"the loss must be one number that depends on the weights, not {got}")


def _explain_failure(run: TrainingRun, name: str, batch: Any, error: Exception) -> str:
    """What failed, with the shapes of inputs, targets and output where they are known."""
    message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    try:
        inputs, target = inputs_and_targets(batch)
    except TaskError:
        return f"the task does not run on its first {name} batch: {message}"
    shapes = f"{name} inputs {describe(inputs)}, targets {describe(target)}"
    if is_out_of_memory(error):
        return f"memory ran out on the first batch ({shapes}); make batch_size smaller: {message}"
    if text := explain_inputs(run.model, inputs, name):
        return text
    with torch.no_grad():
        output = forward(run.model, inputs)
    text = f"loss or metric do not fit the model's output {describe(output)} ({shapes}): {message}"
    # torch's message speaks of a scalar type "Long", which is int64
    is_class_number = not isinstance(target, Tensor) or target.dtype in (torch.int64, torch.uint8)
    if "Long" in message and not is_class_number:
        return f"{text}; a loss of classes takes their numbers as int64: give targets.long()"
    return text
