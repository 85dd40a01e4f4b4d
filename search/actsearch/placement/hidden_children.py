"""The submodules of a module to which some were added that no forward meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from actsearch.placement.call_site import goes_through_in_a_forward
from actsearch.placement.function_module import running

__all__ = ["HiddenChildrenDict"]


class HiddenChildrenDict(dict[str, Any]):
    """The submodules of a module, of which no forward meets those that were added for sites.

    A forward may go through its submodules, as that of nn.Sequential does, or through those of a part of it; everybody
    else sees all of them, and each can be had by its name.
    """

    def __init__(self, items: Mapping[str, Any], added: Iterable[str]) -> None:
        super().__init__(items)
        self.added = tuple(added)

    def _met(self) -> dict[str, Any]:
        hidden = self.added if _by_a_forward() else ()
        return {name: module for name, module in super().items() if name not in hidden}

    def __iter__(self) -> Iterator[str]:
        return iter(self._met())

    def __len__(self) -> int:
        return len(self._met())

    def keys(self) -> Any:
        """Names."""
        return self._met().keys()

    def values(self) -> Any:
        """Modules."""
        return self._met().values()

    def items(self) -> Any:
        """Names and modules."""
        return self._met().items()

    def everything(self) -> dict[str, Any]:
        """Names and modules, whoever asks."""
        return dict(super().items())

    def copy(self) -> HiddenChildrenDict:
        """As DataParallel makes for its replicas."""
        return HiddenChildrenDict(self.everything(), self.added)

    def __reduce__(self) -> Any:
        return HiddenChildrenDict, (self.everything(), self.added)


def _by_a_forward() -> bool:
    if (
        torch.compiler.is_dynamo_compiling()
    ):  # there are no frames, and what is captured is a forward
        return True
    return goes_through_in_a_forward(running.module is not None)
