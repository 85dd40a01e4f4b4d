"""Subclasses of a module's class, made at run time and given to single instances: they change what a call does."""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from actsearch.activations import Activation, count_pieces
from actsearch.placement.function_module import Activating, FunctionModule

__all__ = ["derive_class", "is_inplace", "make_inplace", "pause", "set_class"]


def set_class(module: nn.Module, kind: type[nn.Module]) -> None:
    """Change the class of a module, whatever its own does when an attribute is set."""
    object.__setattr__(module, "__class__", kind)


def pause(module: nn.Module) -> None:
    """Keep a module's own calls of functions from being taken for those of the module that uses it."""
    if not isinstance(module, FunctionModule) and not hasattr(type(module), "_actsearch_base"):
        _rebind(module, paused_class)


def make_inplace(module: nn.Module) -> None:
    """Make an activation write its result over what it is given, unless it changes the shape."""
    if not isinstance(module, Activation) or count_pieces(module) == 1:
        _rebind(module, inplace_class)


def is_inplace(module: nn.Module) -> bool:
    """Whether :func:`make_inplace` changed a module."""
    return getattr(type(module), "_actsearch_builder", None) is inplace_class


def _rebind(module: nn.Module, builder: Callable[[type[nn.Module]], type[nn.Module]]) -> None:
    set_class(module, builder(type(module)))
    if isinstance(module, Activation):
        module.bind_forward()


def paused_class(base: type[nn.Module]) -> type[nn.Module]:
    """The class whose own calls are nobody else's business: for activations inside of a redirected module."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with Activating(self):
            return base.forward(self, *args, **kwargs)

    return derive_class(paused_class, base, {"forward": forward})


def inplace_class(base: type[nn.Module]) -> type[nn.Module]:
    """The class that writes its result over its argument, as modules with ``inplace=True`` do; also paused."""

    def forward(self: Any, x: Any) -> Any:
        with Activating(self):
            return x.copy_(base.forward(self, x.clone()))

    return derive_class(inplace_class, base, {"forward": forward})


class _NoInitSubclass:
    """First among the bases of a class, so that ``__init_subclass__`` of the user's does not run for it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


_Builder = Callable[..., type[nn.Module]]
_derived: dict[tuple[_Builder, type[nn.Module], tuple[Any, ...]], type[nn.Module]] = {}


def derive_class(
    builder: _Builder, base: type[nn.Module], functions: Mapping[str, Any], *options: Any
) -> type[nn.Module]:
    """A class with the name of its base, one for each base, that deepcopy and pickle find again.

    What a metaclass of the user's does with new classes is not done; what it gave to the base is inherited.

    Args:
        builder: makes this class anew from the base and the options, in another process too.
        base: the user's class.
        functions: by name, forward among them.
        options: what the class depends on besides its base.
    """
    key = (builder, base, options)
    if (known := _derived.get(key)) is not None:
        return known

    def reduce(self: nn.Module, protocol: Any) -> Any:
        return _new_instance, key, self.__getstate__()  # type: ignore[no-untyped-call]

    names = {
        **functions,
        "forward": functools.wraps(base.forward)(functions["forward"]),
        "__reduce_ex__": reduce,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_actsearch_base": base,
        "_actsearch_builder": staticmethod(builder),
    }
    meta = type(base)
    # not meta(...), which may register classes or refuse them; abc's own keeps the set of abstract methods
    new: Any = ABCMeta.__new__ if issubclass(meta, ABCMeta) else type.__new__
    derived: type[nn.Module] = new(meta, base.__name__, (_NoInitSubclass, base), names)
    return _derived.setdefault(key, derived)


def _new_instance(builder: _Builder, base: type[nn.Module], options: tuple[Any, ...]) -> nn.Module:
    """An empty instance, for deepcopy and pickle to fill."""
    derived = builder(base, *options)
    module = derived.__new__(derived)
    assert isinstance(module, nn.Module)
    return module
