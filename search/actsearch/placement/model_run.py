"""Running a model on one batch of inputs, so that nothing of it is changed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from actsearch.errors import ActsearchError, PlacementError
from actsearch.placement.random_streams import isolated_random

__all__ = [
    "explain_run_errors",
    "forward",
    "observe_output",
    "preserve_modes",
    "run_model",
    "tensors",
    "try_without_gradients",
]

_T = TypeVar("_T")


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, mappings and data classes.

    ``torch.utils._pytree`` would take a data class, or a mapping of a class that is not registered, for a leaf.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors(vars(value))


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call a model on one batch of inputs: a tensor, a tuple or list of arguments, or a mapping of keywords."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


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
    with preserve_modes(model):
        model.train(training)
        with torch.set_grad_enabled(gradients), isolated_random(0), _force_eager():
            return forward(model, _clone_sample(sample))


def observe_output(model: nn.Module, sample: Any) -> Any:
    """A model's output for a sample in eval mode, see :func:`run_model`; with gradients only where it asks for them."""
    return try_without_gradients(lambda gradients: run_model(model, sample, gradients=gradients))


def try_without_gradients(attempt: Callable[[bool], _T]) -> _T:
    """Try a run without gradients, and with them if it fails for want of them: a forward may ask torch for derivatives.

    Args:
        attempt: the run, given whether gradients are recorded.
    """
    try:
        return attempt(False)
    except RuntimeError as error:
        if "require grad" not in str(error):  # as torch.autograd.grad says it
            raise
    return attempt(True)


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
    """A sample that a model may write over; what is neither a tensor nor holds any stays what it is."""
    if isinstance(sample, Tensor):
        return sample.detach().clone().requires_grad_(sample.requires_grad)
    if type(sample) in (tuple, list):
        return type(sample)(_clone_sample(item) for item in sample)
    if type(sample) is dict:
        return {key: _clone_sample(item) for key, item in sample.items()}
    return sample
