"""Hooks that a user put on an activation, for what takes its place."""

from __future__ import annotations

import weakref
from typing import Any

from torch import nn
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils.prune import BasePruningMethod

__all__ = ["transfer_hooks"]

_HOOKS = (
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


def transfer_hooks(old: nn.Module, new: nn.Module) -> None:
    """Put the hooks of a module on another one, behind those that it has.

    Those of torch itself, which belong to weights or submodules of the old one (pruning, observers for quantisation),
    stay there.
    """
    for name in _HOOKS:
        hooks = getattr(new, name)
        for key, hook in getattr(old, name).items():
            if not _is_torch_s(hook):
                hooks[key] = _bound(hook, new)
    if old._is_full_backward_hook is not None:
        new._is_full_backward_hook = old._is_full_backward_hook


def _is_torch_s(hook: Any) -> bool:
    if isinstance(hook, _WrappedHook):
        hook = hook.hook
    home = str(getattr(hook, "__module__", ""))
    return isinstance(hook, BasePruningMethod) or home.startswith("torch.")


def _bound(hook: Any, module: nn.Module) -> Any:
    """A hook that is called with its module, which torch wraps with a reference to it."""
    if isinstance(hook, _WrappedHook) and hook.with_module:
        hook.module = weakref.ref(module)
    return hook
