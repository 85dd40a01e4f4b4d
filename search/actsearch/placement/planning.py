"""Which activation goes to which site of a model, and what has to be known of the site for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from actsearch.activation_catalog import CATALOG
from actsearch.activations import Activation, build_expression, count_pieces, describe
from actsearch.errors import ActivationError, PlacementError
from actsearch.placement.analysis import ModelAnalysis
from actsearch.placement.choose import Where, match_sites, select_sites, split_by_depth
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.known_activations import NORMALISING, function_name, known_name
from actsearch.placement.site_list import Sites
from actsearch.placement.site_trace import CHANNEL_KEEPING, SiteTrace
from actsearch.records import ActivationRecord

__all__ = ["Plan", "activation_label", "pieces_by_site", "plan_placement", "trace_planned_sites"]

Plan = dict[str, ActivationRecord | nn.Module]
"""What goes where, by path of the site."""

_NOT_HIDDEN = (
    "{} is not a hidden activation: it changes the shape, or its outputs depend on each other"
)


def plan_placement(analysis: ModelAnalysis, act: Any, where: Where) -> Plan:
    """What goes where.

    Raises:
        PlacementError: nothing can be replaced, or what was given does not fit a site.
        ActivationError: what was given is not an activation.
    """
    sites, shell = analysis.sites, analysis.shell
    if isinstance(act, Mapping):
        if where is not None:
            raise PlacementError("where= is for one activation: a mapping names its sites itself")
        plan = {
            site.path: _resolve(item)
            for name, item in act.items()
            for site in match_sites(sites, name)
        }
    else:
        chosen = select_sites(sites, where, shell)
        acts = list(act) if isinstance(act, (list, tuple)) else [act]
        if chosen and len(acts) > len(chosen):
            raise PlacementError(
                f"{len(acts)} activations for {len(chosen)} sites: there is one band of depth for each activation"
            )
        bands = split_by_depth(chosen, len(acts)) if acts else []
        plan = {}
        for item, band in zip(acts, bands, strict=True):
            resolved = _resolve(item)
            plan |= {site.path: resolved for site in band}
    if not plan:
        raise PlacementError(_explain_empty_plan(sites, act, where, shell))
    for path, new in plan.items():
        if isinstance(new, nn.GLU) and function_name(shell.get_submodule(path)) != "glu":
            raise PlacementError(_NOT_HIDDEN.format("GLU"))
    _refuse_quantised_sites(analysis, plan)
    return plan


def _explain_empty_plan(sites: Sites, act: Any, where: Where, model: nn.Module) -> str:
    """Why there is nothing to replace: what there is."""
    start = f"nothing to replace in {type(model).__name__}"
    if isinstance(act, (list, tuple, Mapping)) and not act:
        return f"{start}: no activation was given, {act!r} is empty"
    there = "; ".join(f"{site.path}: {site.type}, role {site.role}" for site in sites)
    shown = where.__name__ if isinstance(where, type) else repr(where)
    asked = "hidden activation" if where is None else f"activation for where={shown}"
    return " ".join(
        [f"{start}: it has no {asked}" + (f" ({there})." if there else "."), *sites.notes]
    )


def _resolve(act: Any) -> ActivationRecord | nn.Module:
    """A module as it is, anything else as a record."""
    if isinstance(act, nn.Module) and not isinstance(act, Activation):
        if function_name(act) in NORMALISING:
            raise PlacementError(_NOT_HIDDEN.format(type(act).__name__))
        return act
    if isinstance(act, type) and issubclass(act, nn.Module):
        raise ActivationError(f"{act.__name__} is a class: give a module, as {act.__name__}()")
    if name := known_name(act):
        raise ActivationError(f"{name} is a function: give its name, {name!r}, or a module")
    record = describe(act)
    if record.name and CATALOG[record.name].role != "hidden":
        raise PlacementError(_NOT_HIDDEN.format(record.name))
    # a widening activation has learned nothing itself, and is built anew for the axis of its layer
    return act if isinstance(act, Activation) and count_pieces(record) == 1 else record


def _refuse_quantised_sites(analysis: ModelAnalysis, plan: Plan) -> None:
    """Refuse sites at which quantised numbers arrive; without a sample, any in such a model.

    An activation of floating point cannot be put there. Layers quantised dynamically take and give floating-point
    numbers.
    """
    named = analysis.shell.named_modules()
    first = next((path for path, module in named if _quantises(module)), None)
    if first is None:
        return
    advice = "place the activation in the model of floating-point numbers, and quantise that"
    if analysis.sample is None:
        raise PlacementError(
            f"the model is quantised (from {first!r} on), and sample= is needed to see at which sites; {advice}"
        )
    for path, trace in analysis.traces(plan).items():
        if trace.inputs.is_quantized:
            raise PlacementError(
                f"quantised numbers arrive at {path!r} (from {first!r} on): {advice}"
            )


def _quantises(module: nn.Module) -> bool:
    kind = type(module)  # by name: torch.ao, which is deprecated, is imported by such models alone
    return kind.__name__ == "Quantize" and kind.__module__.startswith("torch.ao.nn.quantized.")


def trace_planned_sites(analysis: ModelAnalysis, plan: Plan) -> Mapping[str, SiteTrace]:
    """What arrives at each planned site whose activation must know.

    Raises:
        PlacementError: channels are unknown at a site whose activation learns parameters for each.
    """
    traces = _trace_or_guess(analysis, plan)
    for path, item in plan.items():
        if not isinstance(item, ActivationRecord) or not _learns_per_channel(item):
            continue
        if path not in traces or traces[path].channels is None:
            raise PlacementError(
                f"cannot infer the channels at {path!r} for parameters learned per channel: "
                + _explain_unknown_channels(traces.get(path), analysis.sample)
            )
    return traces


def _trace_or_guess(analysis: ModelAnalysis, plan: Plan) -> Mapping[str, SiteTrace]:
    needed = [
        path
        for path, item in plan.items()
        if isinstance(item, ActivationRecord)
        and (_learns_per_channel(item) or count_pieces(item) > 1)
    ]
    if not needed:
        return {}
    if analysis.sample is not None:
        return analysis.traces(needed)
    guesses = {path: _guess_from_sequential(analysis.shell, path) for path in needed}
    return {path: guess for path, guess in guesses.items() if guess is not None}


def _learns_per_channel(record: ActivationRecord) -> bool:
    if record.name and not CATALOG[record.name].elementwise:
        return False
    return any(parameter.per == "channel" for parameter in build_expression(record).parameters)


def _explain_unknown_channels(trace: SiteTrace | None, sample: Any) -> str:
    """Why the channels at a site are unknown, and what to do."""
    if sample is None:
        return "give sample=, one batch of inputs"
    if trace is None:
        return "the sample does not reach it; give one that does, or leave the site out"
    return (
        f"{trace.unknown_because or 'its axis is ambiguous'}; let all channels share the parameters "
        '(per="tensor"), or put the activation where the channels have an axis of their own'
    )


def _guess_from_sequential(model: nn.Module, path: str) -> SiteTrace | None:
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
            # counted from the end: inputs may have any number of axes
            return SiteTrace(torch.empty(1, layer.out_features), -1, layer, between)
        if isinstance(layer, nn.modules.conv._ConvNd):
            return SiteTrace(torch.empty(1, layer.out_channels), 1, layer, between)
        if not isinstance(layer, CHANNEL_KEEPING):
            return None
        between = (layer, *between)
    return None


def pieces_by_site(shell: nn.Module, plan: Plan) -> dict[str, int]:
    """Pieces a channel, by path of each planned site that needs a wider layer."""
    pieces = {
        path: count_pieces(item)
        for path, item in plan.items()
        if isinstance(item, ActivationRecord) and count_pieces(item) > 1
    }
    for path in pieces:
        old = shell.get_submodule(path)
        if function_name(old) == "glu" or (isinstance(old, Activation) and count_pieces(old) > 1):
            raise PlacementError(
                f"{activation_label(old)} at {path!r} changes the shape already: "
                "what needs a wider layer takes the place of an activation that keeps it"
            )
    return pieces


def activation_label(module: nn.Module) -> str:
    """What a user calls an activation."""
    if isinstance(module, FunctionModule):
        return module.name
    return module.record.label if isinstance(module, Activation) else type(module).__name__
