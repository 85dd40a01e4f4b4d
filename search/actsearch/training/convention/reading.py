"""One look at a task's model, loss and first batches, kept for all of its trainings."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from actsearch.errors import ActsearchError, TaskError
from actsearch.placement import forward
from actsearch.placement.analysis import copy_model
from actsearch.placement.model_run import preserve_modes
from actsearch.placement.random_streams import isolated_random
from actsearch.seeds import derive
from actsearch.task import Batches, Metric, Task, inputs_and_targets, reading_copy, to_device
from actsearch.task.copies import copy_alike
from actsearch.task.metrics import PLAIN, Convention
from actsearch.task.nested import describe_parts
from actsearch.training.convention.broadcast import differ_by_ones, is_broadcast
from actsearch.training.convention.compared import refuse_other_comparison
from actsearch.training.convention.decide import Evidence, decide_classes, decide_range
from actsearch.training.convention.loss_watch import LossWatch
from actsearch.training.measures import autocast_for

__all__ = ["Reading", "keep_reading", "known_reading", "reading_of", "set_reading"]

_log = logging.getLogger("actsearch")

_ROWS = 64  # of a batch that is looked at
_TARGETS = 4096  # whose values are looked at, evenly spread, where they are in memory


@dataclass(frozen=True)
class Reading:
    """How a task's outputs and targets are read.

    Attributes:
        convention: for its metrics.
        in_training: whether training batches can be read like validation batches.
    """

    convention: Convention = PLAIN
    in_training: bool = True


_readings: WeakKeyDictionary[Task, Reading] = WeakKeyDictionary()


def keep_reading(source: Task, copy: Task) -> None:
    """Let a copy of a task, with other data or settings, read as the task does."""
    if source in _readings:
        _readings[copy] = _readings[source]


def known_reading(task: Task) -> Reading | None:
    """What was found out already, for another process."""
    return _readings.get(task)


def set_reading(task: Task, reading: Reading | None) -> None:
    """Read as another process found out; None to look anew, as after a change of the data."""
    _readings.pop(task, None)
    if reading is not None:
        _readings[task] = reading


def reading_of(
    task: Task, model: nn.Module | None = None, batches: Mapping[str, Any] = MappingProxyType({})
) -> Reading:
    """How a task's outputs and targets are read, the same for all candidates, data sets and processes.

    Found out once on the first batches, from the unchanged model.

    Args:
        task: whose model and loss are looked at.
        model: computes what the task's model does under seed 0, a copy that may be run; built anew by default.
        batches: the first ones of loaders, by name, where they were read already.

    Raises:
        TaskError: two readings are possible, the metric does not fit, or each output is compared with every target.
    """
    if task not in _readings:
        _readings[task] = _read(task, model, batches)
    return _readings[task]


@dataclass
class _Look:
    """What one batch of a data set gave.

    Attributes:
        output: of the unchanged model in evaluation mode.
        target: of the batch.
        loss: what the loss did.
    """

    output: Any
    target: Any
    loss: LossWatch


def _read(task: Task, model: nn.Module | None, batches: Mapping[str, Any]) -> Reading:
    if task.step is not None or task.loss is None:
        return Reading()
    try:
        looks = _look(task, model or _build(task), batches)
    except ActsearchError:
        raise
    except Exception as error:  # the user's model, data or loss: training says what is wrong
        _log.debug("outputs and targets were not looked at: %s: %s", type(error).__name__, error)
        return Reading()
    for name, look in looks.items():
        if look.loss.outside is not None:
            low, high = look.loss.outside
            raise TaskError(
                f"the loss is a binary cross entropy, which takes targets of 0 to 1, and is given {name} targets of "
                f"{low:g} to {high:g}: give 0 and 1, or another loss"
            )
        if name != "valid" or task.evaluate is None:
            _refuse_broadcast(task, name, look)
    if task.evaluate is not None:  # whatever it measures, it reads by itself
        return Reading(in_training=isinstance(looks["train"].output, Tensor))
    valid = looks["valid"]
    metrics = [task.resolved_metric, *task.further_metrics()]
    convention = PLAIN
    for metric in metrics:
        convention = _decide(task, metric, valid, convention)
    return Reading(convention, _are_alike(looks["train"].target, valid.target))


def _build(task: Task) -> nn.Module:
    with isolated_random(derive(0, "init")):
        model = task.build()
    return copy_model(model) if model is task.model else model


def _look(task: Task, model: nn.Module, batches: Mapping[str, Any]) -> dict[str, _Look]:
    """The model's outputs on the first training and validation batch, and the loss of them."""
    device = task.torch_device()
    if any(parameter.device != device for parameter in model.parameters()):
        model = copy_model(model).to(device)
    looks = {}
    for name in ("train", "valid"):
        if name == "valid" and task.evaluate is not None:
            continue
        with isolated_random(0), torch.enable_grad(), autocast_for(task, device):
            read = batches.get(name)
            batch = _first_rows(task, name) if read is None else read
            inputs, target = inputs_and_targets(to_device(batch, device))
            with preserve_modes(model):
                output = forward(model.eval(), inputs)
            watch = _watch_loss(task, name, output, target)
        looks[name] = _Look(output, target, watch)
    return looks


def _watch_loss(task: Task, name: str, output: Any, target: Any) -> LossWatch:
    """What the loss of a batch does.

    Raises:
        TaskError: it takes outputs and targets only where they have one shape.
    """
    assert task.loss is not None
    watch = LossWatch()
    try:
        with watch:
            task.loss(output, target)
    except RuntimeError:
        if not differ_by_ones(output, target):
            raise
        task.loss(output.reshape(target.shape), target)
        raise TaskError(
            f"the loss does not take {name} outputs {_describe(output)} and targets {_describe(target)}, whose axes "
            f"are matched from the last one: {_advise_one_shape(output, target)}"
        ) from None
    return watch


def _first_rows(task: Task, name: str) -> Any:
    source = getattr(task, name)
    size = min(task.batch_size, _ROWS)
    if isinstance(source, tuple):
        return tuple(copy_alike(tensor[:size]) for tensor in source)
    source = reading_copy(source)  # reading an item of the user's own may open a file
    return next(iter(Batches(source, size, torch.device("cpu"), None)))


def _refuse_broadcast(task: Task, name: str, look: _Look) -> None:
    """Refuse a loss or a metric of the user's that compares each output with every target."""
    functions: list[tuple[str, Any]] = [("loss", task.loss)]
    if not isinstance(task.metric, str) and name == "valid":
        metric = task.resolved_metric
        what = "metric" if metric.name == "metric" else f"metric {metric.name}"
        functions.append((what, _MeasuredOnce(metric.accumulator)))
    for what, function in functions:
        if _is_broadcast(task, function, look):
            raise TaskError(
                f"the {what} compares each output with every target: {name} outputs {_describe(look.output)} and "
                f"targets {_describe(look.target)} are broadcast to each other; "
                f"{_advise_one_shape(look.output, look.target)}"
            )


def _advise_one_shape(output: Any, target: Any) -> str:
    how = "targets.unsqueeze(1) or outputs.squeeze(1)"
    if differ_by_ones(output, target) and max(output.dim(), target.dim()) > 2:
        how = "outputs.reshape(targets.shape)"
    return f"give both one shape, as by {how}"


def _is_broadcast(task: Task, function: Any, look: _Look) -> bool:
    try:
        with torch.no_grad(), autocast_for(task, task.torch_device()), isolated_random(0):
            return is_broadcast(function, look.output, look.target)
    except Exception as error:  # the user's function: training says what is wrong
        _log.debug("not compared: %s: %s", type(error).__name__, error)
        return False


class _MeasuredOnce:
    """A metric of one batch."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, output: Any, target: Any) -> float:
        accumulator = self._make()
        accumulator.update(output, target)
        return float(accumulator.result())


def _describe(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else describe_parts(value)


def _decide(task: Task, metric: Metric, look: _Look, convention: Convention) -> Convention:
    """The convention with what one more metric needs to know."""
    if metric.reads in ("", "function"):
        return convention
    if not isinstance(look.output, Tensor) or not isinstance(look.target, Tensor):
        raise TaskError(_explain_parts(metric, look))
    with torch.no_grad(), autocast_for(task, task.torch_device()), isolated_random(0):
        last, axis = _last_operation(look.output)
        # a loss may keep a state, which trying it is not to change
        loss = copy.deepcopy(task.loss) if isinstance(task.loss, nn.Module) else task.loss
        assert loss is not None
        evidence = Evidence(
            look.output.detach(), look.target, _targets(task, look), loss,
            look.loss.names, look.loss.ignored, last, axis,
        )  # fmt: skip
        if metric.reads == "numbers":
            made = convention
            if metric.name == "psnr":
                made = _with_range(convention, decide_range(evidence.targets))
        else:
            of_scores = metric.reads == "scores"
            made = decide_classes(metric.name, evidence, of_scores=of_scores)
            made = _with_range(made, convention.data_range)
        refuse_other_comparison(metric, evidence, made)
        return made


def _with_range(convention: Convention, data_range: float) -> Convention:
    return Convention(**{**vars(convention), "data_range": data_range})


def _explain_parts(metric: Metric, look: _Look) -> str:
    what, value = (
        ("targets hold", look.target)
        if isinstance(look.output, Tensor)
        else ("the model returns", look.output)
    )
    return (
        f"metric {metric.name!r} is of one tensor, and {what} {type(value).__name__} of {describe_parts(value)}: give "
        f"metric={{{metric.name!r}: lambda outputs, targets: ...}}, a function that takes the one it means"
    )


def _targets(task: Task, look: _Look) -> Tensor:
    """Targets of many rows, where they are in memory; else of the batch."""
    targets: Tensor = look.target
    if not isinstance(task.valid, tuple):
        return targets
    targets = task.valid[-1]
    return targets[:: -(-len(targets) // _TARGETS)]


def _are_alike(train: Any, valid: Any) -> bool:
    """Whether training targets have the form of validation targets: a mixture of labels has not."""
    if not isinstance(train, Tensor) or not isinstance(valid, Tensor):
        return False
    return train.dim() == valid.dim() and train.is_floating_point() == valid.is_floating_point()


_VIEWS = (
    "View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Transpose", "T", "Permute", "Select", "Slice",
    "Clone", "ToCopy", "Expand", "Alias", "Clamp", "ClampMin", "ClampMax",
)  # fmt: skip
_LAST = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Tanh": "tanh",
}


def _last_operation(output: Tensor) -> tuple[str, int | None]:
    """What made an output, and the axis of a softmax; ("", None) for something else."""
    moved = False
    for node in _ancestors(output):
        kind = type(node).__name__.rstrip("0123456789").removesuffix("Backward")
        if kind in _LAST:
            axis = getattr(node, "_saved_dim", None)
            if moved or not isinstance(axis, int):
                return _LAST[kind], None
            return _LAST[kind], axis if axis < output.dim() else output.dim() - 1  # -1 wraps
        if kind not in _VIEWS:
            return "", None
        moved = moved or kind not in ("Clone", "ToCopy", "Alias")
    return "", None


def _ancestors(output: Tensor) -> Iterator[Any]:
    node = output.grad_fn
    while node is not None:
        yield node
        node = node.next_functions[0][0] if node.next_functions else None
