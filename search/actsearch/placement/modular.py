"""Every activation of a model as a submodule, so that all of them are found and replaced in one way."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from actsearch.activation import Activation
from actsearch.errors import PlacementError
from actsearch.placement.calls import Untraceable, seen_in_run, seen_in_trace
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.graphs import expose_graph_calls
from actsearch.placement.known_activations import MODULES, is_activation, name_of
from actsearch.placement.redirect import Calls, become, lead, paused
from actsearch.placement.seen import Call, Seen
from actsearch.placement.source_names import (
    activations_named_by_forward,
    unwrapped_code,
    user_methods,
)

__all__ = ["Found", "make_modular", "pause"]


@dataclass(frozen=True)
class Found:
    """How activations were looked for in a model.

    Attributes:
        how: "traced" by torch.fx, "run" on a sample, or "listed": modules and attributes alone.
        reason: why no more could be done: for "listed", or in training mode.
        order: paths in the order of running; what never ran is missing.
        gates: paths whose results multiply something else.
        outputs: paths whose results are returned.
        seen: what ran.
        shared: the module that an activation shares with another site, by path of those that got a copy of it.
    """

    how: str
    reason: str
    order: tuple[str, ...]
    gates: frozenset[str]
    outputs: frozenset[str]
    seen: Seen
    shared: Mapping[str, nn.Module]


def make_modular(model: nn.Module, sample: Any = None, like: Found | None = None) -> Found:
    """Turn activation functions that a model holds or calls into submodules, in place.

    Computes the same. A function held as an attribute becomes a module at that attribute; one that a ``forward`` calls
    becomes a submodule with the function's name, to which the call is led. An activation module that several attributes
    share becomes one for each of them; ``shared`` tells which, to be put back where nothing else is put.

    Args:
        model: a copy of the user's model.
        sample: one batch of inputs, to watch a run; without it the model is traced.
        like: what was found in another copy of the same model, which is not looked for again.

    Raises:
        PlacementError: if the model does not run on the sample.
    """
    expose_graph_calls(model, _names)
    shared = _separate(model)
    _hold(model)
    seen, how, reason = (
        _seen(model, sample) if like is None else (like.seen, like.how, like.reason)
    )
    paths: dict[str | Call, str] = {key: key for key in seen.order if isinstance(key, str)}
    owners = seen.by_owner()
    for owner in dict.fromkeys([*owners, *(owner for owner, _ in seen.repeated)]):
        paths |= _lead(model, owner, owners.get(owner, []), seen)
    if how != "listed":
        _guard(model)
    if any("_actsearch_calls" in vars(module) for module in model.modules()):
        for module in model.modules():
            if is_activation(module):
                pause(module)
    return Found(
        how,
        reason,
        tuple(paths[key] for key in seen.order),
        frozenset(paths[key] for key in seen.gates),
        frozenset(paths[key] for key in seen.outputs),
        seen,
        shared,
    )


def _separate(model: nn.Module) -> dict[str, nn.Module]:
    """Give each attribute that holds an activation an instance of its own; who had it first keeps the original."""
    taken: set[int] = set()
    shared = {}
    for path, parent in list(model.named_modules()):
        if is_activation(parent):
            continue
        for name, child in list(parent._modules.items()):
            if child is None or not is_activation(child):
                continue
            if id(child) in taken:
                shared[f"{path}.{name}".lstrip(".")] = child
                parent._modules[name] = copy.deepcopy(child)
            taken.add(id(child))
    return shared


def pause(module: nn.Module) -> None:
    """Keep a module's own calls of functions from being taken for those of the module that uses it."""
    if not isinstance(module, FunctionModule) and not hasattr(type(module), "_actsearch_base"):
        become(module, paused(type(module)))
        if isinstance(module, Activation):
            module.bind_forward()


def _hold(model: nn.Module) -> None:
    """Make a submodule of each function that is held as an attribute."""
    for module in list(model.modules()):
        held = {name: value for name, value in vars(module).items() if _held_name(value)}
        if not held or is_activation(module):  # what an activation holds is its own business
            continue
        for name, function in held.items():
            del vars(module)[name]
            module._modules[name] = FunctionModule(function, str(_held_name(function)))
        if not type(module).__module__.startswith("torch.nn."):
            lead(module, held, Calls())


def _held_name(value: Any) -> str | None:
    return name_of(value.func if isinstance(value, functools.partial) else value)


def _seen(model: nn.Module, sample: Any) -> tuple[Seen, str, str]:
    """What runs in evaluation and in training, how that was found, and why no more was."""
    if isinstance(model, MODULES):
        return Seen(), "listed", ""
    how = "traced" if sample is None else "run"
    try:
        seen = _traced(model, False) if sample is None else seen_in_run(model, sample)
    except Untraceable as error:
        return Seen(), "listed", str(error)
    try:
        more = (
            _traced(model, True)
            if sample is None
            else seen_in_run(_to_train(model), sample, training=True)
        )
    except (Untraceable, PlacementError) as error:
        return seen, how, str(error)
    return seen.joined(more), how, ""


def _to_train(model: nn.Module) -> nn.Module:
    """A copy for a run in training mode, which may write to buffers and to parameters."""
    return copy.deepcopy(model)


def _traced(model: nn.Module, training: bool) -> Seen:
    """Of what spreads batches over devices, torch.fx can only trace the module inside."""
    modes = {module: module.training for module in model.modules()}
    try:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            return seen_in_trace(model.module, training).inside("module")
        return seen_in_trace(model, training)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _lead(model: nn.Module, path: str, calls: list[Call], seen: Seen) -> dict[str | Call, str]:
    """Lead the calls of one module's forward to submodules; their paths by call."""
    owner: Any = model.get_submodule(path)
    repeated = {place: name for (where, place), name in seen.repeated.items() if where == path}
    kinds = [call.name for call in calls]
    if "forward" in vars(owner):
        if not calls:
            return {}
        raise PlacementError(
            f"{path or type(owner).__name__} calls {kinds[0]} in a forward that was set on the instance, where "
            "the call cannot be led elsewhere; define forward in the class, or hold the activation as a module"
        )
    names = dict(zip(calls, _names(owner, kinds), strict=True))
    for call, name in names.items():
        owner._modules[name] = FunctionModule(call.function, call.name)
    at = {(call.place, call.passed): name for call, name in names.items()}
    at |= {(place, None): "" for place in repeated}
    in_order = tuple(zip(names.values(), kinds, strict=True))
    methods = {
        name: places
        for name, function in user_methods(type(owner)).items()
        if (places := seen.through.get((path, unwrapped_code(function)))) is not None
    }
    lead(owner, names.values(), Calls(in_order, at, path not in seen.varying, methods))
    return {call: f"{path}.{name}".lstrip(".") for call, name in names.items()}


def _guard(model: nn.Module) -> None:
    """Make an error of a call where none was seen, in modules whose code names activation functions."""
    for module in list(model.modules()):
        calls = vars(module).get("_actsearch_calls")
        if (calls is not None and (calls.at or calls.guarded)) or "forward" in vars(module):
            continue
        if activations_named_by_forward(module) and not is_activation(module):
            lead(module, (), Calls(guarded=True))


def _names(owner: nn.Module, kinds: Sequence[str]) -> list[str]:
    """A free name for each call: ``relu``, or ``relu_0``, ``relu_1`` and so on for several."""
    names: list[str] = []
    for index, kind in enumerate(kinds):
        name = kind if kinds.count(kind) == 1 else f"{kind}_{kinds[:index].count(kind)}"
        while hasattr(owner, name) or name in names:
            name = f"{name}_call"
        names.append(name)
    return names
