"""Running a model on one batch of inputs, so that nothing of it is changed."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsearch.errors import ActsearchError, PlacementError
from actsearch.placement.arguments import as_arguments
from actsearch.placement.forwards import wrap_methods
from actsearch.placement.random_streams import isolated_random
from actsearch.task.nested import children, map_leaves

__all__ = [
    "StepCall",
    "asks_for_gradients",
    "explain_run_errors",
    "forward",
    "observe_output",
    "preserve_modes",
    "run_model",
    "tensors",
    "try_in_evaluation",
    "try_without_gradients",
]

_T = TypeVar("_T")

# a transformed mixture of distributions holds its numbers three objects down
_DEPTH = 4
# what has attributes and is no record of a result
_NO_RECORDS = (nn.Module, type, ModuleType, FunctionType, MethodType, functools.partial)


@dataclass(frozen=True)
class StepCall:
    """A training step with its batch, in the place of a sample where only the step knows what the model takes.

    Attributes:
        step: ``(model, batch) -> loss``; it may call the model or parts of it as often as it likes, and train them.
        batch: whatever the step takes.
    """

    step: Callable[[nn.Module, Any], Any]
    batch: Any


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, mappings, data classes and the attributes of other objects.

    So a model may return ``torch.distributions.Normal(mean, scale)``. ``torch.utils._pytree`` would take an object, or
    a mapping of a class that is not registered, for a leaf.
    """
    return _tensors(value, _DEPTH, set())


def _tensors(value: Any, depth: int, seen: set[int]) -> Iterator[Tensor]:
    parts: Iterable[Any] = ()
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (tuple, list)):
        parts = value
    elif hasattr(type(value), "__dataclass_fields__"):
        parts = [getattr(value, name, None) for name in value.__dataclass_fields__]
    elif depth and hasattr(value, "__dict__") and not isinstance(value, _NO_RECORDS):
        if id(value) not in seen:
            seen.add(id(value))
            depth, parts = depth - 1, list(vars(value).values())
    for item in parts:
        yield from _tensors(item, depth, seen)


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call a model on one batch of inputs, as :func:`as_arguments` reads them.

    Of a :class:`StepCall` the results are those of the model and of the parts that the step called, and the loss.
    """
    if isinstance(inputs, StepCall):
        return _run_step(model, inputs)
    if isinstance(inputs, Tensor):
        return model(inputs)
    positional, named = as_arguments(model, inputs)
    return model(*positional, **named)


def _run_step(model: nn.Module, call: StepCall) -> list[Any]:
    """What the step's own calls of modules gave, in order, and its loss; calls in methods are the methods'."""
    results: list[Any] = []
    depth = 0

    def enter(*_: Any) -> None:
        nonlocal depth
        depth += 1

    def leave(module: nn.Module, inputs: Any, result: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            results.append(result)

    def wrap(path: str, module: nn.Module, method: Callable[..., Any]) -> Callable[..., Any]:
        def pass_method(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                return method(*args, **kwargs)
            finally:
                depth -= 1

        return pass_method

    with contextlib.ExitStack() as hooks:
        hooks.enter_context(wrap_methods(model, wrap))
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                hooks.enter_context(module.register_forward_pre_hook(enter))
                hooks.enter_context(module.register_forward_hook(leave, always_call=True))
        try:
            loss = call.step(model, call.batch)  # which fills the results
            return [*results, loss]
        except Exception as error:
            if asks_for_gradients(error) and not torch.is_grad_enabled():
                raise  # it is run once more, with gradients
            raise PlacementError(
                f"step= does not run on the first batch of the training data: {type(error).__name__}: {error}; "
                "mend it, or give Task(sample=...), what the model's forward takes, to look at the model without it"
            ) from error


@contextlib.contextmanager
def _preserve_weights(model: nn.Module) -> Iterator[None]:
    """Give weights, buffers and gradients back what they were before the block: a step may train what it is given."""
    held = [item for item in (*model.parameters(), *model.buffers()) if not is_lazy(item)]
    kept = [(item, item.detach().clone(), item.grad) for item in held]
    for item in held:
        item.grad = None  # a backward pass would add to it in place
    try:
        yield
    finally:
        with torch.no_grad():
            for item, before, grad in kept:
                item.copy_(before)
                item.grad = grad


@contextlib.contextmanager
def preserve_modes(model: nn.Module) -> Iterator[None]:
    """Give each module the mode back, training or evaluation, that it had before the block."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def run_model(
    model: nn.Module, sample: Any, training: bool = False, gradients: bool = False
) -> Any:
    """A model's output for a sample; its modes and the random numbers stay as they were, and nothing is compiled.

    Args:
        model: that runs.
        sample: what it is given, left as it is.
        training: its mode.
        gradients: whether operations are recorded for a backward pass.
    """
    is_step = isinstance(sample, StepCall)
    with preserve_modes(model), _preserve_weights(model) if is_step else contextlib.nullcontext():
        model.train(training)
        with torch.set_grad_enabled(gradients), isolated_random(0), _force_eager():
            return forward(model, _clone_sample(sample))


def observe_output(model: nn.Module, sample: Any, training: bool = False) -> Any:
    """A model's output for a sample, see :func:`run_model`; with gradients only where it asks for them."""

    def attempt(mode: bool) -> Any:
        return try_without_gradients(lambda gradients: run_model(model, sample, mode, gradients))

    return attempt(True) if training else try_in_evaluation(sample, attempt)


def try_in_evaluation(sample: Any, attempt: Callable[[bool], _T]) -> _T:
    """Try a run in eval mode; of a step that fails there in training mode, in which the loop runs it.

    A detector gives its losses in training alone.

    Args:
        sample: what the model is given.
        attempt: the run, given whether it is in training mode.
    """
    try:
        return attempt(False)
    except PlacementError:
        if not isinstance(sample, StepCall):
            raise
    return attempt(True)


def try_without_gradients(attempt: Callable[[bool], _T]) -> _T:
    """Try a run without gradients, and with them if it fails for want of them: a forward may ask torch for derivatives.

    Args:
        attempt: the run, given whether gradients are recorded.
    """
    try:
        return attempt(False)
    except RuntimeError as error:
        if not asks_for_gradients(error):
            raise
    return attempt(True)


def asks_for_gradients(error: Exception) -> bool:
    """Whether torch says that there is nothing to take a derivative of."""
    return isinstance(error, RuntimeError) and "require grad" in str(error)


@contextlib.contextmanager
def explain_run_errors() -> Iterator[None]:
    """Raise a PlacementError for whatever a model raises on a sample."""
    try:
        yield
    except ActsearchError:  # says itself what is wrong: a thread that keeps the random streams
        raise
    except Exception as error:
        raise PlacementError(
            f"the model does not run on the sample input: {type(error).__name__}: {error}; "
            "give a sample as the model's forward takes it"
        ) from error


def _force_eager() -> contextlib.AbstractContextManager[Any]:
    """Leaves to Python what was made by torch.compile, in which no calls are seen."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled, and loading it takes seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _clone_sample(sample: Any) -> Any:
    """A sample that a model may write over, every part of its own type; what takes no copy stays what it is."""
    if isinstance(sample, StepCall):
        return StepCall(sample.step, _copy_batch(sample.batch))
    return map_leaves(sample, _clone_leaf)


def _clone_leaf(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)
    return _copy_batch(leaf)


def _copy_batch(batch: Any) -> Any:
    """A batch that a step may write over; itself where its class allows no copy."""
    try:
        return copy.deepcopy(batch)
    except Exception:  # the user's class, or tensors with a history: anything
        pass
    if isinstance(batch, Tensor) or children(batch) is not None:
        return _clone_sample(batch)
    try:
        return batch.clone()
    except Exception:  # neither has every class a clone()
        return batch
