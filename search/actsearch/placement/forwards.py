"""Every forward of a model, called through something else for a while."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

__all__ = ["wrap_forwards"]

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
    own: list[tuple[nn.Module, _Forward | None]] = []
    for path, module in model.named_modules():
        own.append((module, vars(module).get("forward")))
        forward = module.forward
        # not by setattr, which a class of the user's may have changed
        vars(module)["forward"] = functools.wraps(forward)(wrap(path, module, forward))
    try:
        yield
    finally:
        for module, before in own:
            vars(module).pop("forward", None)
            if before is not None:
                vars(module)["forward"] = before
