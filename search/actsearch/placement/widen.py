"""Making the layer before a site wider, for an activation that takes several pieces a channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from actsearch.activation_catalog import START_SLOPE, start_slopes
from actsearch.errors import PlacementError
from actsearch.placement.model_run import observe_output, tensors
from actsearch.placement.site_trace import SiteTrace

__all__ = ["Widening", "check_start", "equalize_pieces", "plan_widenings", "widen"]

_ANY_WIDTH = (nn.Identity, nn.modules.dropout._DropoutNd)  # take any number of channels
_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")
_WIDTH_ATTRIBUTES = ("out_features", "out_channels", "num_features")
_TOLERANCE = 1e-3  # of the output's scale; a wider convolution may be summed in another order
_ADVICE = "leave this site out, place(model, {path: activation}) names the others"


@dataclass(frozen=True)
class Widening:
    """A site with several pieces a channel, and what has to become wider for it.

    Attributes:
        site: path of the site.
        layer: path of the Linear or convolution whose output arrives there.
        norms: paths of the batch normalisations in between, in order.
        times: pieces a channel.
        channel_axis: of the channels at the site, counted from the end, so that inputs without a batch fit too.
    """

    site: str
    layer: str
    norms: tuple[str, ...]
    times: int
    channel_axis: int


def plan_widenings(
    model: nn.Module,
    traced: nn.Module,
    traces: Mapping[str, SiteTrace],
    pieces: Mapping[str, int],
    has_sample: bool,
) -> dict[str, Widening]:
    """What has to become wider, by path of the site.

    Args:
        model: the user's model; only looked at.
        traced: the model, or the copy of it, whose modules ``traces`` holds.
        traces: what arrives at the sites.
        pieces: how many a channel has, by path of the site.
        has_sample: whether a batch of inputs was given to find out what arrives.

    Raises:
        PlacementError: a layer that is unknown, cannot be widened, or would be widened twice.
    """
    paths = {module: path for path, module in traced.named_modules()}
    plans: dict[str, Widening] = {}
    taken: dict[str, str] = {}  # site by path of what becomes wider for it
    for site, count in pieces.items():
        if site not in traces or traces[site].layer is None:
            raise _unknown_layer_error(site, site in traces, has_sample)
        plan = _plan_widening(model, site, traces[site], count, paths)
        for path in (plan.layer, *plan.norms):
            if path in taken:
                raise _widening_error(site, f"{path!r} already becomes wider for {taken[path]!r}")
            taken[path] = site
        plans[site] = plan
    return plans


def _plan_widening(
    model: nn.Module, site: str, trace: SiteTrace, times: int, paths: Mapping[nn.Module, str]
) -> Widening:
    assert trace.layer is not None
    # looked up in the user's model: a pass turns lazy layers of the traced copy into plain ones
    layer = model.get_submodule(paths[trace.layer])
    between = {paths[module]: model.get_submodule(paths[module]) for module in trace.between}
    norms = {path: item for path, item in between.items() if not isinstance(item, _ANY_WIDTH)}
    width = int(getattr(layer, "out_features", 0) or getattr(layer, "out_channels", 0))
    for path, norm in norms.items():
        if reason := _why_not_norm(norm, width):
            raise _widening_error(
                site, f"{type(norm).__name__} {path!r} stands in between, {reason}"
            )
    for path, module in {paths[trace.layer]: layer, **norms}.items():
        if reason := _why_not_weights(model, module):
            raise _widening_error(site, f"{type(module).__name__} {path!r} {reason}")
    # (out, in) of a Linear, (out, in, height, width) of an image convolution, whose channels are third from the end
    axis = 1 - layer.get_parameter("weight").dim()
    return Widening(site, paths[trace.layer], tuple(norms), times, axis)


def _why_not_norm(norm: nn.Module, width: int) -> str:
    """Why a module between a layer of some width and the site cannot be widened with it; empty if it can."""
    if not isinstance(norm, _BatchNorm):
        return "and of normalisations only batch normalisation is widened"
    if norm.weight is None:
        return "which has no weights and would make the pieces of a channel equal"
    if not isinstance(norm, LazyModuleMixin) and norm.num_features != width:
        return f"which normalises {norm.num_features} channels, not the {width} of the layer"
    return ""


def _why_not_weights(model: nn.Module, module: nn.Module) -> str:
    """Why a module's weights cannot be repeated; empty if they can."""
    if isinstance(module, LazyModuleMixin):
        return "is lazy: run the model once on a batch first"
    own = module._parameters
    given = [name for name in ("weight", "bias") if getattr(module, name, None) is not None]
    if parametrize.is_parametrized(module) or any(own.get(name) is None for name in given):
        return (
            "computes its weights from others (parametrized, weight_norm, pruned): "
            "remove that first, or make the model with a wider layer"
        )
    mine = {id(parameter) for parameter in own.values() if parameter is not None}
    for path, other in model.named_modules():
        if other is not module and any(id(item) in mine for item in other._parameters.values()):
            return f"shares weights with {path or 'the model itself'!r}"
    return ""


def _unknown_layer_error(site: str, reached: bool, has_sample: bool) -> PlacementError:
    if not has_sample:
        return _widening_error(site, "which one is unknown: give sample=, one batch of inputs", "")
    if not reached:
        return _widening_error(site, "the sample does not reach it")
    return _widening_error(
        site,
        "what arrives is not the output of a Linear or convolution, through batch normalisation and dropout at most "
        "(it was summed, reshaped or computed by a function)",
    )


def _widening_error(site: str, reason: str, advice: str = _ADVICE) -> PlacementError:
    ending = f"; {advice}" if advice else ""
    return PlacementError(f"{site!r} needs a wider layer before it, and {reason}{ending}")


@torch.no_grad()
def widen(model: nn.Module, plan: Widening) -> None:
    """Repeat every channel of the layer and what follows it, and give each repetition a slope of its own.

    Of k pieces, piece j of channel c is channel k c + j, and starts as the channel itself times the j-th of the slopes
    from 1 down to START_SLOPE: their largest is leaky_relu(START_SLOPE) of the channel. The slopes stand in the last
    module that has weights, since a normalisation after them would undo them.

    Args:
        model: a copy of the user's model, changed in place.
        plan: what to widen.
    """
    modules = [model.get_submodule(path) for path in (plan.layer, *plan.norms)]
    for module in modules:
        _repeat(module, plan.times)
    _apply_slopes(modules[-1], plan.times)


def _repeat(module: nn.Module, times: int) -> None:
    """Each channel that many times, side by side: those of a group of a convolution stay in it."""
    for name in _PER_CHANNEL:
        old = getattr(module, name, None)
        if old is None:
            continue
        wide = old.detach().repeat_interleave(times, dim=_channel_dim(module, name))
        if isinstance(old, nn.Parameter):
            wide = nn.Parameter(wide, requires_grad=old.requires_grad)
        setattr(module, name, wide)
    for name in _WIDTH_ATTRIBUTES:
        if hasattr(module, name):
            setattr(module, name, getattr(module, name) * times)


def _apply_slopes(module: nn.Module, times: int) -> None:
    for name in ("weight", "bias"):
        if (tensor := getattr(module, name, None)) is not None:
            pieces = _split_pieces(module, name, times)
            # axes after (channels, times)
            trailing = pieces.dim() - _channel_dim(module, name) - 2
            slopes = torch.tensor(start_slopes(times), dtype=tensor.dtype, device=tensor.device)
            pieces.mul_(slopes.view(-1, *[1] * trailing))


@torch.no_grad()
def equalize_pieces(between: Iterable[nn.Module], times: int) -> None:
    """Take the start slopes back from widened batch normalisations: every piece as the first, whose slope is 1.

    For pieces that are drawn independently, which nothing needs to tell apart.

    Args:
        between: what stands between a widened layer and its site; changed in place.
        times: pieces a channel.
    """
    for module in between:
        if isinstance(module, _BatchNorm):
            for name in ("weight", "bias"):
                pieces = _split_pieces(module, name, times)  # (channels, times)
                pieces.copy_(pieces[:, :1].clone())


def _split_pieces(module: nn.Module, name: str, times: int) -> Tensor:
    """A view of a parameter whose axis of channels is two, (channels, times)."""
    return torch.unflatten(module.get_parameter(name), _channel_dim(module, name), (-1, times))


def _channel_dim(module: nn.Module, name: str) -> int:
    """Axis of the output channels: weights of a transposed convolution are (in, out / groups, ...)."""
    return 1 if isinstance(module, _ConvTransposeNd) and name == "weight" else 0


def check_start(
    placed: nn.Module, expected: nn.Module, sample: Any, plans: Sequence[Widening]
) -> None:
    """Compare a widened model with the same model with leaky_relu in the place of the widened sites.

    They differ where a layer's output also goes elsewhere than to its site, around a sum for instance.

    Raises:
        PlacementError: the widened model does not run, or gives another shape or other numbers.
    """
    what = ", ".join(f"{plan.layer!r} {plan.times} times as wide" for plan in plans)
    advice = (
        "perhaps the output of a layer also goes elsewhere than to its site, or one activation module stands behind "
        f"several layers: give each its own, or {_ADVICE}"
    )
    try:
        output, wanted = observe_output(placed, sample), observe_output(expected, sample)
    except Exception as error:
        raise PlacementError(
            f"with {what}, the model does not run: {type(error).__name__}: {error}; {advice}"
        ) from error
    for one, other in zip(tensors(output), tensors(wanted), strict=True):
        if one.shape != other.shape:
            raise PlacementError(
                f"with {what}, the model's output has shape {tuple(one.shape)}, "
                f"not {tuple(other.shape)}; {advice}"
            )
        if not _is_close(one, other):
            raise PlacementError(
                f"with {what}, the model does not start as it would with leaky_relu({START_SLOPE}) "
                f"at {', '.join(repr(plan.site) for plan in plans)}; {advice}"
            )


def _is_close(output: Tensor, wanted: Tensor) -> bool:
    """Whether two outputs of one shape are equal but for rounding, by which whole numbers (an argmax) may change."""
    if not wanted.is_floating_point() or wanted.is_meta or not wanted.numel():
        return True
    # in half precision, rounding alone takes more than that
    tolerance = max(_TOLERANCE, torch.finfo(wanted.dtype).eps ** 0.5)
    scale = wanted.nan_to_num(0, 0, 0).abs().max().item()
    close = torch.isclose(output, wanted, rtol=0, atol=tolerance * scale, equal_nan=True)
    return bool(close.all().item())
