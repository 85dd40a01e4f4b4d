"""Calls of activation functions in a module's ``forward``, led to submodules of its own.

A ``TorchFunctionMode`` sees each call that such a ``forward`` makes itself; calls inside the modules that it uses are
theirs. A call is known by its place in the code and by how often that place was passed in this ``forward``, so that
branches may be taken or not. While a graph is captured there are no places, and the order of the calls counts.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from actsearch.errors import PlacementError
from actsearch.placement.called import Called, running
from actsearch.placement.known import CALLS, IN_PLACE

__all__ = ["Calls", "Place", "is_torch_s", "paused", "place_of_call", "redirected"]

Place = tuple[str, int, int]
"""File, first line of the function, and offset of an instruction."""

_TORCH_FOLDER = os.path.dirname(torch.__file__)
_PASSED_ON = (
    "torch.overrides",
    "torch.nn.functional",
    "torch._tensor",
    "torch._jit_internal",
    "torch.fx",
    "actsearch.placement",
)


def place_of_call() -> Place:
    """Where in the user's code the current call of a torch function stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_PASSED_ON):
        frame = frame.f_back
    if frame is None:
        return ("", 0, 0)
    return (frame.f_code.co_filename, frame.f_code.co_firstlineno, frame.f_lasti)


def is_torch_s(place: Place) -> bool:
    """Whether a call stands in torch's own code, which is not led elsewhere."""
    return place[0].startswith(_TORCH_FOLDER)


@dataclass(frozen=True)
class Calls:
    """Which submodule answers which call of a module's forward.

    Attributes:
        in_order: names of submodules in the order of the calls.
        at: name by place and how often it was passed before; None for every time, as in a loop over time.
    """

    in_order: tuple[str, ...]
    at: Mapping[tuple[Place, int | None], str]

    def answering(self, place: Place, passed: int) -> str | None:
        """Name of the submodule for a call at a place that was passed so often before."""
        return self.at.get((place, passed)) or self.at.get((place, None))


class _Redirect(TorchFunctionMode):
    """Hands the calls of one run of a module's forward to its submodules."""

    def __init__(self, owner: Any) -> None:
        super().__init__()
        self.owner: Any = owner
        self.count = 0
        self.passed: dict[Place, int] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        owner, runs = self.owner, running.module
        if func not in CALLS or runs is not owner:
            return func(*args, **kwargs)
        name = self._site(CALLS[func])
        if not name:
            return func(*args, **kwargs)
        site: Any = owner.get_submodule(name)
        if isinstance(site, Called):
            return site(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        if func in IN_PLACE or kwargs.get("inplace"):  # who called may look at x alone
            return x.copy_(site(x.clone()))
        return site(x)

    def _site(self, name: str) -> str:
        """Name of the submodule for this call; empty for one that torch's own code makes."""
        calls = self.owner._actsearch_calls
        if torch.compiler.is_dynamo_compiling():
            self.count += 1
            return str(calls.in_order[self.count - 1])
        place = place_of_call()
        if is_torch_s(place):
            return ""
        passed = self.passed.get(place, 0)
        self.passed[place] = passed + 1
        site = calls.answering(place, passed)
        if site is None:
            raise PlacementError(
                f"{type(self.owner).__name__} calls {name} in {place[0]} where no call was seen when its activations "
                "were looked for; give a sample that takes this way"
            )
        return str(site)


def redirected(base: type[nn.Module]) -> type[nn.Module]:
    """The class with calls led to submodules; an instance needs the attribute ``_actsearch_calls``."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer, running.module = running.module, self
        try:
            with _Redirect(self):
                return base.forward(self, *args, **kwargs)
        finally:
            running.module = outer

    return _subclass(base, "redirected", forward)


def paused(base: type[nn.Module]) -> type[nn.Module]:
    """The class whose own calls are nobody else's business: for activations inside of a redirected module."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer, running.module = running.module, self
        try:
            return base.forward(self, *args, **kwargs)
        finally:
            running.module = outer

    return _subclass(base, "paused", forward)


_subclasses: dict[tuple[type[nn.Module], str], type[nn.Module]] = {}


def _subclass(base: type[nn.Module], kind: str, forward: Any) -> type[nn.Module]:
    """A class with the name of its base, one for each base, that deepcopy and pickle find again."""
    if (known := _subclasses.get((base, kind))) is not None:
        return known

    def reduce(self: nn.Module, protocol: Any) -> Any:
        return _made, (base, kind), self.__getstate__()  # type: ignore[no-untyped-call]

    names = {
        "forward": functools.wraps(base.forward)(forward),
        "__reduce_ex__": reduce,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_actsearch_base": base,
    }
    if kind == "redirected":
        names |= _hiding(base)
    made: type[nn.Module] = type(base.__name__, (base,), names)
    return _subclasses.setdefault((base, kind), made)


def _hiding(base: type[nn.Module]) -> dict[str, Any]:
    """Methods that keep a forward which goes through its children from meeting the sites of its calls among them."""

    def layers(self: Any) -> list[tuple[str, nn.Module]]:
        own = self._actsearch_calls.in_order
        return [item for item in self._modules.items() if item[0] not in own]

    def named_children(self: Any) -> Iterator[tuple[str, nn.Module]]:
        runs = running.module
        own = self._actsearch_calls.in_order if runs is self else ()
        return ((name, child) for name, child in base.named_children(self) if name not in own)

    if not issubclass(base, nn.Sequential):
        return {"named_children": named_children}
    return {
        "named_children": named_children,
        "__iter__": lambda self: (module for _, module in layers(self)),
        "__len__": lambda self: len(layers(self)),
    }


def _made(base: type[nn.Module], kind: str) -> nn.Module:
    """An empty instance, for deepcopy and pickle to fill."""
    made = (redirected if kind == "redirected" else paused)(base)
    module = made.__new__(made)
    assert isinstance(module, nn.Module)
    return module
