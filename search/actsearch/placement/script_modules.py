"""What torch.jit compiled: nothing inside of it can be seen or replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from actsearch.errors import PlacementError

__all__ = [
    "ScriptModuleProxy",
    "has_weights",
    "is_scripted",
    "refuse_script_module",
    "replace_script_modules",
]


def is_scripted(module: Any) -> bool:
    """Whether a module was made by ``torch.jit.script``, ``trace``, ``freeze`` or ``load``."""
    return isinstance(module, torch.jit.ScriptModule)


def refuse_script_module(model: nn.Module) -> nn.Module:
    """The model, if it is not a ScriptModule.

    Raises:
        PlacementError: if it is one.
    """
    if is_scripted(model):
        raise PlacementError(
            f"{_name(model)} is a ScriptModule, compiled by torch.jit, whose activations cannot be changed: pass the "
            "nn.Module that it was made from, and compile the placed model"
        )
    return model


class ScriptModuleProxy(nn.Module):
    """A ScriptModule in a model that is run and watched, closed to what looks for submodules and puts hooks on them."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self._script = (script,)  # in a tuple nn.Module does not take it for a submodule

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the ScriptModule computes."""
        return self._script[0](*args, **kwargs)

    def train(self, mode: bool = True) -> ScriptModuleProxy:
        """Set the mode of the ScriptModule too, if it still has one."""
        if hasattr(self._script[0], "training"):
            self._script[0].train(mode)
        return super().train(mode)

    def __getattr__(self, name: str) -> Any:
        # copy and pickle ask a module that is not filled yet, and must not get the answers of the ScriptModule
        if name.startswith("__") or "_script" not in vars(self):
            raise AttributeError(name)
        return getattr(vars(self)["_script"][0], name)

    def __str__(self) -> str:
        return _name(self._script[0])


def has_weights(module: nn.Module) -> bool:
    """Whether a module mixes numbers by weights, of more than one axis; what torch.jit compiled may hide some."""
    if isinstance(module, ScriptModuleProxy):
        return True
    return any(parameter.dim() > 1 for parameter in module.parameters())


def replace_script_modules(model: nn.Module) -> None:
    """Put a :class:`ScriptModuleProxy` in the place of each outermost ScriptModule inside of a model, in place."""
    sealed: dict[int, ScriptModuleProxy] = {}
    for parent in list(model.modules()):
        if is_scripted(parent):
            continue
        for name, child in parent._modules.items():
            if child is not None and is_scripted(child):
                one = sealed.setdefault(id(child), ScriptModuleProxy(child))
                parent._modules[name] = one.train(getattr(child, "training", False))


def _name(script: Any) -> str:
    return str(getattr(script, "original_name", type(script).__name__))
