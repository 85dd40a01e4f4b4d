"""What a model is given, and why it does not take it, in a sentence."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.errors import TaskError
from actsearch.placement.arguments import as_arguments
from actsearch.placement.model_run import run_model, tensors
from actsearch.task import Task
from actsearch.task.nested import describe, describe_parts
from actsearch.task.structured import SeveralInputs

__all__ = ["check_arguments", "explain_inputs"]


def check_arguments(task: Task, model: nn.Module, batch: Any, name: str) -> None:
    """Refuse a batch of several parts that are not known to be the inputs of a model.

    Args:
        task: whose batch it is.
        model: the user's.
        batch: of one of the data sets.
        name: of that data set.

    Raises:
        TaskError: more parts than a forward takes, as with weights of samples, or a part that may be a target.
    """
    source = getattr(task, name)
    if task.step is not None or isinstance(source, SeveralInputs):
        return
    if not isinstance(batch, (tuple, list)) or len(batch) < 3:
        return
    *inputs, target = batch
    wanted = _arguments(model)
    if wanted is not None and as_arguments(model, tuple(inputs)) == ((tuple(inputs),), {}):
        raise TaskError(
            f"{name} data have {len(batch)} parts; the last is the target, and of the {len(inputs)} before it the "
            f"model's forward takes {wanted}: for weights of samples, or several targets, give step= and evaluate=, "
            "which see the whole batch"
        )
    is_one_enough = as_arguments(model, (inputs[0],))[0] == (inputs[0],) and _is_optional(model)
    if is_one_enough and any(_are_alike(part, target) for part in inputs[1:]):
        raise TaskError(
            f"{name} data have {len(batch)} parts, and part 1 is shaped like the targets: if it goes into the "
            f"model's forward, {wanted}, give ((input, another input), targets); if parts 1 and 2 are targets and "
            "weights of samples, give step= and evaluate=, which see the whole batch"
        )


def _arguments(model: nn.Module) -> str | None:
    """The arguments of a forward by name; None where they are not known."""
    try:
        names = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return None
    return f"({', '.join(str(item) for item in names)})"


def _is_optional(model: nn.Module) -> bool:
    """Whether all arguments of a forward but the first may be left out."""
    try:
        inspect.signature(model.forward).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def _are_alike(part: Any, target: Any) -> bool:
    """Whether two tensors hold as many numbers for each sample."""
    return (
        isinstance(part, Tensor) and isinstance(target, Tensor) and part.numel() == target.numel()
    )


def explain_inputs(model: nn.Module, inputs: Any, name: str) -> str:
    """Why a model does not run on its inputs; empty if it does.

    Args:
        model: the user's; it is run once in evaluation mode.
        inputs: of one batch, on the model's device.
        name: of the data set, for the message.
    """
    entered: list[tuple[str, nn.Module, Any]] = []
    try:
        with _watch(model, entered):
            run_model(model, inputs)
    except Exception as error:  # the user's model: anything
        return _explain(model, inputs, name, error, entered)
    return ""


@contextlib.contextmanager
def _watch(model: nn.Module, entered: list[tuple[str, nn.Module, Any]]) -> Iterator[None]:
    """Note the modules that were entered and not left."""
    with contextlib.ExitStack() as hooks:
        for path, module in model.named_modules():

            def enter(module: nn.Module, args: Any, path: str = path) -> None:
                entered.append((path, module, args))

            def leave(module: nn.Module, args: Any, output: Any) -> None:
                entered.pop()

            hooks.callback(module.register_forward_pre_hook(enter).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        yield


def _explain(
    model: nn.Module,
    inputs: Any,
    name: str,
    error: Exception,
    entered: list[tuple[str, nn.Module, Any]],
) -> str:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    given = describe(inputs) if isinstance(inputs, Tensor) else describe_parts(inputs)
    text = f"the model does not take its inputs ({name} inputs {given})"
    if advice := _dtype_advice(model, inputs, str(error), entered[-1][1] if entered else model):
        return f"{text}: {advice} ({reason})"
    if entered and entered[-1][0]:
        path, module, args = entered[-1]
        layer = str(module).splitlines()[0]
        shown = describe(args[0]) if len(args) == 1 else describe_parts(args)
        return f"{text}: its layer {path}, {layer}, is given {shown}: {reason}"
    return f"{text}: {reason}"


def _dtype_advice(model: nn.Module, inputs: Any, error: str, layer: nn.Module) -> str:
    """What to do about the dtype of the inputs; empty where that is not what is wrong."""
    given = {tensor.dtype for tensor in tensors(inputs)}
    weights = [p.dtype for p in model.parameters() if p.is_floating_point()]
    own = weights[0] if weights else torch.get_default_dtype()
    short = str(own).removeprefix("torch.")
    if not any(word in error for word in ("dtype", "scalar type", "Input type", "indices")):
        return ""
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) or "indices" in error:
        return "an embedding takes whole numbers: give inputs.long()"
    others = [dtype for dtype in given if dtype is not own]
    if not others:
        return ""
    shown = str(others[0]).removeprefix("torch.")
    call = "inputs.float()" if own is torch.float32 else f"inputs.to({own})"
    return f"they are {shown} and the model's weights {short}: give {call}"
