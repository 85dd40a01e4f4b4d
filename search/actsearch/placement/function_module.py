"""An activation function as a module, and which module's forward runs."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx, nn

__all__ = ["Activating", "FunctionModule", "active"]


class _ActiveModule(threading.local):
    """The module whose forward runs in this thread, of those that :mod:`actsearch.placement` made or changed."""

    module: Any = None  # a module, or None


active = _ActiveModule()


class Activating:
    """While the block runs, a module is the active one.

    A class, not a generator: it is entered at every call of an activation, and torch.compile can look into it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.outer: Any = None

    def __enter__(self) -> None:
        self.outer, active.module = active.module, self.module

    def __exit__(self, *error: object) -> None:
        active.module = self.outer


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
        """What the function gives for the arguments of this call; of ``F.relu`` the shape of its input."""
        function = self.function
        with Activating(self):
            # torch.fx records a method of a tensor by its name: as a function it would be called with a proxy
            is_method = isinstance(function, types.MethodDescriptorType)
            if is_method and args and isinstance(args[0], fx.Proxy):
                method = getattr(args[0], function.__name__)
                return method(*args[1:], *self.arguments, **self.keywords, **kwargs)
            return function(*args, *self.arguments, **self.keywords, **kwargs)

    def extra_repr(self) -> str:
        """Name of the function."""
        return self.name
