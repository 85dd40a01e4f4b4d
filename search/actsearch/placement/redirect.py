"""Calls of activation functions in a module's ``forward``, led to submodules of its own.

A ``TorchFunctionMode`` sees each call that such a ``forward`` makes itself; calls inside the modules that it uses are
theirs. A call is known by its place in the code and by how often that place was passed in this ``forward``, so that
branches may be taken or not. While torch.compile captures a graph there are no places, and the order of the calls
counts; a ``forward`` whose order may vary is left to Python. Methods that a ``forward`` uses are led as well when they
are called by themselves; calls in forward hooks stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
from abc import ABCMeta
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from actsearch.errors import PlacementError
from actsearch.placement.call_site import Place, is_torch_s, standing
from actsearch.placement.function_module import FunctionModule, running
from actsearch.placement.hidden_children import HiddenChildrenDict
from actsearch.placement.known_activations import CALLS, IN_PLACE, METHODS

__all__ = ["Calls", "become", "lead", "paused", "redirected", "writing"]


@dataclass(frozen=True)
class Calls:
    """Which submodule answers which call of a module's forward.

    Attributes:
        in_order: names of submodules in the order of the calls, and the functions that they stand for.
        at: name by place and how often it was passed before; None for every time, as in a loop over time. An empty name
            is for a call that stays as it is.
        straight: whether every run of the forward makes these calls, once each and in this order.
        methods: names of methods that the forward uses and that make such calls, each with how often the forward passed
            each place before it first passed it there.
        guarded: whether a call that is not known is an error, also where none is known.
    """

    in_order: tuple[tuple[str, str], ...] = ()
    at: Mapping[tuple[Place, int | None], str] = field(default_factory=dict)
    straight: bool = True
    methods: Mapping[str, Mapping[Place, int]] = field(default_factory=dict)
    guarded: bool = False

    def answering(self, place: Place, passed: int) -> str | None:
        """Name of the submodule for a call at a place that was passed so often before; None if there was no such."""
        return self.at.get((place, passed), self.at.get((place, None)))

    def first(self, place: Place) -> int | None:
        """How often a place was passed at the first call there that is known; None if there is no such."""
        return min((passed or 0 for known, passed in self.at if known == place), default=None)

    def joined(self, more: Calls) -> Calls:
        """With further calls of the same forward."""
        return Calls(
            self.in_order + more.in_order,
            {**self.at, **more.at},
            self.straight and more.straight and not (self.at and more.at),
            {**self.methods, **more.methods},
            self.guarded or more.guarded,
        )


class _Redirect(TorchFunctionMode):
    """Hands the calls of one run of a module's forward, or of a method of it, to its submodules."""

    def __init__(self, owner: Any, method: str = "") -> None:
        super().__init__()
        self.owner: Any = owner
        self.method = method
        self.count = 0
        self.passed: dict[Place, int] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = self.site(func)
        return self.answer(name, func, args, kwargs or {}) if name else func(*args, **kwargs or {})

    def site(self, func: Any) -> str:
        """Name of the submodule for the current call of a function; empty for one that stays as it is."""
        if func not in CALLS or running.module is not self.owner:
            return ""
        if torch.compiler.is_dynamo_compiling():
            return self._next(CALLS[func])
        return self._here(CALLS[func])

    def answer(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """What a submodule gives in the place of a function."""
        site: Any = self.owner.get_submodule(name)
        if isinstance(site, FunctionModule):
            return site(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        in_place = func in IN_PLACE or kwargs.get("inplace")  # who called may look at x alone
        if getattr(site, "takes_arguments", False):
            kwargs = {key: item for key, item in kwargs.items() if key not in ("input", "inplace")}
            result = site(x.clone() if in_place else x, *args[1:], **kwargs)
        else:
            result = site(x.clone() if in_place else x)
        return x.copy_(result) if in_place else result

    def _here(self, name: str) -> str:
        """By place."""
        calls: Calls = self.owner._actsearch_calls
        here = standing(name)
        place = here.place
        if is_torch_s(place) or here.hook is not None:
            return ""
        if self.method and place not in self.passed:
            start = calls.first(place)
            if start is None:  # what the method does besides
                return ""
            self.passed[place] = calls.methods[self.method].get(place, start)
        self.count += 1
        passed = self.passed.get(place, 0)
        self.passed[place] = passed + 1
        site = calls.answering(place, passed)
        if site is None:
            raise PlacementError(
                f"{type(self.owner).__name__} calls {name} in {place[1]} where no call was seen when its activations "
                "were looked for; give a sample that takes this way"
            )
        if (
            site
            and here.repeated
            and not isinstance(self.owner.get_submodule(site), FunctionModule)
        ):
            raise PlacementError(
                f"{type(self.owner).__name__} calls {name} inside of torch.utils.checkpoint or of an "
                "autograd.Function, whose backward pass does not know what was placed there: hold it as a module"
            )
        return site

    def _next(self, name: str) -> str:
        """By the order of the calls."""
        calls: Calls = self.owner._actsearch_calls
        if self.count >= len(calls.in_order):
            raise PlacementError(
                f"{type(self.owner).__name__} calls {name} where no call was seen when its activations were looked "
                "for; give a sample that takes this way"
            )
        site, expected = calls.in_order[self.count]
        self.count += 1
        if expected != name:
            raise PlacementError(f"{type(self.owner).__name__} calls {name} out of order")
        return site


def lead(owner: Any, names: Iterable[str], calls: Calls) -> None:
    """Lead calls of a module's forward to submodules that were added to it, which no forward meets by itself."""
    known = owner._modules
    added = known.added if isinstance(known, HiddenChildrenDict) else ()
    children = known.everything() if isinstance(known, HiddenChildrenDict) else known
    before: Calls = vars(owner).get("_actsearch_calls", Calls())
    all_calls = before.joined(calls)
    vars(owner).update(
        _modules=HiddenChildrenDict(children, (*added, *names)),
        _actsearch_calls=all_calls,
    )
    base = vars(type(owner)).get("_actsearch_base", type(owner))
    become(owner, redirected(base, tuple(sorted(all_calls.methods))))


def become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Change the class of a module, whatever its own does when an attribute is set."""
    object.__setattr__(module, "__class__", kind)


def redirected(base: type[nn.Module], methods: tuple[str, ...] = ()) -> type[nn.Module]:
    """The class with calls led to submodules, as an instance's ``_actsearch_calls`` says.

    ScriptModuleProxy, its forward is one graph with what calls it, or is left to Python.

    Args:
        base: the user's class.
        methods: those whose calls are led also when they are called by themselves, outside of any forward.
    """
    in_python = torch.compiler.disable(_led)  # type: ignore[no-untyped-call]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(
            self, "_actsearch_calls"
        ):  # a slice of an nn.Sequential, made in its forward
            return base.forward(self, *args, **kwargs)
        if torch.compiler.is_dynamo_compiling() and self._actsearch_calls.straight:
            return _led(base.forward, self, args, kwargs, compiled=True)
        return in_python(base.forward, self, args, kwargs)

    functions = {name: _by_itself(getattr(base, name), name, in_python) for name in methods}
    functions["forward"] = forward
    if base.named_modules is nn.Module.named_modules:
        functions["named_modules"] = _named_modules
    return _subclass(base, "redirected", functions, methods)


def _named_modules(
    self: Any, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, nn.Module]]:
    """As torch's, of all submodules: captured by torch.compile, it could not be told from a forward that asks."""
    memo = set() if memo is None else memo
    if self in memo:
        return
    if remove_duplicate:
        memo.add(self)
    yield prefix, self
    for name, module in self._modules.everything().items():
        if module is not None:
            path = f"{prefix}.{name}" if prefix else name
            yield from module.named_modules(memo, path, remove_duplicate)


def _by_itself(original: Any, name: str, in_python: Any) -> Any:
    """A method whose calls are led where no forward runs, whose affair they would be."""

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if running.module is not None or name not in self._actsearch_calls.methods:
            return original(self, *args, **kwargs)
        return in_python(original, self, args, kwargs, method=name)

    return method


def _led(
    function: Any, module: Any, args: Any, kwargs: Any, compiled: bool = False, method: str = ""
) -> Any:
    """Run a forward, or a method, with its calls led.

    Raises:
        PlacementError: torch.compile broke the graph in it, and forgot behind that what leads the calls.
    """
    calls: Calls = module._actsearch_calls
    outer, running.module = running.module, module
    try:
        if not calls.at and not calls.guarded:
            return function(module, *args, **kwargs)
        redirect = _Redirect(module, method)
        tracer = None if compiled else _tracer_of((args, kwargs))
        with redirect:
            if tracer is None:
                result = function(module, *args, **kwargs)
            else:
                with _methods_led(redirect, tracer):
                    result = function(module, *args, **kwargs)
    finally:
        running.module = outer
    if compiled and redirect.count != len(calls.in_order):
        raise PlacementError(
            f"torch.compile breaks the graph inside of the forward of {type(module).__name__}, where the activations "
            "that it calls are lost: hold them as modules, or keep it from being compiled with torch.compiler.disable"
        )
    return result


def _tracer_of(value: Any) -> Any:
    """The tracer of torch.fx whose proxies stand among arguments; None if there are none."""
    if isinstance(value, fx.Proxy):
        return value.tracer
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((found for item in value if (found := _tracer_of(item)) is not None), None)
    return None


@contextlib.contextmanager
def _methods_led(redirect: _Redirect, tracer: Any) -> Iterator[None]:
    """Lead methods of proxies, which reach no mode, where a tracer makes nodes of them."""
    own, create = vars(tracer).get("create_proxy"), tracer.create_proxy

    def create_proxy(
        kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any
    ) -> Any:
        if kind == "call_method" and target in METHODS:
            function = getattr(Tensor, target)
            if name := redirect.site(function):
                return redirect.answer(name, function, args, kwargs)
        return create(kind, target, args, kwargs, *more, **named)

    tracer.create_proxy = create_proxy
    try:
        yield
    finally:
        del tracer.create_proxy
        if own is not None:
            tracer.create_proxy = own


def paused(base: type[nn.Module]) -> type[nn.Module]:
    """The class whose own calls are nobody else's business: for activations inside of a redirected module."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        outer, running.module = running.module, self
        try:
            return base.forward(self, *args, **kwargs)
        finally:
            running.module = outer

    return _subclass(base, "paused", {"forward": forward})


def writing(base: type[nn.Module]) -> type[nn.Module]:
    """The class that writes its result over its argument, as modules with ``inplace=True`` do; also paused."""

    def forward(self: Any, x: Any) -> Any:
        outer, running.module = running.module, self
        try:
            return x.copy_(base.forward(self, x.clone()))
        finally:
            running.module = outer

    return _subclass(base, "writing", {"forward": forward})


class _Quiet:
    """First among the bases of a class, so that ``__init_subclass__`` of the user's does not run for it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass


_subclasses: dict[tuple[type[nn.Module], str, tuple[str, ...]], type[nn.Module]] = {}


def _subclass(
    base: type[nn.Module], kind: str, functions: Mapping[str, Any], methods: tuple[str, ...] = ()
) -> type[nn.Module]:
    """A class with the name of its base, one for each base, that deepcopy and pickle find again.

    What a metaclass of the user's does with new classes is not done; what it gave to the base is inherited.
    """
    if (known := _subclasses.get((base, kind, methods))) is not None:
        return known

    def reduce(self: nn.Module, protocol: Any) -> Any:
        return _made, (base, kind, methods), self.__getstate__()  # type: ignore[no-untyped-call]

    names = {
        **functions,
        "forward": functools.wraps(base.forward)(functions["forward"]),
        "__reduce_ex__": reduce,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_actsearch_base": base,
        "_actsearch_kind": kind,
    }
    meta = type(base)
    new: Any = ABCMeta.__new__ if issubclass(meta, ABCMeta) else type.__new__
    made: type[nn.Module] = new(meta, base.__name__, (_Quiet, base), names)
    return _subclasses.setdefault((base, kind, methods), made)


def _made(base: type[nn.Module], kind: str, methods: tuple[str, ...] = ()) -> nn.Module:
    """An empty instance, for deepcopy and pickle to fill."""
    made = redirected(base, methods) if kind == "redirected" else _KINDS[kind](base)
    module = made.__new__(made)
    assert isinstance(module, nn.Module)
    return module


_KINDS = {"paused": paused, "writing": writing}
