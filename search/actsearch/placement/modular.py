"""Every activation of a model as a submodule, so that all of them are found and replaced in one way."""

from __future__ import annotations

import copy
import functools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from actsearch.errors import PlacementError
from actsearch.placement.call_site import CodePlace
from actsearch.placement.chain_modules import chain_module, chain_name, names_of_chain
from actsearch.placement.derived_class import pause
from actsearch.placement.execution import ExecutionTrace, FunctionCall, Key, is_known
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.fx_trace import Untraceable, trace_symbolically
from actsearch.placement.known_activations import (
    IN_PLACE,
    METHODS,
    MODULES,
    is_activation,
    known_name,
)
from actsearch.placement.model_run import StepCall, preserve_modes
from actsearch.placement.redirect import Answer, CallTable, redirect_calls
from actsearch.placement.run_trace import trace_run
from actsearch.placement.source_names import (
    activations_named_by_forward,
    unwrap_code,
    user_methods,
)

__all__ = ["Discovery", "make_modular", "redirects_calls", "set_module"]


@dataclass(frozen=True)
class Discovery:
    """How activations were looked for in a model, and what was found.

    Attributes:
        how: "traced" by torch.fx, "run" on a sample, or "listed": modules and attributes alone.
        reason: why no more could be done: for "listed", or in training mode.
        execution: what ran.
        keys: what ran by path, in the order of running; what never ran is missing.
        shared: the module that an activation shares with another site, by path of those that got a copy of it.
    """

    how: str
    reason: str
    execution: ExecutionTrace
    keys: Mapping[str, Key]
    shared: Mapping[str, nn.Module]


def make_modular(
    model: nn.Module,
    sample: Any = None,
    like: Discovery | None = None,
    planned: Container[str] | None = None,
) -> Discovery:
    """Turn activation functions that a model holds or calls into submodules, in place.

    Computes the same. A function held as an attribute becomes a module at that attribute; one that a ``forward`` calls
    becomes a submodule with the function's name, to which the call is redirected. An activation module that several
    attributes share becomes one for each of them; ``shared`` tells which, to be put back where nothing else is put.

    Args:
        model: a copy of the user's model.
        sample: one batch of inputs, to watch a run; without it the model is traced.
        like: what was found in another copy of the same model, which is not looked for again.
        planned: paths at which something else will be put; None for all. Of the others, an activation that is several
            calls stays these calls.

    Raises:
        PlacementError: if the model does not run on the sample.
    """
    _expose_graph_calls(model)
    shared = _separate_shared(model)
    _wrap_held_functions(model)
    if like is None:
        execution, how, reason = _trace_both_modes(model, sample)
    else:
        execution, how, reason = like.execution, like.how, like.reason
    paths: dict[Key, str] = {key: key for key in execution.order if isinstance(key, str)}
    paths |= _redirect_all(model, execution, planned)
    _pass_on(model, execution, paths, planned)
    if how != "listed":
        _guard_unseen_calls(model)
    if redirects_calls(model):
        for module in model.modules():
            if is_activation(module):
                pause(module)
    return Discovery(how, reason, execution, {paths[key]: key for key in execution.order}, shared)


def redirects_calls(model: nn.Module) -> bool:
    """Whether calls of any module are redirected: activations inside must then be paused."""
    return any("_actsearch_calls" in vars(module) for module in model.modules())


def _expose_graph_calls(model: nn.Module) -> None:
    """Make submodules of the activation functions that each ``torch.fx.GraphModule`` calls, by changing its graph.

    Its forward is generated anew by every copy, so that no call in it could be known by its place in the code.
    """
    for owner in list(model.modules()):
        if isinstance(owner, fx.GraphModule):
            calls = {node: name for node in owner.graph.nodes if (name := _find_called_name(node))}
            names = _free_names(owner, list(calls.values()))
            for (node, function), name in zip(calls.items(), names, strict=True):
                _expose_node(owner, node, function, name)
            if calls:
                owner.recompile()


def _find_called_name(node: fx.Node) -> str | None:
    """Name of the activation function that a node calls on one tensor."""
    if len(node.all_input_nodes) != 1:  # prelu with its weight
        return None
    if node.op == "call_function":
        return known_name(node.target)
    return METHODS.get(str(node.target)) if node.op == "call_method" else None


def _expose_node(owner: fx.GraphModule, node: fx.Node, function: str, name: str) -> None:
    (x,) = node.all_input_nodes
    target: Any = node.target
    called = getattr(Tensor, target) if node.op == "call_method" else target
    keywords = {key: value for key, value in node.kwargs.items() if key != "input"}
    in_place = bool(called in IN_PLACE or keywords.pop("inplace", False))
    owner.add_submodule(name, FunctionModule(called, function, node.args[1:], keywords))
    graph = owner.graph
    with graph.inserting_before(node):
        if in_place:  # later nodes may look at x alone
            result = graph.call_module(name, (graph.call_method("clone", (x,)),))
            new = graph.call_method("copy_", (x, result))
        else:
            new = graph.call_module(name, (x,))
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _separate_shared(model: nn.Module) -> dict[str, nn.Module]:
    """Give each attribute that holds an activation an instance of its own; the first one keeps the original."""
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


def _wrap_held_functions(model: nn.Module) -> None:
    """Make a submodule of each function that is held as an attribute."""
    for module in list(model.modules()):
        held = {name: value for name, value in vars(module).items() if _find_held_name(value)}
        if not held or is_activation(module):  # what an activation holds is its own business
            continue
        for name, function in held.items():
            del vars(module)[name]
            module._modules[name] = FunctionModule(function, str(_find_held_name(function)))
        if not type(module).__module__.startswith("torch.nn."):
            redirect_calls(module, held, CallTable())


def _find_held_name(value: Any) -> str | None:
    return known_name(value.func if isinstance(value, functools.partial) else value)


def _trace_both_modes(model: nn.Module, sample: Any) -> tuple[ExecutionTrace, str, str]:
    """What runs in evaluation and in training, how that was found, and why no more was.

    A forward may call more in training than in evaluation.
    """
    if isinstance(model, MODULES):
        return ExecutionTrace(), "listed", ""
    how = "traced" if sample is None else "run"
    try:
        in_evaluation = _trace(model, sample, training=False)
    except Untraceable as error:
        return ExecutionTrace(), "listed", str(error)
    except PlacementError:
        if not isinstance(sample, StepCall):
            raise
        # as the step of a detector, which gives its losses in training alone
        return _trace(model, sample, training=True), how, ""
    try:
        in_training = _trace(model, sample, training=True)
    except (Untraceable, PlacementError) as error:
        return in_evaluation, how, str(error)
    return in_evaluation.merge(in_training), how, ""


def _trace(model: nn.Module, sample: Any, *, training: bool) -> ExecutionTrace:
    if sample is not None:
        # in training mode a run may write to buffers and to parameters
        return trace_run(copy.deepcopy(model) if training else model, sample, training)
    with preserve_modes(model):
        return trace_symbolically(model, training)


def _redirect_all(
    model: nn.Module, execution: ExecutionTrace, planned: Container[str] | None
) -> dict[Key, str]:
    """Redirect the calls of every forward to submodules; their paths by call."""
    calls = execution.calls_by_owner()
    passing = [item.call.owner for chain in execution.chains.values() for item in chain.passes]
    staying = [key.owner for key in execution.torn if isinstance(key, FunctionCall)]
    rerun = [owner for owner, _ in execution.rerun]
    paths: dict[Key, str] = {}
    for owner in dict.fromkeys([*calls, *passing, *staying, *rerun]):
        paths |= _name_calls(model, owner, calls.get(owner, []), execution)
    for owner in dict.fromkeys([*calls, *passing, *staying, *rerun]):
        _redirect(model, owner, calls.get(owner, []), execution, paths, planned)
    return paths


def _name_calls(
    model: nn.Module, owner: str, calls: Sequence[FunctionCall], execution: ExecutionTrace
) -> dict[Key, str]:
    """The path of each call: named after the function, or after the helper of the user's that makes it."""
    functions = [_site_name(call, execution) for call in calls]
    names = _free_names(model.get_submodule(owner), functions)
    return {call: f"{owner}.{name}".lstrip(".") for call, name in zip(calls, names, strict=True)}


def _site_name(call: FunctionCall, execution: ExecutionTrace) -> str:
    chain = execution.chains.get(call)
    if chain is None:
        return call.name
    known, helper, carrier = names_of_chain(chain)
    return helper or known or carrier


def _redirect(
    model: nn.Module,
    path: str,
    calls: list[FunctionCall],
    execution: ExecutionTrace,
    paths: Mapping[Key, str],
    planned: Container[str] | None,
) -> None:
    """Redirect the calls of one module's forward to submodules."""
    owner: Any = model.get_submodule(path)
    by_place: dict[tuple[CodePlace, int | None], Answer] = {
        (place, None): Answer("") for where, place in execution.rerun if where == path
    }
    for key in execution.torn:
        if isinstance(key, FunctionCall) and key.owner == path:
            by_place[key.place, key.occurrence] = Answer("")
    installed = _answer_chains(path, execution, paths, planned, by_place)
    made = [call for call in calls if call not in execution.chains or call in installed]
    for call in made:
        name = paths[call].rpartition(".")[2]
        owner._modules[name] = installed.get(call) or FunctionModule(call.function, call.name)
        by_place.setdefault((call.place, call.occurrence), Answer(name))
    if not by_place:
        return
    if "forward" in vars(owner):
        if not calls:
            return
        raise PlacementError(
            f"{path or type(owner).__name__} calls {calls[0].name} in a forward that was set on the instance, where "
            "the call cannot be redirected; define forward in the class, or hold the activation as a module"
        )
    names = [paths[call].rpartition(".")[2] for call in made]
    in_order = tuple((name, call.name) for name, call in zip(names, made, strict=True))
    methods = {
        name: places
        for name, function in user_methods(type(owner)).items()
        if (places := execution.entries.get((path, unwrap_code(function)))) is not None
    }
    is_straight = path not in execution.varying and len(made) == len(by_place)
    redirect_calls(owner, names, CallTable(in_order, by_place, is_straight, methods))


def _answer_chains(
    path: str,
    execution: ExecutionTrace,
    paths: Mapping[Key, str],
    planned: Container[str] | None,
    by_place: dict[tuple[CodePlace, int | None], Answer],
) -> dict[FunctionCall, FunctionModule]:
    """Say what becomes of the calls of chains in one forward; the modules of the carriers among them."""
    installed: dict[FunctionCall, FunctionModule] = {}
    for carrier, chain in execution.chains.items():
        site = paths.get(carrier, str(carrier))
        is_planned = not chain.learns if planned is None else site in planned
        for key in chain.members:
            if isinstance(key, FunctionCall) and key.owner == path and is_known(key):
                by_place[key.place, key.occurrence] = Answer("")
        if not is_planned:
            if planned is None and isinstance(carrier, FunctionCall) and carrier.owner == path:
                # shown by the one call alone: the weights among its numbers would not be followed
                name = chain_name(chain, execution.formulas.get(carrier, ""))
                installed[carrier] = FunctionModule(carrier.function, name)
                by_place[carrier.place, carrier.occurrence] = Answer(site.rpartition(".")[2])
            continue
        for item in chain.passes:
            if item.call.owner == path:
                by_place[item.call.place, item.call.occurrence] = Answer("", item.operand)
        if isinstance(carrier, FunctionCall) and carrier.owner == path:
            installed[carrier] = chain_module(chain, execution.formulas.get(carrier, ""))
            answer = Answer(site.rpartition(".")[2], chain.operand, chain.writes)
            by_place[carrier.place, carrier.occurrence] = answer
    return installed


def _pass_on(
    model: nn.Module,
    execution: ExecutionTrace,
    paths: Mapping[Key, str],
    planned: Container[str] | None,
) -> None:
    """Put modules in the places of those that chains are made of: the whole chain, and what passes on its input."""
    for carrier, chain in execution.chains.items():
        if not (not chain.learns if planned is None else paths[carrier] in planned):
            continue
        for path in chain.passing_modules:
            passing = FunctionModule(torch.positive, "identity")
            set_module(model, path, passing.train(model.get_submodule(path).training))
        if isinstance(carrier, str):
            whole = chain_module(chain, execution.formulas.get(carrier, ""))
            set_module(model, carrier, whole.train(model.get_submodule(carrier).training))


def set_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module at a path; returns the module that holds it."""
    owner, _, name = path.rpartition(".")
    parent = model.get_submodule(owner)
    parent._modules[name] = module  # whatever a class of the user's does when an attribute is set
    return parent


def _guard_unseen_calls(model: nn.Module) -> None:
    """Make an error of a call where none was seen, in modules whose code names activation functions."""
    for module in list(model.modules()):
        table: CallTable | None = vars(module).get("_actsearch_calls")
        if table is not None and (table.by_place or table.is_guarded):
            continue
        if "forward" in vars(module):
            continue
        if activations_named_by_forward(module) and not is_activation(module):
            redirect_calls(module, (), CallTable(is_guarded=True))


def _free_names(owner: nn.Module, functions: Sequence[str]) -> list[str]:
    """A free name for each call: ``relu``, or ``relu_0``, ``relu_1`` and so on for several."""
    names: list[str] = []
    for index, function in enumerate(functions):
        name = function
        if functions.count(function) > 1:
            name = f"{function}_{functions[:index].count(function)}"
        while hasattr(owner, name) or name in names:
            name = f"{name}_call"
        names.append(name)
    return names
