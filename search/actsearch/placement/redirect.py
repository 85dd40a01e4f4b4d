"""Calls of activation functions in a module's ``forward``, led to submodules of its own.

A ``TorchFunctionMode`` sees each call that such a ``forward`` makes itself; calls inside the modules that it uses are
theirs. A call is known by its place in the code and by how often that place was passed in this ``forward``, so that
branches may be taken or not. While torch.compile captures a graph there are no places, and the order of the calls
counts; a ``forward`` whose order may vary is left to Python.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from actsearch.errors import PlacementError
from actsearch.placement.called import Called, running
from actsearch.placement.known import CALLS, IN_PLACE

__all__ = [
    "Calls",
    "Place",
    "is_repeated",
    "is_torch_s",
    "lead",
    "paused",
    "place_of_call",
    "redirected",
    "writing",
]

Place = tuple[str, str, int, int]
"""Name of what is called; file, first line of the function that calls it, and offset of the instruction."""

_NOT_THE_USERS = (
    os.path.join(
        os.path.dirname(torch.__file__), ""
    ),  # with its separator: torchvision is another package
    "<eval_with_key>",  # a compiled graph
)
_WITH_A_BACKWARD = ("torch.utils.checkpoint", "torch.autograd.function")
_PASSED_ON = re.compile(
    r"(torch\.(overrides|nn\.functional|_tensor|_jit_internal|fx)|actsearch\.placement)(\..*)?"
)


def place_of_call(name: str) -> Place:
    """Where in the user's code the current call of an activation function stands.

    The name belongs to it: two lambdas on one line, or two texts that were executed, have the same numbers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _PASSED_ON.fullmatch(str(frame.f_globals.get("__name__"))):
        frame = frame.f_back
    if frame is None:
        return (name, "", 0, 0)
    code = frame.f_code
    return (name, code.co_filename, code.co_firstlineno, frame.f_lasti)


def is_torch_s(place: Place) -> bool:
    """Whether a call stands in code of torch, written or generated, which is not led elsewhere."""
    return place[1].startswith(_NOT_THE_USERS)


def is_repeated() -> bool:
    """Whether the current call is inside of ``torch.utils.checkpoint`` or an ``autograd.Function``, and its module's
    forward is not.

    The backward pass of the first runs the call again outside of the forward, where nothing leads it elsewhere; that of
    the second is written for what is called there.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in _WITH_A_BACKWARD:
            return True
        if module == "torch.nn.modules.module":  # the call of the module whose forward runs
            return False
        frame = frame.f_back
    return False


@dataclass(frozen=True)
class Calls:
    """Which submodule answers which call of a module's forward.

    Attributes:
        in_order: names of submodules in the order of the calls, and the functions that they stand for.
        at: name by place and how often it was passed before; None for every time, as in a loop over time. An empty name
            is for a call that stays as it is.
        straight: whether every run of the forward makes these calls, once each and in this order.
    """

    in_order: tuple[tuple[str, str], ...] = ()
    at: Mapping[tuple[Place, int | None], str] = field(default_factory=dict)
    straight: bool = True

    def answering(self, place: Place, passed: int) -> str | None:
        """Name of the submodule for a call at a place that was passed so often before; None if there was no such."""
        return self.at.get((place, passed), self.at.get((place, None)))

    def joined(self, more: Calls) -> Calls:
        """With further calls of the same forward."""
        return Calls(
            self.in_order + more.in_order,
            {**self.at, **more.at},
            self.straight and more.straight and not (self.at and more.at),
        )


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
        if not torch.compiler.is_dynamo_compiling() and is_repeated():
            raise PlacementError(
                f"{type(owner).__name__} calls {CALLS[func]} inside of torch.utils.checkpoint or of an "
                "autograd.Function, whose backward pass does not know what was placed there: hold it as a module"
            )
        x = args[0] if args else kwargs["input"]
        in_place = func in IN_PLACE or kwargs.get("inplace")  # who called may look at x alone
        if getattr(site, "takes_arguments", False):
            kwargs = {key: item for key, item in kwargs.items() if key not in ("input", "inplace")}
            result = site(x.clone() if in_place else x, *args[1:], **kwargs)
        else:
            result = site(x.clone() if in_place else x)
        return x.copy_(result) if in_place else result

    def _site(self, name: str) -> str:
        """Name of the submodule for this call; empty for one that stays as it is."""
        calls = self.owner._actsearch_calls
        self.count += 1
        if torch.compiler.is_dynamo_compiling():
            site, expected = calls.in_order[self.count - 1]
            if expected != name:
                raise PlacementError(f"{type(self.owner).__name__} calls {name} out of order")
            return str(site)
        place = place_of_call(name)
        if is_torch_s(place):
            self.count -= 1
            return ""
        passed = self.passed.get(place, 0)
        self.passed[place] = passed + 1
        site = calls.answering(place, passed)
        if site is None:
            raise PlacementError(
                f"{type(self.owner).__name__} calls {name} in {place[1]} where no call was seen when its activations "
                "were looked for; give a sample that takes this way"
            )
        return str(site)


def lead(owner: Any, names: Iterable[str], calls: Calls) -> None:
    """Lead calls of a module's forward to submodules that were added to it, which the forward itself does not meet."""
    before = getattr(owner, "_actsearch_calls", Calls())
    added = owner._modules.added if isinstance(owner._modules, Children) else ()
    owner._modules = Children(owner._modules, (*added, *names))
    owner._actsearch_calls = before.joined(calls)
    if not hasattr(type(owner), "_actsearch_base"):
        owner.__class__ = redirected(type(owner))


def redirected(base: type[nn.Module]) -> type[nn.Module]:
    """The class with calls led to submodules, as an instance's ``_actsearch_calls`` says.

    Compiled, its forward is one graph with what calls it, or is left to Python.
    """
    in_python = torch.compiler.disable(_led)  # type: ignore[no-untyped-call]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(
            self, "_actsearch_calls"
        ):  # a slice of an nn.Sequential, made in its forward
            return base.forward(self, *args, **kwargs)
        if torch.compiler.is_dynamo_compiling() and self._actsearch_calls.straight:
            return _led(base, self, args, kwargs, compiled=True)
        return in_python(base, self, args, kwargs)

    return _subclass(base, "redirected", forward)


def _led(
    base: type[nn.Module], module: Any, args: Any, kwargs: Any, compiled: bool = False
) -> Any:
    """Run a forward with its calls led.

    Raises:
        PlacementError: torch.compile broke the graph in it, and forgot behind that what leads the calls.
    """
    calls: Calls = module._actsearch_calls
    outer, running.module = running.module, module
    try:
        if not calls.at:
            return base.forward(module, *args, **kwargs)
        redirect = _Redirect(module)
        with redirect:
            result = base.forward(module, *args, **kwargs)
    finally:
        running.module = outer
    if compiled and redirect.count != len(calls.in_order):
        raise PlacementError(
            f"torch.compile breaks the graph inside of the forward of {type(module).__name__}, where the activations "
            "that it calls are lost: hold them as modules, or keep it from being compiled with torch.compiler.disable"
        )
    return result


def paused(base: type[nn.Module]) -> type[nn.Module]:
    """The class whose own calls are nobody else's business: for activations inside of a redirected module."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer, running.module = running.module, self
        try:
            return base.forward(self, *args, **kwargs)
        finally:
            running.module = outer

    return _subclass(base, "paused", forward)


def writing(base: type[nn.Module]) -> type[nn.Module]:
    """The class that writes its result over its argument, as modules with ``inplace=True`` do; also paused."""

    def forward(self: Any, x: Any) -> Any:
        outer, running.module = running.module, self
        try:
            return x.copy_(base.forward(self, x.clone()))
        finally:
            running.module = outer

    return _subclass(base, "writing", forward)


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
        "_actsearch_kind": kind,
    }
    made: type[nn.Module] = type(base.__name__, (base,), names)
    return _subclasses.setdefault((base, kind), made)


class Children(dict[str, Any]):
    """The submodules of a module, of which its own forward does not meet those that were added for sites.

    A forward may go through its submodules, as that of nn.Sequential does; everybody else sees all of them, and each
    can be had by its name.
    """

    def __init__(self, items: Mapping[str, Any], added: Iterable[str]) -> None:
        super().__init__(items)
        self.added = tuple(added)

    def _met(self) -> dict[str, Any]:
        runs = running.module
        hidden = self.added if runs is not None and runs._modules is self else ()
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

    def copy(self) -> Children:
        """As DataParallel makes for its replicas."""
        return Children(self, self.added)

    def __reduce__(self) -> Any:
        return Children, (dict(self.items()), self.added)


def _made(base: type[nn.Module], kind: str) -> nn.Module:
    """An empty instance, for deepcopy and pickle to fill."""
    made = {"redirected": redirected, "paused": paused, "writing": writing}[kind](base)
    module = made.__new__(made)
    assert isinstance(module, nn.Module)
    return module
