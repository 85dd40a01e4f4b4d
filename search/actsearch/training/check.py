"""Saying before the search starts what would fail in every trial: the loop's own steps, each taken once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from actsearch.devices import as_double
from actsearch.errors import ActsearchError, TaskError
from actsearch.placement import forward
from actsearch.placement.analysis import copy_model
from actsearch.placement.random_streams import isolated_random
from actsearch.task import Batches, Task, inputs_and_targets, reading_copy, to_device
from actsearch.task.nested import describe
from actsearch.task.structured import StructuredData
from actsearch.training.attention import plain_attention
from actsearch.training.convention import keep_reading, reading_of
from actsearch.training.data_check.values import describe_bad_values
from actsearch.training.derivatives import measure, share_findings
from actsearch.training.inputs import check_arguments, explain_inputs
from actsearch.training.last_batch import cut_to_last
from actsearch.training.loop import TrainingRun
from actsearch.training.measures import Measures, NonFinite, count_samples, detach
from actsearch.training.memory import is_out_of_memory
from actsearch.training.numerics import numerics_of
from actsearch.training.streams import EndingBatches, check_ends, has_length

__all__ = ["check_task"]

T = TypeVar("T")

_ZEROS = 2  # rows in the place of test data


def check_task(
    task: Task, model: nn.Module, batch: Any = None, unchanged: nn.Module | None = None
) -> None:
    """Take one training step, one with as few samples as the last batch has, and one evaluation.

    Args:
        task: what is checked.
        model: with activations placed, best of a form that learns; a copy of it is trained.
        batch: of the training data, where one was read already.
        unchanged: computes what the user's model does, to see how its outputs are read; built anew by default.

    Raises:
        TaskError: naming what does not fit together, or the data that do not end.
    """
    check_ends(task)
    copies = {name: reading_copy(getattr(task, name)) for name in ("train", "valid")}
    copy = task.replace(**copies)  # reading an item of the user's own may open a file
    with isolated_random(0), plain_attention(), numerics_of(task), warnings.catch_warnings():
        # torch broadcasts targets of another shape to the output, with this warning
        warnings.filterwarnings("error", message="Using a target size", category=UserWarning)
        run = TrainingRun(copy, copy_model(model), 0)
        run.model.train()
        first = to_device(batch, run.device) if batch is not None else _first(run.train, "train")
        valid = None if task.evaluate is not None else _first(run.batches("valid"), "valid")
        loaded = {"train": batch, "valid": valid if isinstance(task.valid, DataLoader) else None}
        reading_of(task, unchanged, loaded)
        keep_reading(task, copy)
        check_arguments(task, run.model, first, "train")
        for name, item in (("train", first), ("valid", valid)):
            _refuse_bad_values(copy, name, item, unchanged)
        _try(run, "train", first, lambda: _train_on(run, first))
        # of steps that do not make an epoch, none comes to the last batch
        if copy.steps is None or copy.steps >= (run.train.steps or 0):
            _train_on_few(run, cut_to_last(copy.train, first))
        run.model.eval()
        _check_validation(run, valid)
        _check_test(run, first)
    share_findings(copy, task)


def _first(batches: Batches, name: str) -> Any:
    batch = next(iter(batches), None)
    if batch is None:
        raise TaskError(f"{name} data gives no batch")
    return batch


def _train_on(run: TrainingRun, batch: Any) -> None:
    loss, output, target = run.loss(batch)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TaskError(f"the loss must be one number that depends on the weights, not {got}")
    if isinstance(output, Tensor) and run.follows_metric and run.metric.accumulator is not None:
        accumulator = run.metric.accumulator()
        accumulator.update(output.detach(), target)
        float(accumulator.result())
    if not math.isfinite(loss.item()):  # it is said of each candidate
        return
    try:
        run.take_step(loss, batch)
        run.update.end_epoch()
    except Exception as error:  # the user's optimizer: anything
        raise TaskError(f"the first step of the optimizer fails: {_one_line(error)}") from error


def _refuse_bad_values(task: Task, name: str, batch: Any, unchanged: nn.Module | None) -> None:
    """Name the numbers of a batch on which the user's own model fails, before each candidate is blamed for it."""
    text = describe_bad_values(batch)
    if not text or (name == "valid" and task.evaluate is not None):
        return
    with isolated_random(0):
        own = TrainingRun(task, copy_model(unchanged or task.build()), 0)
        try:
            loss = own.loss(batch)[0].item()
        except Exception:  # the user's model: training says what is wrong
            return
    if not math.isfinite(loss):
        raise TaskError(
            f"the first {name} batch holds {text}, and the loss of your model on it is {loss}: remove these rows, or "
            "replace or scale the values"
        )


def _train_on_few(run: TrainingRun, batch: Any) -> None:
    if batch is None:
        return
    left = count_samples(batch)
    try:
        _train_on(run, batch)
    except Exception as error:  # the user's model: anything
        raise TaskError(
            f"the last training batch of an epoch has {left} sample{'s' if left > 1 else ''}, too few to train on: "
            f"{_one_line(error)}; choose another batch_size=, or give a DataLoader with drop_last=True"
        ) from error


def _check_validation(run: TrainingRun, batch: Any) -> None:
    """One evaluation by ``evaluate``, or one batch of validation data; the schedule may go by what was measured."""
    if run.task.evaluate is not None:
        try:
            task = run.task
            batches = EndingBatches(task.valid, task.batch_size, run.device, None)
            where = "the first evaluation, after one training step"
            measures = run.validate(where, None if has_length(task.valid) else batches)
        except NonFinite as error:
            text = describe_bad_values(next(iter(run.batches("valid")), None))
            held = f"; the first valid batch holds {text}" if text else ""
            raise TaskError(f"evaluate= must return finite numbers: {error}{held}") from error
        except ActsearchError:
            raise
        except Exception as error:  # the user's function: anything
            raise TaskError(
                f"evaluate= fails on the validation data: {_one_line(error)}"
            ) from error
    else:
        check_arguments(run.task, run.model, batch, "valid")
        measures = _try(run, "valid", batch, lambda: _measure(run, batch))
        few = cut_to_last(run.task.valid, batch)
        if few is not None:
            _try(run, "valid", few, lambda: measure(run.task, lambda: run.loss(few)))
    run.update.schedule.after_evaluation(measures)


def _measure(run: TrainingRun, batch: Any) -> Measures:
    def attempt() -> Measures:
        measures = Measures.of(run.metric, run.task.more_metrics(run.reading.convention))
        loss, output, target = run.loss(batch)
        measures.add(as_double(loss.detach()), detach(output), target, count_samples(batch))
        float(measures.value or 0.0)
        return measures

    return measure(run.task, attempt)


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
    check_arguments(task, run.model, batch, "test")
    _try(run, "test", batch, lambda: measure(task, lambda: run.loss(batch)))


def _tensors_of(source: Any) -> list[Tensor]:
    """The tensors that a data set is made of; none where its items would have to be read."""
    if isinstance(source, DataLoader) and source.collate_fn is default_collate:
        source = source.dataset
    while isinstance(source, Subset):
        source = source.dataset
    if isinstance(source, tuple):
        return list(source)
    return list(source.tensors) if isinstance(source, (TensorDataset, StructuredData)) else []


def _try(run: TrainingRun, name: str, batch: Any, action: Callable[[], T]) -> T:
    """Do something with the first batch of a data set, and explain why that is not possible."""
    try:
        return action()
    except ActsearchError:
        raise
    except Exception as error:  # the user's model, data, loss or metric: anything
        raise TaskError(_explain_failure(run, name, batch, error)) from error


def _explain_failure(run: TrainingRun, name: str, batch: Any, error: Exception) -> str:
    """What failed, with the shapes of inputs, targets and output where they are known."""
    message = _one_line(error)
    try:
        inputs, target = inputs_and_targets(batch)
    except TaskError:
        return f"the task does not run on its first {name} batch: {message}"
    shapes = f"{name} inputs {describe(inputs)}, targets {describe(target)}"
    if is_out_of_memory(error):
        return f"memory ran out on the first batch ({shapes}); make batch_size smaller: {message}"
    if text := explain_inputs(run.model, inputs, name):
        return text
    output = measure(run.task, lambda: forward(run.model, inputs))
    text = f"loss or metric do not fit the model's output {describe(output)} ({shapes}): {message}"
    # torch's message speaks of a scalar type "Long", which is int64
    is_class_number = not isinstance(target, Tensor) or target.dtype in (torch.int64, torch.uint8)
    if "Long" in message and not is_class_number:
        return f"{text}; a loss of classes takes their numbers as int64: give targets.long()"
    return text


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
