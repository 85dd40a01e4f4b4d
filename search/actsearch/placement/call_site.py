"""Who makes a call, by the frames of the Python stack: where it stands in the user's code, and on whose behalf."""

from __future__ import annotations

import bisect
import dis
import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module

__all__ = ["Place", "Standing", "goes_through_in_a_forward", "is_torch_s", "standing"]

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
_LEADING = "actsearch.placement.redirect"
_WATCHING = "actsearch.placement.calls"
_CALLING = torch_module.__name__
_GOING_THROUGH = ("children", "named_children")


@dataclass(frozen=True)
class Standing:
    """Where a call of an activation function stands.

    Attributes:
        place: in the user's code.
        repeated: whether it is inside of ``torch.utils.checkpoint`` or an ``autograd.Function``, and its module's
            forward is not. The backward pass of the first runs the call again outside of the forward, where nothing
            leads it elsewhere; that of the second is written for what is called there.
        hook: the module whose forward hook or pre-hook makes it; None for a call of a forward.
        through: code of the functions that run, from the call up to its module's forward.
    """

    place: Place
    repeated: bool = False
    hook: nn.Module | None = None
    through: tuple[CodeType, ...] = ()


@functools.lru_cache(maxsize=4096)
def _passes_on(module: str) -> bool:
    return _PASSED_ON.fullmatch(module) is not None


def standing(name: str) -> Standing:
    """Where the current call of an activation function stands.

    The name belongs to its place: two lambdas on one line, or two texts that were executed, have the same numbers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _passes_on(str(frame.f_globals.get("__name__"))):
        frame = frame.f_back
    if frame is None:
        return Standing((name, "", 0, 0))
    code = frame.f_code
    place = (name, code.co_filename, code.co_firstlineno, _instruction(code, frame.f_lasti))
    through = []
    while frame is not None:
        through.append(frame.f_code)
        above, below = frame.f_back, frame
        frame = above
        if above is None:
            break
        module = above.f_globals.get("__name__")
        if module in _WITH_A_BACKWARD:
            return Standing(place, True, None, tuple(through))
        if module == _CALLING:
            return Standing(place, False, _hooked(above, below.f_code), tuple(through))
        if module == _WATCHING or (module == _LEADING and above.f_code.co_name == "_led"):
            break
    return Standing(place, False, None, tuple(through))


def _instruction(code: CodeType, offset: int) -> int:
    """Offset at which a call begins, whichever of its instructions runs.

    Python 3.11 has two for each, and makes them one where a built-in is called often: what ``list(map(F.relu, rows))``
    calls would seem to move after a few runs.
    """
    starts = _starts(code)
    return starts[bisect.bisect_right(starts, offset) - 1]


@functools.lru_cache(maxsize=4096)
def _starts(code: CodeType) -> tuple[int, ...]:
    """Offsets of the instructions of a function, the two of a call counted as one."""
    starts, before = [], ""
    for item in dis.get_instructions(code):
        if (before, item.opname) != ("PRECALL", "CALL"):
            starts.append(item.offset)
        before = item.opname
    return tuple(starts)


def is_torch_s(place: Place) -> bool:
    """Whether a call stands in code of torch, written or generated, which is not led elsewhere."""
    return place[1].startswith(_NOT_THE_USERS)


def _hooked(calling: FrameType, code: CodeType) -> nn.Module | None:
    """The module that is called, if the code that its call runs is a hook's and not forward's."""
    if calling.f_code.co_name != "inner":  # which torch defines for modules with hooks
        return None
    module = calling.f_locals.get("self")
    if isinstance(module, nn.Module) and any(_code(hook) is code for hook in _hooks(module)):
        return module
    return None


def _hooks(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_pre_hooks.values()
    yield from module._forward_hooks.values()
    yield from torch_module._global_forward_pre_hooks.values()
    yield from torch_module._global_forward_hooks.values()


def _code(function: Any) -> CodeType | None:
    """Of a function, a method, a partial, or an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    return getattr(function, "__code__", None)


def goes_through_in_a_forward(runs: bool) -> bool:
    """Whether who goes through the submodules of a module is a forward, its own or that of a module around it.

    Torch itself does so to move, save or copy a model, also while a forward runs.

    Args:
        runs: whether one is known to run.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _looks_on_behalf(frame):
        frame = frame.f_back
    if frame is None:
        return False
    module = str(frame.f_globals.get("__name__"))
    if (
        module == _LEADING and frame.f_code.co_name == "_led"
    ):  # the forward of nn.Sequential itself, of a class that has no other
        return True
    if module.startswith(("torch.", "actsearch.")):
        return False
    while not runs and frame is not None:
        if frame.f_code.co_name == "forward" or frame.f_globals.get("__name__") == _CALLING:
            return True
        frame = frame.f_back
    return runs


def _looks_on_behalf(frame: FrameType) -> bool:
    """Whether a frame only passes on what another asked for: of a container, or ``children``."""
    module = frame.f_globals.get("__name__")
    return module in ("torch.nn.modules.container", "actsearch.placement.hidden_children") or (
        module == _CALLING and frame.f_code.co_name in _GOING_THROUGH
    )
