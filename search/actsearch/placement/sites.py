"""Where a model has activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules import activation as torch_activations

from actsearch.activation import Activation, pieces_of

__all__ = ["NORMALISING", "Site", "SiteRole", "sites"]

SiteRole = Literal["hidden", "gate", "output"]

NORMALISING = (nn.Softmax, nn.Softmin, nn.LogSoftmax, nn.Softmax2d)
"""Modules whose outputs depend on more than their own input: never placed, never replaced."""

_SQUASHING = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.LogSigmoid)
_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
_TYPES: tuple[type[nn.Module], ...] = (
    Activation,
    *(
        getattr(torch_activations, name)
        for name in torch_activations.__all__
        if name != "MultiheadAttention"
    ),
)


@dataclass(frozen=True)
class Site:
    """One place in a model where an activation stands.

    Attributes:
        path: dotted name as in ``model.named_modules()``.
        kind: "module"; an activation held as a submodule.
        type: class name of what stands there.
        order: 0-based position in depth, in order of definition.
        role: "hidden"; "gate" (GLU, maxout: what gives fewer channels than it takes); "output" (softmax anywhere, a
            squashing function at the very end).
        aliases: further paths that lead to the same attribute of the same module.
    """

    path: str
    kind: Literal["module"]
    type: str
    order: int
    role: SiteRole
    aliases: tuple[str, ...] = ()


def sites(model: nn.Module) -> list[Site]:
    """List the activations of a model in order of definition.

    One instance used under several names of different modules makes one site for each name. Activations that
    ``forward`` calls as functions (``F.relu``) are not modules and are not listed.
    """
    found = list(_activation_paths(model))
    last = _last_leaf(model)
    return [
        Site(path, "module", type(module).__name__, order, _role(module, path == last), aliases)
        for order, (path, module, aliases) in enumerate(found)
    ]


def _activation_paths(model: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """Path, module and alias paths of each attribute that holds an activation."""
    by_attribute: dict[tuple[int, str], list[str]] = {}
    held: dict[tuple[int, str], nn.Module] = {}
    for parent_path, parent in model.named_modules(remove_duplicate=False):
        if isinstance(parent, _TYPES):
            continue
        for name, child in parent._modules.items():  # named_children would skip a shared instance
            if isinstance(child, _TYPES):
                held[id(parent), name] = child
                path = f"{parent_path}.{name}".lstrip(".")
                by_attribute.setdefault((id(parent), name), []).append(path)
    order = {
        path: index for index, (path, _) in enumerate(model.named_modules(remove_duplicate=False))
    }
    for key, paths in sorted(by_attribute.items(), key=lambda item: order[item[1][0]]):
        yield paths[0], held[key], tuple(paths[1:])


def _last_leaf(model: nn.Module) -> str:
    """The last layer that changes a number; what only reshapes may come after it."""
    leaves = [
        path
        for path, module in model.named_modules(remove_duplicate=False)
        if next(module.children(), None) is None and not isinstance(module, _PASSING)
    ]
    parent = model.get_submodule(leaves[-1].rpartition(".")[0]) if leaves else None
    if isinstance(parent, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        return ""  # they define their activation last and use it in the middle
    return leaves[-1] if leaves else ""


def _role(module: nn.Module, is_last: bool) -> SiteRole:
    if isinstance(module, NORMALISING) or (is_last and isinstance(module, _SQUASHING)):
        return "output"
    if isinstance(module, Activation) and pieces_of(module) > 1:
        return "gate"
    return "gate" if isinstance(module, nn.GLU) else "hidden"
