"""Swapping activations on a deep copy of a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from actsearch.activation import Activation, activation, describe, expression_of, pieces_of
from actsearch.catalog import CATALOG, START_SLOPE
from actsearch.errors import ActivationError, PlacementError
from actsearch.placement.analysis import ModelAnalysis
from actsearch.placement.choose import Where, bands, match_sites, select_sites
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.hooks import transfer_hooks
from actsearch.placement.in_place import make_inplace
from actsearch.placement.known_activations import NORMALISING, kind_of, name_of
from actsearch.placement.modular import Found, make_modular, pause
from actsearch.placement.probe import PASSING, SiteTrace, trace
from actsearch.placement.quantised import refuse_quantised_sites
from actsearch.placement.sites import Site, Sites, _analyze, copied, unwrapped
from actsearch.placement.widen import Widening, check_start, plan_widenings, widen
from actsearch.records import SHARED, ActivationRecord, CandidateRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Placement",
    "Replacement",
    "expose_sites",
    "place",
    "place_analyzed",
    "pre_activations",
]

_Plan = dict[str, ActivationRecord | nn.Module]
_START = describe("leaky_relu", negative_slope=START_SLOPE)
_NO_OUTPUT = (
    "{} is no hidden activation: it changes the shape, or its outputs depend on each other"
)


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
        notes: what a user should know besides, as plain sentences.
    """

    model: nn.Module
    replaced: tuple[Replacement, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [str(item) for item in self.replaced]
        lines += [f"{path}: {self._at(path)} kept ({reason})" for path, reason in self.skipped]
        return "\n".join([*lines, *self.notes]) or "the model unchanged"

    def table(self) -> pd.DataFrame:
        """One row a site: path, what stood and stands there, the layer made wider, why it was left alone."""
        import pandas as pd  # loads slowly, and only a table needs it

        columns = ["path", "old", "new", "widened", "kept"]
        rows = [(item.path, item.old, item.new, item.widened, "") for item in self.replaced]
        rows += [(path, self._at(path), "", "", reason) for path, reason in self.skipped]
        return pd.DataFrame(rows, columns=columns)

    def _at(self, path: str) -> str:
        """What stands at a site."""
        return _name(self.model.get_submodule(path))


def place(model: nn.Module, act: Any, *, where: Where = None, sample: Any = None) -> Placement:
    """Put an activation into a deep copy of a model.

    Each site gets a module of its own, on the device, in the dtype and in the mode of the model. Learned
    parameters therefore belong to one site, also where the model shared one instance. A function that a ``forward``
    calls becomes a submodule of the module that calls it, ``block.relu``, to which the call is led. Hooks on a module
    that is replaced are carried over to the copy's new one.

    For an activation that takes several pieces a channel (maxout), the Linear or convolution before each site is made
    as many times wider in the copy, with a batch normalisation in between. Its weights, pretrained ones too, are
    repeated with slopes from 1 down to 0.25, so that the model starts as it would with leaky_relu(0.25).

    Args:
        model: the user's model.
        act: catalog name, formula, Expression, module, record or candidate, for every site that ``where`` names; a list
            of them, one for each of as many bands of depth; or a mapping to one of them from a path, from a pattern
            such as ``"encoder.*"`` for hidden sites, or from ``"depth:1/3"``, the first of three bands. A later key
            counts more than an earlier one.
        where: which sites, see :func:`actsearch.placement.select_sites`: None for every hidden one.
        sample: one batch of inputs. With it the model is run and watched, without it traced by torch.fx, to find
            activations that are called as functions. It is also needed to infer channels for parameters learned per
            channel, and the layer to be made wider, unless the site follows its layer in an ``nn.Sequential``.

    Raises:
        PlacementError: when nothing can be replaced, a name matches nothing, the model does not run on the sample,
            channels cannot be inferred, or a layer cannot be told or made wider.
    """
    record = act if isinstance(act, CandidateRecord) else getattr(act, "record", None)
    if isinstance(record, CandidateRecord) and record.is_baseline:
        return Placement(copied(model), ())
    return place_analyzed(ModelAnalysis(model, sample), model, act, where)


def place_analyzed(
    look: ModelAnalysis, model: nn.Module, act: Any, where: Where = None
) -> Placement:
    """As :func:`place`, in a model that was looked at already, or one that is built in the same way."""
    record = act if isinstance(act, CandidateRecord) else getattr(act, "record", None)
    if isinstance(record, CandidateRecord):
        is_shared = set(record.activations) == {SHARED}
        act = record.activations[SHARED] if is_shared else record.activations
    shell, places, sample = look.shell, look.sites, look.sample
    plan = _planned(places, act, where, shell)
    refuse_quantised_sites(shell, plan, sample)
    seen = _watched(look, plan)
    _check_channels(plan, seen, sample)
    model = unwrapped(model)
    wider = plan_widenings(model, shell, seen, _times(shell, plan), sample is not None)
    changed, replaced = _put(model, look.found, plan, seen, wider, look.writes)
    if wider and sample is not None:
        start = {path: _START if path in wider else item for path, item in plan.items()}
        expected, _ = _put(model, look.found, start, seen, {}, look.writes)
        check_start(changed, expected, sample, list(wider.values()))
    done = {item.path for item in replaced}
    return Placement(
        changed,
        tuple(sorted(replaced, key=lambda item: [site.path for site in places].index(item.path))),
        tuple((site.path, _reason(site)) for site in places if site.path not in done),
        places.notes,
    )


def expose_sites(look: ModelAnalysis, model: nn.Module) -> Placement:
    """A deep copy that computes the same, in which every hidden activation is a submodule; none is replaced.

    Args:
        look: what was seen of the model, or of one that is built in the same way.
        model: the user's model.

    Returns:
        A placement whose ``replaced`` tells the sites: what stood there stands there still.
    """
    plan: _Plan = {
        site.path: look.shell.get_submodule(site.path)
        for site in look.sites
        if site.role == "hidden"
    }
    changed, replaced = _put(unwrapped(model), look.found, plan, {}, {}, look.writes)
    order = [site.path for site in look.sites]
    return Placement(changed, tuple(sorted(replaced, key=lambda item: order.index(item.path))))


def _reason(site: Site) -> str:
    return "not asked for" if site.role == "hidden" else f"role {site.role}"


def _planned(found: Sites, act: Any, where: Where, model: nn.Module) -> _Plan:
    """What goes where, by path."""
    if isinstance(act, Mapping):
        if where is not None:
            raise PlacementError("where= is for one activation: a mapping names its sites itself")
        plan = {
            site.path: _resolved(item)
            for name, item in act.items()
            for site in match_sites(found, name)
        }
    else:
        chosen = select_sites(found, where, model)
        acts = list(act) if isinstance(act, (list, tuple)) else [act]
        if chosen and len(acts) > len(chosen):
            raise PlacementError(
                f"{len(acts)} activations for {len(chosen)} sites: one band of depth each"
            )
        plan = {}
        for item, band in zip(acts, bands(chosen, len(acts)), strict=True) if acts else ():
            resolved = _resolved(item)
            plan |= {site.path: resolved for site in band}
    if not plan:
        raise PlacementError(_nothing(found, act, where, model))
    for path, new in plan.items():
        if isinstance(new, nn.GLU) and kind_of(model.get_submodule(path)) != "glu":
            raise PlacementError(_NO_OUTPUT.format("GLU"))
    return plan


def _nothing(found: Sites, act: Any, where: Where, model: nn.Module) -> str:
    """Why there is nothing to replace: what there is."""
    start = f"nothing to replace in {type(model).__name__}"
    if isinstance(act, (list, tuple, Mapping)) and not act:
        return f"{start}: no activation was given, {act!r} is empty"
    there = "; ".join(f"{site.path}: {site.type}, role {site.role}" for site in found)
    shown = where.__name__ if isinstance(where, type) else repr(where)
    asked = "hidden activation" if where is None else f"activation for where={shown}"
    return " ".join(
        [f"{start}: it has no {asked}" + (f" ({there})." if there else "."), *found.notes]
    )


def _resolved(what: Any) -> ActivationRecord | nn.Module:
    if isinstance(what, nn.Module) and not isinstance(what, Activation):
        if kind_of(what) in NORMALISING:
            raise PlacementError(_NO_OUTPUT.format(type(what).__name__))
        return what
    if isinstance(what, type) and issubclass(what, nn.Module):
        raise ActivationError(f"{what.__name__} is a class: give a module, as {what.__name__}()")
    if name := name_of(what):
        raise ActivationError(f"{name} is a function: give its name, {name!r}, or a module")
    record = describe(what)
    if record.name and CATALOG[record.name].role != "hidden":
        raise PlacementError(_NO_OUTPUT.format(record.name))
    # a widening activation has learned nothing itself, and is built anew for the axis of its layer
    return what if isinstance(what, Activation) and pieces_of(record) == 1 else record


def _put(
    model: nn.Module,
    found: Found,
    plan: _Plan,
    seen: Mapping[str, SiteTrace],
    wider: Mapping[str, Widening],
    writes: bool,
) -> tuple[nn.Module, list[Replacement]]:
    """Carry a plan out on a deep copy of the model."""
    changed = copied(model)
    shared = make_modular(changed, like=found).shared
    modules = {path: _built(item, seen.get(path), wider.get(path)) for path, item in plan.items()}
    for widening in wider.values():
        widen(changed, widening)
    replaced = [
        _replaced(changed, path, module, wider.get(path), writes)
        for path, module in modules.items()
    ]
    for path, module in shared.items():
        if path not in plan:
            _set(changed, path, module)
    _no_nested_tensors(changed)
    return changed, replaced


def _replaced(
    changed: nn.Module, path: str, new: nn.Module, wider: Widening | None, writes: bool
) -> Replacement:
    """Put a module at a site of the copy, on its device, in its dtype and mode."""
    old = changed.get_submodule(path)
    new = new.train(old.training)
    transfer_hooks(old, new)
    if writes and getattr(old, "inplace", None) is True:
        make_inplace(new)
    parameter = next((p for p in changed.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        new = new.to(device=parameter.device, dtype=parameter.dtype)
    if any("_actsearch_calls" in vars(module) for module in changed.modules()):
        pause(new)
    parent = _set(changed, path, new)
    if isinstance(parent, nn.TransformerEncoderLayer):
        # its fused inference path looks at this flag, not at the activation
        parent.activation_relu_or_gelu = 0
    return Replacement(path, _name(old), _name(new), wider.layer if wider else "")


def _set(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module at a path; returns the module that holds it."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    parent._modules[name] = module  # whatever a class of the user's does when an attribute is set
    return parent


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
    if isinstance(module, FunctionModule):
        return module.name
    return module.record.label if isinstance(module, Activation) else type(module).__name__


def _watched(look: ModelAnalysis, plan: _Plan) -> Mapping[str, SiteTrace]:
    """What arrives at each planned site whose activation must know."""
    needed = [
        path
        for path, item in plan.items()
        if isinstance(item, ActivationRecord)
        and (_learns_per_channel(item) or pieces_of(item) > 1)
    ]
    if not needed:
        return {}
    if look.sample is not None:
        return look.traces(needed)
    return {path: guess for path in needed if (guess := _from_sequential(look.shell, path))}


def _check_channels(plan: _Plan, seen: Mapping[str, SiteTrace], sample: Any) -> None:
    """Refuse parameters per channel where the channels cannot be told."""
    for path, item in plan.items():
        if not isinstance(item, ActivationRecord) or not _learns_per_channel(item):
            continue
        if path not in seen or seen[path].channels is None:
            raise PlacementError(
                f"cannot infer the channels at {path!r} for parameters learned per channel: "
                + _untold(seen.get(path), sample)
            )


def _untold(seen: SiteTrace | None, sample: Any) -> str:
    """Why the channels at a site cannot be told, and what to do."""
    if sample is None:
        return "give sample=, one batch of inputs"
    if seen is None:
        return "the sample does not reach it; give one that does, or leave the site out"
    return (
        f"{seen.doubt or 'its axis is ambiguous'}; let all channels share the parameters "
        '(per="tensor"), or put the activation where the channels have an axis of their own'
    )


def _times(shell: nn.Module, plan: _Plan) -> dict[str, int]:
    """Pieces a channel, by path of each planned site that needs a wider layer."""
    times = {
        path: pieces_of(item)
        for path, item in plan.items()
        if isinstance(item, ActivationRecord) and pieces_of(item) > 1
    }
    for path in times:
        old = shell.get_submodule(path)
        if kind_of(old) == "glu" or (isinstance(old, Activation) and pieces_of(old) > 1):
            raise PlacementError(
                f"{_name(old)} at {path!r} changes the shape already: "
                "what needs a wider layer takes the place of an activation that keeps it"
            )
    return times


def pre_activations(model: nn.Module, sample: Any) -> dict[str, SiteTrace]:
    """What arrives at each hidden site of a model, in eval mode, for one batch of inputs, by path."""
    shell, found, _ = _analyze(model, sample)
    return trace(shell, [site.path for site in found if site.role == "hidden"], sample)


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
