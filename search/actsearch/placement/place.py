"""Swapping activations on a deep copy of a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from actsearch.activation import Activation, activation, describe, expression_of, pieces_of
from actsearch.catalog import CATALOG, START_SLOPE
from actsearch.errors import PlacementError, nearest
from actsearch.placement.probe import PASSING, SiteTrace, trace
from actsearch.placement.sites import NORMALISING, Site, sites
from actsearch.placement.widen import Widening, check_start, plan_widenings, widen
from actsearch.records import SHARED, ActivationRecord, CandidateRecord

__all__ = ["Placement", "Replacement", "place", "pre_activations"]

_Plan = dict[str, ActivationRecord | nn.Module]
_START = describe("leaky_relu", negative_slope=START_SLOPE)
_NO_OUTPUT = "{} is an output activation: it is not placed at hidden sites"


@dataclass(frozen=True)
class Replacement:
    """One site that was changed.

    Attributes:
        path: of the site.
        old: what stood there.
        new: what stands there now.
        widened: path of the layer that was made wider for it; empty for most activations.
    """

    path: str
    old: str
    new: str
    widened: str = ""

    def __str__(self) -> str:
        wider = f" ({self.widened} widened)" if self.widened else ""
        return f"{self.path}: {self.old} -> {self.new}{wider}"


@dataclass(frozen=True)
class Placement:
    """A changed copy of a model.

    Attributes:
        model: the copy; the user's model is untouched.
        replaced: what was changed.
        skipped: path and reason of each site left alone.
    """

    model: nn.Module
    replaced: tuple[Replacement, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [str(item) for item in self.replaced]
        lines += [f"{path}: kept ({reason})" for path, reason in self.skipped]
        return "\n".join(lines) or "the model unchanged"


def place(model: nn.Module, act: Any, *, sample: Any = None) -> Placement:
    """Put an activation into a deep copy of a model.

    Each site gets a module of its own, on the device, in the dtype and in the mode of the model. Learned
    parameters therefore belong to one site, also where the model shared one instance.

    For an activation that takes several pieces a channel (maxout), the Linear or convolution before each site is made
    as many times wider in the copy, with a batch normalisation in between. Its weights, pretrained ones too, are
    repeated with slopes from 1 down to 0.25, so that the model starts as it would with leaky_relu(0.25).

    Args:
        model: the user's model.
        act: catalog name, formula, Expression, module, record or candidate, for every hidden site; or a mapping
            from site path to one of them, for just those sites.
        sample: one batch of inputs; needed to infer channels for parameters learned per channel, and the layer to be
            made wider, unless the site follows its layer in an ``nn.Sequential``. A widened model is run on it once.

    Raises:
        PlacementError: when nothing can be replaced, a path does not exist, channels cannot be inferred, or a layer
            cannot be told or made wider.
    """
    if not isinstance(model, nn.Module):
        raise PlacementError(f"a model is a torch.nn.Module, not {type(model).__name__}")
    record = act if isinstance(act, CandidateRecord) else getattr(act, "record", None)
    if isinstance(record, CandidateRecord):
        if record.is_baseline:
            return Placement(_copied(model), ())
        act = record.activations[SHARED] if SHARED in record.activations else record.activations
    found = sites(model)
    plan, skipped = _planned(found, act, model)
    return _applied(model, found, plan, skipped, sample)


def _planned(
    found: list[Site], act: Any, model: nn.Module
) -> tuple[_Plan, tuple[tuple[str, str], ...]]:
    """What goes where, by path, and what is left alone."""
    if isinstance(act, Mapping):
        known = {path: site.path for site in found for path in (site.path, *site.aliases)}
        for path in act:
            if path not in known:
                raise PlacementError(
                    f"{type(model).__name__} has no activation at {path!r}" + nearest(path, known)
                )
        plan = {known[path]: _resolved(item) for path, item in act.items()}
        skipped = [(site.path, "not asked for") for site in found if site.path not in plan]
    else:
        resolved = _resolved(act)
        plan = {site.path: resolved for site in found if site.role == "hidden"}
        skipped = [(site.path, f"role {site.role}") for site in found if site.role != "hidden"]
    if not plan:
        listed = "; ".join(f"{path}: {reason}" for path, reason in skipped)
        raise PlacementError(
            f"nothing to replace in {type(model).__name__}: it holds no hidden activation module"
            + (f" ({listed})" if listed else "")
            + ". Activations called as functions, such as F.relu in forward, are not seen: "
            "hold them as modules, self.act = nn.ReLU()"
        )
    return plan, tuple(skipped)


def _resolved(what: Any) -> ActivationRecord | nn.Module:
    if isinstance(what, nn.Module) and not isinstance(what, Activation):
        if isinstance(what, NORMALISING):
            raise PlacementError(_NO_OUTPUT.format(type(what).__name__))
        return what
    record = describe(what)
    if record.name and CATALOG[record.name].role != "hidden":
        raise PlacementError(_NO_OUTPUT.format(record.name))
    # a widening activation has learned nothing itself, and is built anew for the axis of its layer
    return what if isinstance(what, Activation) and pieces_of(record) == 1 else record


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise PlacementError(
            f"{type(model).__name__} cannot be copied: {type(error).__name__}: {error}; "
            "give a function that builds it instead"
        ) from error


def _applied(
    model: nn.Module,
    found: list[Site],
    plan: _Plan,
    skipped: tuple[tuple[str, str], ...],
    sample: Any,
) -> Placement:
    traced, seen = _watched(model, found, plan, sample)
    _check_channels(plan, seen, sample)
    wider = plan_widenings(model, traced, seen, _times(found, plan), sample is not None)
    modules = {path: _built(item, seen.get(path), wider.get(path)) for path, item in plan.items()}
    changed = _copied(model)
    for widening in wider.values():
        widen(changed, widening)
    replaced = [
        _replaced(changed, site.path, modules[site.path], wider.get(site.path))
        for site in found
        if site.path in modules
    ]
    _no_nested_tensors(changed)
    if wider and sample is not None:
        start = {path: _START if path in wider else item for path, item in plan.items()}
        expected = _applied(model, found, start, (), sample).model
        check_start(changed, expected, sample, list(wider.values()))
    return Placement(changed, tuple(replaced), skipped)


def _replaced(
    changed: nn.Module, path: str, new: nn.Module, wider: Widening | None
) -> Replacement:
    """Put a module at a site of the copy, on its device, in its dtype and mode."""
    parent_path, _, name = path.rpartition(".")
    parent = changed.get_submodule(parent_path)
    old = parent.get_submodule(name)
    new = new.train(old.training)
    parameter = next((p for p in changed.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        new = new.to(device=parameter.device, dtype=parameter.dtype)
    setattr(parent, name, new)
    if isinstance(parent, nn.TransformerEncoderLayer):
        # its fused inference path looks at this flag, not at the activation
        parent.activation_relu_or_gelu = 0
    return Replacement(path, type(old).__name__, _name(new), wider.layer if wider else "")


def _no_nested_tensors(model: nn.Module) -> None:
    """Padded batches become nested tensors only for layers that are all fused; others cannot take them."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and not all(
            getattr(layer, "activation_relu_or_gelu", 0) for layer in module.layers
        ):
            module.use_nested_tensor = False


def _built(
    item: ActivationRecord | nn.Module, seen: SiteTrace | None, wider: Widening | None
) -> nn.Module:
    if not isinstance(item, ActivationRecord):
        return copy.deepcopy(item)
    if wider is not None:
        return activation(item, channel_axis=wider.channel_axis)
    if seen is None or seen.channel_axis is None:
        return activation(item)
    return activation(item, channels=seen.channels, channel_axis=seen.channel_axis)


def _name(module: nn.Module) -> str:
    return module.record.label if isinstance(module, Activation) else type(module).__name__


def _watched(
    model: nn.Module, found: list[Site], plan: _Plan, sample: Any
) -> tuple[nn.Module, Mapping[str, SiteTrace]]:
    """What arrives at each planned site whose activation must know, and the model that it was seen in."""
    needed = [
        path
        for path, item in plan.items()
        if isinstance(item, ActivationRecord)
        and (_learns_per_channel(item) or pieces_of(item) > 1)
    ]
    if not needed:
        return model, {}
    if sample is not None:
        traced = _separated(model, found)
        return traced, trace(traced, needed, sample)
    return model, {path: guess for path in needed if (guess := _from_sequential(model, path))}


def _check_channels(plan: _Plan, seen: Mapping[str, SiteTrace], sample: Any) -> None:
    """Refuse parameters per channel where the channels cannot be told."""
    for path, item in plan.items():
        if not isinstance(item, ActivationRecord) or not _learns_per_channel(item):
            continue
        if path not in seen or seen[path].channels is None:
            reason = "its axis is ambiguous" if path in seen else "the sample does not reach it"
            raise PlacementError(
                f"cannot infer the channels at {path!r} for parameters learned per channel: "
                + ("give sample=, one batch of inputs" if sample is None else reason)
            )


def _times(found: list[Site], plan: _Plan) -> dict[str, int]:
    """Pieces a channel, by path of each planned site that needs a wider layer."""
    times = {
        path: pieces_of(item)
        for path, item in plan.items()
        if isinstance(item, ActivationRecord) and pieces_of(item) > 1
    }
    for site in found:
        if site.path in times and site.role == "gate":
            raise PlacementError(
                f"{site.type} at {site.path!r} changes the shape already: "
                "what needs a wider layer takes the place of an activation that keeps it"
            )
    return times


def pre_activations(model: nn.Module, sample: Any) -> dict[str, SiteTrace]:
    """What arrives at each hidden site of a model, in eval mode, for one batch of inputs, by path."""
    found = sites(model)
    hidden = [site.path for site in found if site.role == "hidden"]
    return trace(_separated(model, found), hidden, sample)


def _separated(model: nn.Module, found: list[Site]) -> nn.Module:
    """A copy in which no two sites share an instance, so that a hook belongs to one site."""
    changed = _copied(model)
    for site in found:
        parent_path, _, name = site.path.rpartition(".")
        parent = changed.get_submodule(parent_path)
        setattr(parent, name, copy.deepcopy(parent.get_submodule(name)))
    return changed


def _learns_per_channel(record: ActivationRecord) -> bool:
    if record.name and not CATALOG[record.name].elementwise:
        return False
    return any(parameter.per == "channel" for parameter in expression_of(record).parameters)


def _from_sequential(model: nn.Module, path: str) -> SiteTrace | None:
    """The layer right before a site in the same ``nn.Sequential``, and its channels; values are of no meaning."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    if not isinstance(parent, nn.Sequential):
        return None
    names = list(parent._modules)
    between: tuple[nn.Module, ...] = ()
    for before in reversed(names[: names.index(name)]):
        layer = parent.get_submodule(before)
        if isinstance(layer, nn.Linear):
            return SiteTrace(torch.empty(1, layer.out_features), -1, layer, between)
        if isinstance(layer, nn.modules.conv._ConvNd):
            return SiteTrace(torch.empty(1, layer.out_channels), 1, layer, between)
        if not isinstance(layer, PASSING):
            return None
        between = (layer, *between)
    return None
