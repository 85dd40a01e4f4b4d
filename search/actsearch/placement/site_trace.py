"""One forward pass that watches what arrives at each site: shape, channel axis, values."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from actsearch.placement.channels import ChannelAxisTracker, lost_after
from actsearch.placement.model_run import (
    explain_run_errors,
    run_model,
    try_in_evaluation,
    try_without_gradients,
)
from actsearch.placement.script_modules import ScriptModuleProxy, is_scripted

__all__ = ["CHANNEL_KEEPING", "SiteTrace", "trace_sites", "version_of"]

_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RMSNorm)
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)

_WEIGHT_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)  # they decide the scale of what arrives

CHANNEL_KEEPING = (
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
        channel_axis: axis of the channels, or None where it is unknown.
        layer: the Linear or convolution whose output arrives, through normalisation and dropout at most; None after a
            sum or a reshape.
        between: the normalisation, dropout and identity modules that its output passed on the way, in order.
        unknown_because: why the channels are unknown although the site was reached.
    """

    inputs: Tensor
    channel_axis: int | None
    layer: nn.Module | None = None
    between: tuple[nn.Module, ...] = ()
    unknown_because: str = ""

    @property
    def channels(self) -> int | None:
        """Size of the channel axis, or None where it is unknown."""
        return None if self.channel_axis is None else int(self.inputs.shape[self.channel_axis])


def trace_sites(model: nn.Module, paths: Iterable[str], sample: Any) -> dict[str, SiteTrace]:
    """Run a sample through a model in eval mode, see :func:`try_in_evaluation`, and watch the modules at some paths.

    The model is left as it was, in its former mode. A path that the pass does not reach is missing in the result.

    Raises:
        PlacementError: if the model does not run on the sample.
    """
    paths = tuple(paths)

    def attempt(training: bool) -> dict[str, SiteTrace]:
        return try_without_gradients(
            lambda gradients: _trace_sites(model, paths, sample, training, gradients)
        )

    with explain_run_errors():
        return try_in_evaluation(sample, attempt)


def _trace_sites(
    model: nn.Module, paths: Iterable[str], sample: Any, training: bool, gradients: bool
) -> dict[str, SiteTrace]:
    watcher = _SiteWatcher()
    with contextlib.ExitStack() as hooks:
        for module in model.modules():
            if not is_scripted(module):
                hooks.enter_context(module.register_forward_hook(watcher.note_output))
        for path in paths:
            site, hook = model.get_submodule(path), watcher.site_hook(path)
            hooks.enter_context(site.register_forward_pre_hook(hook, with_kwargs=True))
        with watcher.axes:
            run_model(model, sample, training, gradients)
    return watcher.traces


class _SiteWatcher:
    """What arrives at sites: on which axis its channels lie, and which layer made it."""

    def __init__(self) -> None:
        self.traces: dict[str, SiteTrace] = {}
        self.axes = ChannelAxisTracker()
        # the layer that made a tensor and what it passed since, with the tensor's version
        self._chains: Any = WeakTensorKeyDictionary()

    def note_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A forward hook: what a module's class says of its output, where the functions that it called do not."""
        if not isinstance(output, Tensor) or output.dim() < 2:
            return
        if isinstance(module, _WEIGHT_LAYERS):
            self._chains[output] = version_of(output), (module,)
        elif (
            isinstance(module, CHANNEL_KEEPING) and inputs and (chain := self._chain_to(inputs[0]))
        ):
            self._chains[output] = version_of(output), (*chain, module)
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

    def site_hook(self, path: str) -> Any:
        """A forward pre-hook that sees what arrives at a site."""

        def hook(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            value = inputs[0] if inputs else keywords.get("input")
            if not isinstance(value, Tensor):
                return
            axis, reason = self.axes.channel_axis(value)
            layer, *between = self._chain_to(value) or (None,)
            trace = SiteTrace(value.detach().clone(), axis, layer, tuple(between), reason)
            before = self.traces.get(path)
            self.traces[path] = trace if before is None else _merge_uses(before, trace)

        return hook

    def _chain_to(self, value: Any) -> tuple[nn.Module, ...]:
        """The layer that made a tensor and what it passed since; empty if it was written to, as ``x += y`` does."""
        if not isinstance(value, Tensor):
            return ()
        version, chain = self._chains.get(value, (0, ()))
        return chain if chain and version == version_of(value) else ()


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count."""
    with (
        torch._C.DisableTorchFunction()
    ):  # a parameter that is not initialised refuses any function
        return 0 if tensor.is_inference() else tensor._version


def _merge_uses(before: SiteTrace, now: SiteTrace) -> SiteTrace:
    """Of a site that is used once more: its channels must be the same."""
    reason = ""
    first, second = before.channel_axis, now.channel_axis
    if first is None or second is None:
        reason = before.unknown_because or now.unknown_because
    elif before.channels != now.channels:
        reason = f"it is used with {before.channels} channels and with {now.channels}"
    else:
        from_end = second - now.inputs.dim()
        if first in (second, from_end):
            return before
        if first - before.inputs.dim() == from_end:
            return dataclasses.replace(before, channel_axis=from_end)
        reason = f"it is used with channels on axis {first} and on axis {second}"
    return dataclasses.replace(before, channel_axis=None, unknown_because=reason)
