"""Calls of activation functions in graphs of torch.fx, made submodules by changing the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn

from actsearch.placement.function_module import FunctionModule
from actsearch.placement.known_activations import IN_PLACE, METHODS, name_of

__all__ = ["expose_graph_calls"]


def expose_graph_calls(
    model: nn.Module, named: Callable[[nn.Module, Sequence[str]], list[str]]
) -> None:
    """Change each ``torch.fx.GraphModule`` inside of a model, in place; it computes the same.

    Its forward is generated anew by every copy, so that no call in it could be known by its place in the code.

    Args:
        model: a copy of the user's model.
        named: free names for submodules of a module, from the functions that they stand for.
    """
    for owner in list(model.modules()):
        if isinstance(owner, fx.GraphModule):
            found = [(node, name) for node in owner.graph.nodes if (name := _called(node))]
            for (node, name), path in zip(
                found, named(owner, [name for _, name in found]), strict=True
            ):
                _open(owner, node, name, path)
            if found:
                owner.recompile()


def _called(node: fx.Node) -> str | None:
    """Name of the activation function that a node calls on one tensor."""
    if len(node.all_input_nodes) != 1:  # prelu with its weight
        return None
    if node.op == "call_function":
        return name_of(node.target)
    return METHODS.get(str(node.target)) if node.op == "call_method" else None


def _open(owner: fx.GraphModule, node: fx.Node, name: str, path: str) -> None:
    (x,) = node.all_input_nodes
    target: Any = node.target
    function = getattr(Tensor, target) if node.op == "call_method" else target
    keywords = {key: value for key, value in node.kwargs.items() if key != "input"}
    in_place = bool(function in IN_PLACE or keywords.pop("inplace", False))
    owner.add_submodule(path, FunctionModule(function, name, node.args[1:], keywords))
    graph = owner.graph
    with graph.inserting_before(node):
        if in_place:  # later nodes may look at x alone
            result = graph.call_module(path, (graph.call_method("clone", (x,)),))
            new = graph.call_method("copy_", (x, result))
        else:
            new = graph.call_module(path, (x,))
    node.replace_all_uses_with(new)
    graph.erase_node(node)
