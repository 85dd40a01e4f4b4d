"""The submodules of a module to which some were added that no forward meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from actsearch.placement.call_site import is_iterated_by_forward
from actsearch.placement.function_module import active

__all__ = ["HiddenChildrenDict"]


class HiddenChildrenDict(dict[str, Any]):
    """The submodules of a module, of which no forward meets those that were added for sites.

    A forward may go through its submodules, as that of nn.Sequential does, or through those of a part of it; everybody
    else sees all of them, and each can be had by its name.
    """

    def __init__(self, items: Mapping[str, Any], hidden: Iterable[str]) -> None:
        super().__init__(items)
        self.hidden = tuple(hidden)

    def _visible(self) -> dict[str, Any]:
        # while torch.compile captures there are no frames, and what it captures is a forward
        hides = torch.compiler.is_dynamo_compiling() or is_iterated_by_forward(
            active.module is not None
        )
        hidden = self.hidden if hides else ()
        return {name: module for name, module in super().items() if name not in hidden}

    def __iter__(self) -> Iterator[str]:
        return iter(self._visible())

    def __len__(self) -> int:
        return len(self._visible())

    def keys(self) -> Any:
        """Names."""
        return self._visible().keys()

    def values(self) -> Any:
        """Modules."""
        return self._visible().values()

    def items(self) -> Any:
        """Names and modules."""
        return self._visible().items()

    def everything(self) -> dict[str, Any]:
        """Names and modules, hidden ones included."""
        return dict(super().items())

    def copy(self) -> HiddenChildrenDict:
        """As DataParallel makes for its replicas."""
        return HiddenChildrenDict(self.everything(), self.hidden)

    def __reduce__(self) -> Any:
        return HiddenChildrenDict, (self.everything(), self.hidden)
