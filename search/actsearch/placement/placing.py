"""Swapping activations on a deep copy of a model."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils.prune import BasePruningMethod

from actsearch.activation_catalog import START_SLOPE
from actsearch.activations import Activation, activation, candidate_record, describe, make_lean
from actsearch.placement.analysis import ModelAnalysis, copy_model, unwrap_compiled
from actsearch.placement.choose import Where
from actsearch.placement.derived_class import make_inplace, pause
from actsearch.placement.modular import make_modular, redirects_calls, set_module
from actsearch.placement.planning import (
    Plan,
    activation_label,
    pieces_by_site,
    plan_placement,
    trace_planned_sites,
)
from actsearch.placement.site_trace import SiteTrace
from actsearch.placement.widen import Widening, check_start, plan_widenings, widen
from actsearch.records import ActivationRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Placement", "Replacement", "expose_sites", "place", "place_analyzed"]

_START = describe("leaky_relu", negative_slope=START_SLOPE)


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

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(1))
        >>> placement = acs.place(model, "gelu")
        >>> [item.path for item in placement.replaced], [path for path, reason in placement.skipped]
        (['1'], ['3'])
    """

    model: nn.Module
    replaced: tuple[Replacement, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    _kept: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # what stands there, by path

    def __str__(self) -> str:
        lines = [str(item) for item in self.replaced]
        lines += [f"{path}: {self._kept[path]} kept ({reason})" for path, reason in self.skipped]
        return "\n".join([*lines, *self.notes]) or "the model unchanged"

    def table(self) -> pd.DataFrame:
        """One row a site: path, what stood and stands there, the layer made wider, why it was left alone."""
        import pandas as pd  # loads slowly, and only a table needs it

        columns = ["path", "old", "new", "widened", "kept"]
        rows = [(item.path, item.old, item.new, item.widened, "") for item in self.replaced]
        rows += [(path, self._kept[path], "", "", reason) for path, reason in self.skipped]
        return pd.DataFrame(rows, columns=columns)


def place(
    model: nn.Module, act: Any, *, where: Where = None, sample: Any = None, lean: bool = False
) -> Placement:
    """Put an activation into a deep copy of a model.

    Each site gets a module of its own, on the device, in the dtype and in the mode of the model. Learned
    parameters therefore belong to one site, also where the model shared one instance. A function that a ``forward``
    calls becomes a submodule of the module that calls it, ``block.relu``, to which the call is redirected. Hooks on a
    module that is replaced are carried over to the copy's new one.

    For an activation that takes several pieces a channel (maxout), the Linear or convolution before each site is made
    as many times wider in the copy, with a batch normalisation in between. Its weights, pretrained ones too, are
    repeated with slopes from 1 down to 0.25, so that the model starts as it would with leaky_relu(0.25).

    Args:
        model: the user's model.
        act: catalog name, formula, Expression, module, record, candidate, trial or verdict (its winner, which may be
            the model unchanged), for every site that ``where`` names; a list of them, one for each of as many bands of
            depth; or a mapping to one of them from a path, from a pattern such as ``"encoder.*"`` for hidden sites, or
            from ``"depth:1/3"``, the first of three bands. A later key counts more than an earlier one.
        where: which sites, see :func:`actsearch.placement.choose.select_sites`: None for every hidden one.
        sample: one batch of inputs. With it the model is run and watched, without it traced by torch.fx, to find
            activations that are called as functions. It is also needed to infer channels for parameters learned per
            channel, and the layer to be made wider, unless the site follows its layer in an ``nn.Sequential``.
        lean: as of :func:`actsearch.activation`: in training, each site keeps its input alone.

    Raises:
        PlacementError: when nothing can be replaced, a name matches nothing, the model does not run on the sample,
            channels cannot be inferred, or a layer is unknown or cannot be made wider.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> placement = acs.place(model, "gelu")
        >>> print(placement)
        1: ReLU -> gelu
        >>> placement.model(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    record = candidate_record(act)
    if record is not None and record.is_baseline:
        return Placement(copy_model(model), ())
    placement = place_analyzed(ModelAnalysis(model, sample), model, act, where)
    if lean:
        for item in placement.replaced:
            placed = placement.model.get_submodule(item.path)
            if isinstance(placed, Activation):
                make_lean(placed)
    return placement


def place_analyzed(
    analysis: ModelAnalysis, model: nn.Module, act: Any, where: Where = None
) -> Placement:
    """As :func:`place`, in a model that was analyzed already, or one that is built in the same way."""
    if (record := candidate_record(act)) is not None:
        act = record.activations if record.single is None else record.single
    plan = plan_placement(analysis, act, where)
    analysis.check_put_back(sorted(plan))
    traces = trace_planned_sites(analysis, plan)
    model = unwrap_compiled(model)
    has_sample = analysis.sample is not None
    pieces = pieces_by_site(analysis.shell, plan)
    widenings = plan_widenings(model, analysis.shell, traces, pieces, has_sample)
    changed, replaced = _carry_out(analysis, model, plan, traces, widenings)
    if widenings and has_sample:
        start = {path: _START if path in widenings else item for path, item in plan.items()}
        expected, _ = _carry_out(analysis, model, start, traces, {})
        check_start(changed, expected, analysis.sample, list(widenings.values()))
    kept = [site for site in analysis.sites if site.path not in plan]
    skipped = tuple(
        (site.path, "not asked for" if site.role == "hidden" else f"role {site.role}")
        for site in kept
    )
    # asked of the shell: in the copy, an activation of several calls stays these calls
    labels = {
        site.path: activation_label(analysis.shell.get_submodule(site.path)) for site in kept
    }
    return Placement(changed, tuple(replaced), skipped, analysis.sites.notes, labels)


def expose_sites(analysis: ModelAnalysis, model: nn.Module) -> Placement:
    """A deep copy that computes the same, in which every hidden activation is a submodule; none is replaced.

    Args:
        analysis: of the model, or of one that is built in the same way.
        model: the user's model.

    Returns:
        A placement whose ``replaced`` tells the sites: what stood there stands there still.
    """
    plan: Plan = {
        site.path: analysis.shell.get_submodule(site.path)
        for site in analysis.sites
        if site.role == "hidden" and not analysis.learns(site.path)
    }
    changed, replaced = _carry_out(analysis, unwrap_compiled(model), plan, {}, {})
    return Placement(changed, tuple(replaced))


def _carry_out(
    analysis: ModelAnalysis,
    model: nn.Module,
    plan: Plan,
    traces: Mapping[str, SiteTrace],
    widenings: Mapping[str, Widening],
) -> tuple[nn.Module, list[Replacement]]:
    """Carry a plan out on a deep copy of the model; what was replaced, in order of depth."""
    changed = copy_model(model)
    shared = make_modular(changed, like=analysis.discovery, planned=plan).shared
    modules = {
        path: _build(item, traces.get(path), widenings.get(path)) for path, item in plan.items()
    }
    for widening in widenings.values():
        widen(changed, widening)
    replaced = [
        _replace(analysis, changed, path, module, widenings.get(path))
        for path, module in modules.items()
    ]
    for path, module in shared.items():
        if path not in plan:
            set_module(changed, path, module)
    _avoid_nested_tensors(changed)
    order = [site.path for site in analysis.sites]
    return changed, sorted(replaced, key=lambda item: order.index(item.path))


def _build(
    item: ActivationRecord | nn.Module, trace: SiteTrace | None, widening: Widening | None
) -> nn.Module:
    if not isinstance(item, ActivationRecord):
        return copy.deepcopy(item)
    if widening is not None:
        return activation(item, channel_axis=widening.channel_axis)
    if trace is None or trace.channel_axis is None:
        return activation(item)
    return activation(item, channels=trace.channels, channel_axis=trace.channel_axis)


def _replace(
    analysis: ModelAnalysis,
    changed: nn.Module,
    path: str,
    new: nn.Module,
    widening: Widening | None,
) -> Replacement:
    """Put a module at a site of the copy, on its device, in its dtype and mode."""
    old = changed.get_submodule(path)
    new = new.train(old.training)
    _transfer_hooks(old, new)
    if analysis.relies_on_inplace and getattr(old, "inplace", None) is True:
        make_inplace(new)
    parameter = next((p for p in changed.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        new = new.to(device=parameter.device, dtype=parameter.dtype)
    if redirects_calls(changed):
        pause(new)
    parent = set_module(changed, path, new)
    if isinstance(parent, nn.TransformerEncoderLayer):
        # its fused inference path (torch 2.13) looks at this flag, not at the activation
        parent.activation_relu_or_gelu = 0
    layer = widening.layer if widening else ""
    return Replacement(path, activation_label(old), activation_label(new), layer)


def _avoid_nested_tensors(model: nn.Module) -> None:
    """Padded batches become nested tensors only for layers that are all fused; others cannot take them."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and not all(
            getattr(layer, "activation_relu_or_gelu", 0) for layer in module.layers
        ):
            module.use_nested_tensor = False


# every table of hooks that nn.Module has in torch 2.13
_HOOK_TABLES = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def _transfer_hooks(old: nn.Module, new: nn.Module) -> None:
    """Put the hooks of a module on another one, behind those that it has.

    Those of torch itself, which belong to weights or submodules of the old one (pruning, observers for quantisation),
    stay there.
    """
    for table in _HOOK_TABLES:
        hooks = getattr(new, table)
        for key, hook in getattr(old, table).items():
            is_wrapped = isinstance(hook, _WrappedHook)
            if _is_torch_hook(hook.hook if is_wrapped else hook):
                continue
            if is_wrapped and hook.with_module:  # torch wraps it with a reference to its module
                hook.module = weakref.ref(new)
            hooks[key] = hook
    if old._is_full_backward_hook is not None:
        new._is_full_backward_hook = old._is_full_backward_hook


def _is_torch_hook(hook: Any) -> bool:
    home = str(getattr(hook, "__module__", ""))
    return isinstance(hook, BasePruningMethod) or home.startswith("torch.")
