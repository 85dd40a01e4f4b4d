"""One forward pass that watches what arrives at each site: shape, channel axis, values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from actsearch.errors import ActsearchError, PlacementError
from actsearch.placement.random_streams import isolated_random

__all__ = ["SiteTrace", "forward", "observed", "tensors", "trace"]

_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.Embedding, nn.EmbeddingBag, nn.RMSNorm)
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)

_KEEPING_SHAPE = frozenset(
    "add sub mul div add_ sub_ mul_ div_ __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ "
    "__truediv__ __itruediv__ dropout clone contiguous float half to type_as".split()
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
    watch = _Watch()
    hooks = [module.register_forward_hook(watch.layout) for module in model.modules()]
    hooks += [
        model.get_submodule(path).register_forward_pre_hook(watch.site(path)) for path in paths
    ]
    try:
        with _Arithmetic(watch):
            observed(model, sample)
    except ActsearchError:
        raise
    except Exception as error:
        raise PlacementError(
            f"the model does not run on the sample input: {type(error).__name__}: {error}; "
            "give a sample as the model's forward takes it"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return watch.seen


class _Arithmetic(TorchFunctionMode):
    """Follows the channel axis through sums and products, which keep it where the shape stays."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _KEEPING_SHAPE and isinstance(result, Tensor):
            for item in args:
                if isinstance(item, Tensor) and item.shape == result.shape:
                    self.watch.passed_on(item, result)
        return result


def observed(model: nn.Module, sample: Any, training: bool = False) -> Any:
    """A model's output for a sample, without gradients; its modes and the random numbers stay as they were."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        with torch.no_grad(), isolated_random(0):
            return forward(model, _cloned(sample))
    finally:
        for module, mode in modes.items():
            module.training = mode


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, mappings and data classes."""
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


def _cloned(sample: Any) -> Any:
    """A sample that a model may write over; what is neither a tensor nor holds any stays what it is."""
    if isinstance(sample, Tensor):
        return sample.clone()
    if type(sample) in (tuple, list):
        return type(sample)(_cloned(item) for item in sample)
    return {key: _cloned(item) for key, item in sample.items()} if type(sample) is dict else sample


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


class _Watch:
    """Follows the channel axis from the layers that set it through those that keep it."""

    def __init__(self) -> None:
        self.seen: dict[str, SiteTrace] = {}
        self._axis: dict[int, int] = {}  # by id of a tensor kept alive
        self._chain: dict[int, tuple[int, tuple[nn.Module, ...]]] = {}  # with the tensor's version
        self._alive: list[Tensor] = []

    def layout(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() < 2:
            return
        if isinstance(module, WEIGHT_LAYERS):
            self._chain[id(output)] = _version(output), (module,)
        elif isinstance(module, PASSING) and inputs and (chain := self._chain_to(inputs[0])):
            self._chain[id(output)] = _version(output), (*chain, module)
        self._alive.append(output)
        if isinstance(module, _CHANNELS_LAST):
            self._remember(output, output.dim() - 1)
        elif isinstance(module, _CHANNELS_FIRST):
            self._remember(output, 1)
        elif inputs and isinstance(inputs[0], Tensor) and inputs[0].shape == output.shape:
            if (axis := self._axis.get(id(inputs[0]))) is not None and not list(module.children()):
                self._remember(output, axis)

    def passed_on(self, tensor: Tensor, result: Tensor) -> None:
        """A result whose channels are those of a tensor, if they are known."""
        if (axis := self._axis.get(id(tensor))) is not None:
            self._alive.append(result)
            self._remember(result, axis)

    def _remember(self, tensor: Tensor, axis: int) -> None:
        self._axis[id(tensor)] = axis

    def site(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not inputs or not isinstance(value := inputs[0], Tensor):
                return
            if (before := self.seen.get(path)) is not None:
                self.seen[path] = self._again(before, value)
            else:
                layer, *between = self._chain_to(value) or (None,)
                self.seen[path] = SiteTrace(
                    value.detach().clone(), self._channel_axis(value), layer, tuple(between)
                )

        return hook

    def _again(self, before: SiteTrace, value: Tensor) -> SiteTrace:
        """A site that is used once more: its channels must be the same."""
        axis = self._channel_axis(value)
        if axis is None or before.channels is None or value.shape[axis] == before.channels:
            return before
        doubt = f"it is used with {before.channels} channels and with {value.shape[axis]}"
        return dataclasses.replace(before, channel_axis=None, doubt=doubt)

    def _chain_to(self, value: Any) -> tuple[nn.Module, ...]:
        """The layer that made a tensor and what it passed since; empty if it was written to, as ``x += y`` does."""
        version, chain = self._chain.get(id(value), (0, ()))
        return chain if chain and version == _version(value) else ()

    def _channel_axis(self, value: Tensor) -> int | None:
        if (known := self._axis.get(id(value))) is not None:
            return known
        # after a sum or a reshape: rows of features, or images as (batch, channels, ...)
        return 1 if value.dim() == 2 or value.dim() >= 4 else None
