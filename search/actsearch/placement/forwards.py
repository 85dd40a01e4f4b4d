"""Every forward, or every method, of a model, called through something else for a while."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

from actsearch.placement.source_names import user_methods

__all__ = ["replace_attributes", "wrap_forwards", "wrap_methods"]

_Forward = Callable[..., Any]


@contextlib.contextmanager
def wrap_forwards(
    model: nn.Module, wrap: Callable[[str, nn.Module, _Forward], _Forward]
) -> Iterator[None]:
    """Wrap each forward, also for calls that skip the module and its hooks, ``self.block.forward(x)``.

    Args:
        model: a copy of the user's model; afterwards it is as it was.
        wrap: given path, module and forward of a module, returns what is called instead.
    """
    with replace_attributes(
        (module, "forward", wrap(path, module, module.forward))
        for path, module in list(model.named_modules())
    ):
        yield


@contextlib.contextmanager
def wrap_methods(
    model: nn.Module, wrap: Callable[[str, nn.Module, _Forward], _Forward]
) -> Iterator[None]:
    """Likewise each method of the user's own classes, for a step that calls ``model.loss(batch)``."""
    with replace_attributes(
        (module, name, wrap(path, module, getattr(module, name)))
        for path, module in list(model.named_modules())
        for name in user_methods(type(module))
    ):
        yield


@contextlib.contextmanager
def replace_attributes(items: Iterable[tuple[Any, str, _Forward]]) -> Iterator[None]:
    """Give objects other methods for a while: object, name of the method, and what is called instead."""
    own: list[tuple[Any, str, _Forward | None]] = []
    for owner, name, function in items:
        own.append((owner, name, vars(owner).get(name)))
        # not by setattr, which a class of the user's may have changed
        vars(owner)[name] = functools.wraps(getattr(owner, name))(function)
    try:
        yield
    finally:
        for owner, name, before in own:
            vars(owner).pop(name, None)
            if before is not None:
                vars(owner)[name] = before
