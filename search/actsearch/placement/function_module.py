"""An activation function as a module, and which module's forward runs."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx, nn

__all__ = ["FunctionModule", "running"]


_METHOD = types.MethodDescriptorType  # of a tensor, which torch.fx has only by name


class _Running(threading.local):
    """The module whose forward runs in this thread, of those that :mod:`actsearch.placement` made or changed."""

    module: Any = None  # a module, or None


running = _Running()


class FunctionModule(nn.Module):
    """An activation function as a module: what stood at a site before it was changed.

    Attributes:
        function: that is called.
        name: as the set of known names has it.
        arguments: further ones after those of a call.
        keywords: likewise.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        arguments: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.name = name
        self.arguments = tuple(arguments)
        self.keywords = dict(keywords or {})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, with whatever it was called with."""
        outer, running.module = running.module, self
        function = self.function
        try:
            if args and isinstance(args[0], fx.Proxy) and isinstance(function, _METHOD):
                method = getattr(args[0], function.__name__)
                return method(*args[1:], *self.arguments, **self.keywords, **kwargs)
            return function(*args, *self.arguments, **self.keywords, **kwargs)
        finally:
            running.module = outer

    def extra_repr(self) -> str:
        """Name of the function."""
        return self.name
