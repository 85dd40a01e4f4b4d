"""An activation function as a module, and which module's forward runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["Called", "running"]


class _Running(threading.local):
    """The module whose forward runs in this thread, of those that :mod:`actsearch.placement` made or changed."""

    module: Any = None  # a module, or None


running = _Running()


class Called(nn.Module):
    """An activation function as a module: what stood at a site before it was changed."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__()
        self.function = function
        self.name = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, with whatever it was called with."""
        outer, running.module = running.module, self
        try:
            return self.function(*args, **kwargs)
        finally:
            running.module = outer

    def extra_repr(self) -> str:
        """Name of the function."""
        return self.name
