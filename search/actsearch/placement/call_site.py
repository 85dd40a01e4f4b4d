"""The caller of a function, by the frames of the Python stack: its place in the user's code, and its module."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from opcode import opmap
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as torch_module

__all__ = [
    "CallSite",
    "CodePlace",
    "calling_codes",
    "is_iterated_by_forward",
    "is_torch_code",
    "locate_call",
]

_TORCH_FILES = (
    os.path.join(os.path.dirname(torch.__file__), ""),  # with its separator: not torchvision's
    "<eval_with_key>",  # what torch.fx and torch.compile generate
)
_RERUN_IN_BACKWARD = ("torch.utils.checkpoint", "torch.autograd.function")
# modules whose frames only pass a call on: the caller is above them
_DISPATCHING = re.compile(
    r"(torch\.(overrides|nn\.functional|_tensor|_jit_internal|fx)|actsearch\.placement)(\..*)?"
)
# where a search upwards ends: at what runs a module's forward for us, by name, since these modules import this one
_TRACERS = ("actsearch.placement.fx_trace", "actsearch.placement.run_trace")
_REDIRECTED_FORWARD = ("actsearch.placement.redirect", "run_redirected")
_NN_MODULE = torch_module.__name__
_PRECALL = opmap.get("PRECALL")  # of Python 3.11 alone


class CodePlace(NamedTuple):
    """A place in code where an activation function is called.

    Attributes:
        name: of what is called: two lambdas on one line, or two texts that were executed, have the same numbers.
        file: of the function that calls it.
        line: the first one of that function.
        offset: of the instruction.
    """

    name: str
    file: str
    line: int
    offset: int


@dataclass(frozen=True)
class CallSite:
    """Where a call of an activation function stands.

    Attributes:
        place: in the user's code.
        is_rerun: whether it is inside of ``torch.utils.checkpoint`` or an ``autograd.Function``, and its module's
            forward is not. The backward pass of the first runs the call again outside of the forward, where nothing
            redirects it; that of the second is written for what is called there.
        hook_owner: the module whose forward hook or pre-hook makes it; None for a call of a forward.
        codes: of the functions that run, from the call up to its module's forward.
    """

    place: CodePlace
    is_rerun: bool = False
    hook_owner: nn.Module | None = None
    codes: tuple[CodeType, ...] = ()


def locate_call(name: str) -> CallSite:
    """Where the current call of an activation function stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_dispatching(_module_name(frame)):
        frame = frame.f_back
    if frame is None:
        return CallSite(CodePlace(name, "", 0, 0))
    code = frame.f_code
    offset = _start_of_call(code, frame.f_lasti)
    place = CodePlace(name, code.co_filename, code.co_firstlineno, offset)
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        below, frame = frame, frame.f_back
        while frame is not None and _passes_method(frame):
            frame = frame.f_back
        if frame is None:
            break
        module = _module_name(frame)
        if module in _RERUN_IN_BACKWARD:
            return CallSite(place, True, None, tuple(codes))
        if module == _NN_MODULE:
            return CallSite(place, False, _hook_owner(frame, below.f_code), tuple(codes))
        if module in _TRACERS or module.startswith("torch.fx") or _is_redirected_forward(frame):
            break
    return CallSite(place, False, None, tuple(codes))


def calling_codes() -> tuple[CodeType, ...]:
    """The functions that run, from the one that calls a module just now up to the forward that it belongs to."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        _module_name(frame) == _NN_MODULE or _is_dispatching(_module_name(frame))
    ):
        frame = frame.f_back
    codes = []
    while frame is not None and _module_name(frame) not in (_NN_MODULE, *_TRACERS):
        if _module_name(frame).startswith("torch.fx"):
            break
        codes.append(frame.f_code)
        if _is_redirected_forward(frame):
            break
        frame = frame.f_back
    return tuple(codes)


def is_torch_code(file: str) -> bool:
    """Whether a file is torch's, written or generated; calls in it are not redirected."""
    return file.startswith(_TORCH_FILES)


def _module_name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


@functools.lru_cache(maxsize=4096)  # asked of every frame of every call
def _is_dispatching(module: str) -> bool:
    return _DISPATCHING.fullmatch(module) is not None


def _is_redirected_forward(frame: FrameType) -> bool:
    return (_module_name(frame), frame.f_code.co_name) == _REDIRECTED_FORWARD


def _passes_method(frame: FrameType) -> bool:
    """Whether a frame only passes a call of a method on, while a step is watched."""
    is_ours = _module_name(frame).startswith("actsearch.placement.")
    return is_ours and frame.f_code.co_name == "pass_method"


@functools.lru_cache(maxsize=4096)  # Python makes the bytes of the code anew when asked
def _start_of_call(code: CodeType, offset: int) -> int:
    """Offset at which a call begins, whichever of its instructions runs.

    Python 3.11 has two for each, PRECALL and CALL, and makes them one where a built-in is called often: what
    ``list(map(F.relu, rows))`` calls would seem to move after a few runs.
    """
    before = offset - 4  # two bytes, and two in which Python keeps what it learned
    return before if before >= 0 and code.co_code[before] == _PRECALL else offset


def _hook_owner(frame: FrameType, code: CodeType) -> nn.Module | None:
    """The module whose call a frame is, if the code that it runs is a hook's and not forward's."""
    # nn.Module._call_impl of torch 2.13 runs hooks and forward in a function of its own, `inner`
    if frame.f_code.co_name != "inner":
        return None
    module = frame.f_locals.get("self")
    if isinstance(module, nn.Module) and any(_find_code(hook) is code for hook in _hooks(module)):
        return module
    return None


def _hooks(module: nn.Module) -> Iterator[Any]:
    yield from module._forward_pre_hooks.values()
    yield from module._forward_hooks.values()
    yield from torch_module._global_forward_pre_hooks.values()
    yield from torch_module._global_forward_hooks.values()


def _find_code(function: Any) -> CodeType | None:
    """Of a function, a method, a partial, or an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    return getattr(function, "__code__", None)


def is_iterated_by_forward(is_active: bool) -> bool:
    """Whether a forward goes through the submodules of a module just now, its own or that of a module around it.

    Torch itself does so to move, save or copy a model, also while a forward runs.

    Args:
        is_active: whether a forward is known to run.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _iterates_for_caller(frame):
        frame = frame.f_back
    if frame is None:
        return False
    if _is_redirected_forward(frame):  # of a class whose forward is that of nn.Sequential
        return True
    if _module_name(frame).startswith(("torch.", "actsearch.")):
        return False
    while not is_active and frame is not None:
        if frame.f_code.co_name == "forward" or _module_name(frame) == _NN_MODULE:
            return True
        frame = frame.f_back
    return is_active


def _iterates_for_caller(frame: FrameType) -> bool:
    """Whether a frame only passes submodules on: of a container, or ``children``."""
    module = _module_name(frame)
    return module in ("torch.nn.modules.container", "actsearch.placement.hidden_children") or (
        module == _NN_MODULE and frame.f_code.co_name in ("children", "named_children")
    )
