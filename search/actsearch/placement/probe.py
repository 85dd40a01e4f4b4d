"""One forward pass that watches what arrives at each site: shape, channel axis, values."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from actsearch.errors import ActsearchError, PlacementError
from actsearch.placement.channels import ChannelAxes, ChannelAxisTracker, lost_after, tensors
from actsearch.placement.random_streams import isolated_random
from actsearch.placement.script_modules import ScriptModuleProxy, is_scripted

__all__ = [
    "SiteTrace",
    "forward",
    "observe_output",
    "run",
    "sample_run_error",
    "tensors",
    "trace",
    "with_gradients_if_asked",
]

_T = TypeVar("_T")

_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RMSNorm)
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)

WEIGHT_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
"""Layers whose weights decide the scale of what arrives at a site."""

PASSING = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.Identity,
)
"""Modules that keep the channels of what they are given."""


@dataclass(frozen=True)
class SiteTrace:
    """What arrived at a site in one pass.

    Attributes:
        inputs: the pre-activations, shape as in the model, detached.
        channel_axis: axis of the channels, or None where it cannot be told.
        layer: the Linear or convolution whose output arrives, through normalisation and dropout at most; None after a
            sum or a reshape.
        between: the normalisation, dropout and identity modules that its output passed on the way, in order.
        doubt: why the channels cannot be told although the site was reached.
    """

    inputs: Tensor
    channel_axis: int | None
    layer: nn.Module | None = None
    between: tuple[nn.Module, ...] = ()
    doubt: str = ""

    @property
    def channels(self) -> int | None:
        """Size of the channel axis, or None where it cannot be told."""
        return None if self.channel_axis is None else int(self.inputs.shape[self.channel_axis])


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call a model on one batch of inputs: a tensor, a tuple or list of arguments, or a mapping of keywords."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def trace(model: nn.Module, paths: Iterable[str], sample: Any) -> dict[str, SiteTrace]:
    """Run a sample through a model in eval mode and watch the modules at some paths.

    The model is left as it was, in its former mode. A path that the pass does not reach is missing in the result.

    Raises:
        PlacementError: if the model does not run on the sample.
    """
    try:
        return with_gradients_if_asked(
            lambda gradients: _traced(model, tuple(paths), sample, gradients)
        )
    except ActsearchError:
        raise
    except Exception as error:
        raise sample_run_error(error) from error


def _traced(
    model: nn.Module, paths: Iterable[str], sample: Any, gradients: bool
) -> dict[str, SiteTrace]:
    watch = _Watch()
    hooks = [
        module.register_forward_hook(watch.layout)
        for module in model.modules()
        if not is_scripted(module)
    ]
    hooks += [
        model.get_submodule(path).register_forward_pre_hook(watch.site(path), with_kwargs=True)
        for path in paths
    ]
    try:
        with ChannelAxisTracker(watch.axes):
            run(model, sample, gradients=gradients)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.seen


def sample_run_error(error: Exception) -> PlacementError:
    """What to say of a model that raised an error on a sample."""
    return PlacementError(
        f"the model does not run on the sample input: {type(error).__name__}: {error}; "
        "give a sample as the model's forward takes it"
    )


def with_gradients_if_asked(attempt: Callable[[bool], _T]) -> _T:
    """Try a run without gradients, and with them if it fails for want of them: a forward may ask torch for derivatives.

    Args:
        attempt: the run, given whether gradients are recorded.
    """
    try:
        return attempt(False)
    except RuntimeError as error:
        if "require grad" not in str(error):
            raise
    return attempt(True)


def observe_output(model: nn.Module, sample: Any) -> Any:
    """A model's output for a sample in eval mode, see :func:`run`; with gradients only where it asks for them."""
    return with_gradients_if_asked(lambda gradients: run(model, sample, gradients=gradients))


def run(model: nn.Module, sample: Any, training: bool = False, gradients: bool = False) -> Any:
    """A model's output for a sample; its modes and the random numbers stay as they were, and nothing is compiled.

    Args:
        model: that runs.
        sample: what it is given, left as it is.
        training: its mode.
        gradients: whether operations are recorded for a backward pass.
    """
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        with torch.set_grad_enabled(gradients), isolated_random(0), _in_python():
            return forward(model, _cloned(sample))
    finally:
        for module, mode in modes.items():
            module.training = mode


def _in_python() -> contextlib.AbstractContextManager[Any]:
    """Leaves to Python what was made by torch.compile, in which no calls are seen."""
    if (
        "torch._dynamo" not in sys.modules
    ):  # then there is no such, and loading it would take seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _cloned(sample: Any) -> Any:
    """A sample that a model may write over; what is neither a tensor nor holds any stays what it is."""
    if isinstance(sample, Tensor):
        return sample.detach().clone().requires_grad_(sample.requires_grad)
    if type(sample) in (tuple, list):
        return type(sample)(_cloned(item) for item in sample)
    return {key: _cloned(item) for key, item in sample.items()} if type(sample) is dict else sample


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


class _Watch:
    """What arrives at sites: on which axis its channels lie, and which layer made it."""

    def __init__(self) -> None:
        self.seen: dict[str, SiteTrace] = {}
        self.axes = ChannelAxes()
        # the layer that made a tensor and what it passed since, with the tensor's version
        self._chains: Any = WeakTensorKeyDictionary()

    def layout(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """What a module's class says of its output, where the functions that it called do not say it."""
        if not isinstance(output, Tensor) or output.dim() < 2:
            return
        if isinstance(module, WEIGHT_LAYERS):
            self._chains[output] = _version(output), (module,)
        elif isinstance(module, PASSING) and inputs and (chain := self._chain_to(inputs[0])):
            self._chains[output] = _version(output), (*chain, module)
        if isinstance(state := self.axes.state(output), int):
            return
        if isinstance(module, _CHANNELS_LAST):
            self.axes.remember(output, output.dim() - 1)
        elif isinstance(module, _CHANNELS_FIRST):
            self.axes.remember(output, 1)
        elif isinstance(module, ScriptModuleProxy) and output.dim() > 2:
            self.axes.remember(output, lost_after("a ScriptModule"))
        elif state is None and inputs and isinstance(inputs[0], Tensor):
            if inputs[0].shape == output.shape:  # a kernel that no function of torch called
                self.axes.remember(output, self.axes.state(inputs[0]))

    def site(self, path: str) -> Any:
        """A hook that sees what arrives."""

        def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            value = inputs[0] if inputs else keywords.get("input")
            if not isinstance(value, Tensor):
                return
            axis, doubt = self.axes.told(value)
            layer, *between = self._chain_to(value) or (None,)
            trace = SiteTrace(value.detach().clone(), axis, layer, tuple(between), doubt)
            before = self.seen.get(path)
            self.seen[path] = trace if before is None else _joined(before, trace)

        return hook

    def _chain_to(self, value: Any) -> tuple[nn.Module, ...]:
        """The layer that made a tensor and what it passed since; empty if it was written to, as ``x += y`` does."""
        if not isinstance(value, Tensor):
            return ()
        version, chain = self._chains.get(value, (0, ()))
        return chain if chain and version == _version(value) else ()


def _joined(before: SiteTrace, now: SiteTrace) -> SiteTrace:
    """Of a site that is used once more: its channels must be the same."""
    one, other = before.channel_axis, now.channel_axis
    if one is None or other is None:
        return dataclasses.replace(before, channel_axis=None, doubt=before.doubt or now.doubt)
    if before.channels != now.channels:
        doubt = f"it is used with {before.channels} channels and with {now.channels}"
        return dataclasses.replace(before, channel_axis=None, doubt=doubt)
    from_end = other - now.inputs.dim()
    if one in (other, from_end):
        return before
    if one - before.inputs.dim() == from_end:
        return dataclasses.replace(before, channel_axis=from_end)
    doubt = f"it is used with channels on axis {one} and on axis {other}"
    return dataclasses.replace(before, channel_axis=None, doubt=doubt)
