"""Every activation of a model as a submodule, so that all of them are found and replaced in one way."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from actsearch.activation import Activation
from actsearch.errors import PlacementError
from actsearch.placement.called import Called
from actsearch.placement.calls import Call, Seen, Untraceable, seen_in_run, seen_in_trace
from actsearch.placement.known import is_activation, name_of
from actsearch.placement.redirect import Calls, paused, redirected

__all__ = ["Found", "make_modular", "pause"]


@dataclass(frozen=True)
class Found:
    """How activations were looked for in a model.

    Attributes:
        how: "traced" by torch.fx, "run" on a sample, or "listed": modules and attributes alone.
        reason: why no more could be done, for "listed".
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
    shared = _separate(model)
    for module, name, function in list(_held(model)):
        delattr(module, name)
        setattr(module, name, Called(function, str(_held_name(function))))
    seen, how, reason = (
        _seen(model, sample) if like is None else (like.seen, like.how, like.reason)
    )
    paths: dict[str | Call, str] = {key: key for key in seen.order if isinstance(key, str)}
    for owner in dict.fromkeys(call.owner for call in seen.calls):
        paths |= _lead(model, owner, [call for call in seen.calls if call.owner == owner])
    if seen.calls:
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
                setattr(parent, name, copy.deepcopy(child))
            taken.add(id(child))
    return shared


def pause(module: nn.Module) -> None:
    """Keep a module's own calls of functions from being taken for those of the module that uses it."""
    if not isinstance(module, Called) and not hasattr(type(module), "_actsearch_base"):
        module.__class__ = paused(type(module))
        if isinstance(module, Activation):
            module.bind_forward()


def _held(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    for module in model.modules():
        if is_activation(module):  # what it holds is its own business
            continue
        for name, value in vars(module).items():
            if _held_name(value) is not None:
                yield module, name, value


def _held_name(value: Any) -> str | None:
    return name_of(value.func if isinstance(value, functools.partial) else value)


def _seen(model: nn.Module, sample: Any) -> tuple[Seen, str, str]:
    if sample is not None:
        return seen_in_run(model, sample), "run", ""
    try:
        return _traced(model), "traced", ""
    except Untraceable as error:
        return Seen(), "listed", str(error)


def _traced(model: nn.Module) -> Seen:
    """Of what spreads batches over devices, torch.fx can only trace the module inside."""
    if not isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return seen_in_trace(model)
    seen = seen_in_trace(model.module)

    def outside(key: str | Call) -> str | Call:
        if isinstance(key, Call):
            return dataclasses.replace(key, owner=f"module.{key.owner}".rstrip("."))
        return f"module.{key}"

    return Seen(
        [outside(key) for key in seen.order],
        {outside(key) for key in seen.gates},
        {outside(key) for key in seen.outputs},
    )


def _lead(model: nn.Module, path: str, calls: list[Call]) -> dict[str | Call, str]:
    """Lead the calls of one module's forward to submodules; their paths by call."""
    owner: Any = model.get_submodule(path)
    if "forward" in vars(owner):
        raise PlacementError(
            f"{path or type(owner).__name__} calls {calls[0].name} in a forward that was set on the instance, "
            "where the call cannot be led elsewhere; define forward in the class, or hold the activation as a module"
        )
    before: Calls = getattr(owner, "_actsearch_calls", Calls((), {}))
    names = dict(zip(calls, _names(owner, calls), strict=True))
    for call, name in names.items():
        owner.add_module(name, Called(call.function, call.name))
    at = {(call.place, call.passed): name for call, name in names.items()}
    owner._actsearch_calls = Calls((*before.in_order, *names.values()), {**before.at, **at})
    if not hasattr(type(owner), "_actsearch_base"):
        owner.__class__ = redirected(type(owner))
    return {call: f"{path}.{name}".lstrip(".") for call, name in names.items()}


def _names(owner: nn.Module, calls: list[Call]) -> list[str]:
    """A free name for each call: ``relu``, or ``relu_0``, ``relu_1`` and so on for several."""
    kinds = [call.name for call in calls]
    names: list[str] = []
    for index, kind in enumerate(kinds):
        name = kind if kinds.count(kind) == 1 else f"{kind}_{kinds[:index].count(kind)}"
        while hasattr(owner, name) or name in names:
            name = f"{name}_call"
        names.append(name)
    return names
