"""Swapping activations on a deep copy of a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from actsearch.activation import Activation, activation, describe, expression_of
from actsearch.catalog import CATALOG
from actsearch.errors import PlacementError, nearest
from actsearch.placement.probe import SiteTrace, trace
from actsearch.placement.sites import NORMALISING, Site, sites
from actsearch.records import SHARED, ActivationRecord, CandidateRecord

__all__ = ["Placement", "Replacement", "place", "pre_activations"]

_Plan = dict[str, ActivationRecord | nn.Module]
_NO_OUTPUT = "{} is an output activation: it is not placed at hidden sites"


@dataclass(frozen=True)
class Replacement:
    """One site that was changed: its path, what stood there, what stands there now."""

    path: str
    old: str
    new: str


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
        lines = [f"{item.path}: {item.old} -> {item.new}" for item in self.replaced]
        lines += [f"{path}: kept ({reason})" for path, reason in self.skipped]
        return "\n".join(lines) or "the model unchanged"


def place(model: nn.Module, act: Any, *, sample: Any = None) -> Placement:
    """Put an activation into a deep copy of a model.

    Each site gets a module of its own, on the device, in the dtype and in the mode of the model. Learned
    parameters therefore belong to one site, also where the model shared one instance.

    Args:
        model: the user's model.
        act: catalog name, formula, Expression, module, record or candidate, for every hidden site; or a mapping
            from site path to one of them, for just those sites.
        sample: one batch of inputs; needed to infer channels for parameters learned per channel unless the site
            follows its layer in an ``nn.Sequential``.

    Raises:
        PlacementError: when nothing can be replaced, a path does not exist, or channels cannot be inferred.
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
    return what if isinstance(what, Activation) else record


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
    channels = _channels(model, found, plan, sample)
    modules = {path: _built(item, path, channels) for path, item in plan.items()}
    changed = _copied(model)
    parameter = next((p for p in changed.parameters() if p.is_floating_point()), None)
    replaced = []
    for site in found:
        if site.path not in modules:
            continue
        parent_path, _, name = site.path.rpartition(".")
        parent = changed.get_submodule(parent_path)
        old = parent.get_submodule(name)
        new = modules[site.path].train(old.training)
        if parameter is not None:
            new = new.to(device=parameter.device, dtype=parameter.dtype)
        setattr(parent, name, new)
        if isinstance(parent, nn.TransformerEncoderLayer):
            # its fused inference path looks at this flag, not at the activation
            parent.activation_relu_or_gelu = 0
        replaced.append(Replacement(site.path, type(old).__name__, _name(new)))
    _no_nested_tensors(changed)
    return Placement(changed, tuple(replaced), skipped)


def _no_nested_tensors(model: nn.Module) -> None:
    """Padded batches become nested tensors only for layers that are all fused; others cannot take them."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and not all(
            getattr(layer, "activation_relu_or_gelu", 0) for layer in module.layers
        ):
            module.use_nested_tensor = False


def _built(
    item: ActivationRecord | nn.Module, path: str, channels: Mapping[str, SiteTrace]
) -> nn.Module:
    if not isinstance(item, ActivationRecord):
        return copy.deepcopy(item)
    seen = channels.get(path)
    if seen is None or seen.channel_axis is None:
        return activation(item)
    return activation(item, channels=seen.channels, channel_axis=seen.channel_axis)


def _name(module: nn.Module) -> str:
    return module.record.label if isinstance(module, Activation) else type(module).__name__


def _channels(
    model: nn.Module, found: list[Site], plan: _Plan, sample: Any
) -> Mapping[str, SiteTrace]:
    """Channel axis of each planned site whose activation learns per channel."""
    needed = [
        path
        for path, item in plan.items()
        if isinstance(item, ActivationRecord) and _learns_per_channel(item)
    ]
    if not needed:
        return {}
    if sample is not None:
        seen: Mapping[str, SiteTrace] = trace(_separated(model, found), needed, sample)
    else:
        seen = {path: guess for path in needed if (guess := _from_sequential(model, path))}
    for path in needed:
        if path not in seen or seen[path].channels is None:
            reason = "its axis is ambiguous" if path in seen else "the sample does not reach it"
            raise PlacementError(
                f"cannot infer the channels at {path!r} for parameters learned per channel: "
                + ("give sample=, one batch of inputs" if sample is None else reason)
            )
    return seen


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
    """Channels from the layer right before a site in the same ``nn.Sequential``."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    if not isinstance(parent, nn.Sequential):
        return None
    names = list(parent._modules)
    for before in reversed(names[: names.index(name)]):
        layer = parent.get_submodule(before)
        if isinstance(layer, nn.Linear):
            return SiteTrace(torch.empty(1, layer.out_features), -1)
        if isinstance(layer, nn.modules.conv._ConvNd):
            return SiteTrace(torch.empty(1, layer.out_channels), 1)
        if not isinstance(layer, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            return None
    return None
