"""What is written in the code of a module: its methods, and the activation functions that they name."""

from __future__ import annotations

import dis
import functools
import inspect
import sysconfig
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import fx, nn

from actsearch.placement.call_site import is_torch_code
from actsearch.placement.known_activations import CALLS, METHODS, NORMALISING, known_name
from actsearch.placement.script_modules import is_scripted

__all__ = [
    "unwrap_code",
    "user_methods",
    "activations_named_by_forward",
    "activations_in_unrun_methods",
]

_FUNCTION_NAMES = {
    str(getattr(function, "__name__", "")): name for function, name in CALLS.items()
} | METHODS
# methods that a class inherits from a library are not the user's to replace
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})
_SKIPPED = ("CACHE", "PUSH_NULL", "EXTENDED_ARG")  # instructions that load nothing
_SELF = "self"
_IMPORTED = "import"  # the first name of what a function imports itself

_Chain = tuple[str, ...]
"""Names in a row, as ``("F", "relu")``; an empty first one for the attribute of something computed."""


def user_methods(kind: type[nn.Module]) -> dict[str, FunctionType]:
    """The plain methods that a class of the user's and its bases define, those of torch left out, by name."""
    first: dict[str, Any] = {}
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        for name, value in vars(base).items():
            first.setdefault(name, value)
    return {
        name: value
        for name, value in first.items()
        if isinstance(value, FunctionType)
        and not (name.startswith("__") and name.endswith("__"))
        and name != "forward"
        and not _is_deferred(value)
        and not is_torch_code(unwrap_code(value).co_filename)
    }


def _is_deferred(function: FunctionType) -> bool:
    """Whether a call of a function returns before its code runs."""
    return (
        inspect.isgeneratorfunction(function)
        or inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
    )


def unwrap_code(function: FunctionType) -> CodeType:
    """Of what a decorator like ``torch.no_grad`` wraps."""
    return _unwrap(function).__code__


def _unwrap(function: FunctionType) -> FunctionType:
    inner = inspect.unwrap(function)
    return inner if isinstance(inner, FunctionType) else function


def activations_named_by_forward(module: nn.Module) -> set[str]:
    """Activation functions that a forward names, or what it uses of its own class and file.

    Not those in code of torch, nor those that normalise, in whose place nothing is put.
    """
    return {
        name
        for function in _functions_of_forward(module)
        for name in _activations_named_in(module, function)
    } - set(NORMALISING)


def _functions_of_forward(module: nn.Module) -> list[FunctionType]:
    """The forward, and the methods and functions of its file that it names, and so on."""
    if is_scripted(module) or isinstance(module, fx.GraphModule):
        return []
    forward = type(module).forward
    if not isinstance(forward, FunctionType) or is_torch_code(unwrap_code(forward).co_filename):
        return []
    functions = [_unwrap(forward)]
    for function in functions:  # which grows
        names = _visible_names(function)
        file = function.__code__.co_filename
        for root, *path in _name_chains(function.__code__):
            inner = _class_functions(type(module), path[0]) if path and root in (_SELF, "") else []
            value = names.get(root)
            if isinstance(value, FunctionType) and _unwrap(value).__code__.co_filename == file:
                inner.append(_unwrap(value))
            functions += [item for item in inner if item not in functions]
    return functions


def _class_functions(kind: type[nn.Module], name: str) -> list[FunctionType]:
    """What a class of the user's and its bases define under a name; which of them ``super()`` means is not asked."""
    values = [vars(base).get(name) for base in kind.__mro__[: kind.__mro__.index(nn.Module)]]
    inner = [_unwrap(value) for value in values if isinstance(value, FunctionType)]
    return [function for function in inner if not is_torch_code(function.__code__.co_filename)]


def activations_in_unrun_methods(
    module: nn.Module, ran: Iterable[CodeType]
) -> Iterator[tuple[str, str]]:
    """Methods of the user's own classes that no run went through, with an activation function that each names.

    Args:
        module: whose.
        ran: code that a run went through.

    Yields:
        Name of the method and of the function; none for methods that forward names.
    """
    known = {*ran, *(function.__code__ for function in _functions_of_forward(module))}
    for name, function in user_methods(type(module)).items():
        code = unwrap_code(function)
        if code not in known and not code.co_filename.startswith(_LIBRARIES):
            named = sorted(
                set(_activations_named_in(module, _unwrap(function))) - set(NORMALISING)
            )
            if named:
                yield name, named[0]


def _activations_named_in(module: nn.Module, function: FunctionType) -> Iterator[str]:
    """Activation functions that a function names, but for what the module holds under such a name."""
    names = _visible_names(function)
    for root, *path in _name_chains(function.__code__):
        if root in names:
            known = known_name(_resolve(names[root], path))
        elif path and not _is_held_by(module, (root, *path)):
            known = (_FUNCTION_NAMES if root == _IMPORTED else METHODS).get(path[-1])
        else:
            known = None
        if known is not None:
            yield known


def _is_held_by(module: nn.Module, chain: _Chain) -> bool:
    """Whether names stand for what a module or a submodule of it holds: another one, or a method."""
    root, *holders, last = chain
    if root != _SELF or last not in METHODS:  # not asked in vain: a property may do anything
        return root == _SELF and not holders
    return not holders or isinstance(_resolve(module, holders), nn.Module)


def _resolve(value: Any, path: Iterable[str]) -> Any:
    """An attribute of an attribute; None if there is no such, or a property fails."""
    try:
        return functools.reduce(getattr, path, value)
    except Exception:
        return None


def _visible_names(function: FunctionType) -> dict[str, Any]:
    """What names that are not its own mean to a function."""
    values = {
        name: function.__globals__[name]
        for chain in _name_chains(function.__code__)
        if (name := chain[0]) in function.__globals__ and name not in function.__code__.co_varnames
    }
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not yet filled
            continue
    return values


@functools.lru_cache(maxsize=4096)
def _name_chains(code: CodeType) -> tuple[_Chain, ...]:
    """Every name that code loads, with the attributes that it asks of it; likewise of functions inside of it.

    Bytecode, not source text: that may be missing or stand for a decorator. Names of instructions are those of Python
    3.11 to 3.13; of a later one that is unknown here, a chain ends, and a name may be missed.
    """
    chains: dict[_Chain, None] = {}
    imported: set[str] = set()
    chain: _Chain = ("",)
    before = ""
    for item in dis.get_instructions(code):
        kind, name = item.opname, item.argval
        if kind in _SKIPPED:
            continue
        before, after_import = kind, before.startswith("IMPORT")
        if kind.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")):
            last = name[-1] if isinstance(name, tuple) else str(name)
            chain = (_IMPORTED if last in imported else last,)
        elif kind in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*chain, str(name))
        elif kind == "LOAD_SUPER_ATTR":
            chain = (_SELF, str(name))
        elif kind == "IMPORT_FROM":
            chain = (_IMPORTED, str(name))
        else:
            chain = ("",)
            if kind == "STORE_FAST" and after_import:  # import torch.nn.functional as F
                imported.add(str(name))
            continue
        chains[chain] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            chains |= dict.fromkeys(_name_chains(constant))
    return tuple(chains)
