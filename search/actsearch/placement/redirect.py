"""Calls of activation functions in a module's ``forward``, redirected to submodules of its own.

A ``TorchFunctionMode`` sees each call that such a ``forward`` makes itself; calls inside the modules that it uses are
theirs. A call is known by its place in the code and by how often that place was passed in this ``forward``, so that
branches may be taken or not. While torch.compile captures a graph there are no places, and the order of the calls
counts; a ``forward`` whose order may vary is left to Python. Methods that a ``forward`` uses are redirected as well
when they are called by themselves; calls in forward hooks stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from actsearch.errors import PlacementError
from actsearch.placement.call_site import CodePlace, is_torch_code, locate_call
from actsearch.placement.dataflow import is_written_over, place_name
from actsearch.placement.derived_class import derive_class, set_class
from actsearch.placement.forwards import replace_attributes
from actsearch.placement.function_module import Activating, FunctionModule, active
from actsearch.placement.hidden_children import HiddenChildrenDict
from actsearch.placement.known_activations import CALLS

__all__ = ["Answer", "CallTable", "redirect_calls"]


class Answer(NamedTuple):
    """What becomes of a call.

    Attributes:
        submodule: name of what is called instead; empty for none.
        operand: where the call is given the tensor that goes there, or that is passed on; None for a call that is
            known for an activation, or stays as it is.
        copies: whether a later call writes over what this one is given.
    """

    submodule: str
    operand: int | str | None = None
    copies: bool = False


@dataclass(frozen=True)
class CallTable:
    """Which submodule answers which call of a module's forward.

    Attributes:
        in_order: names of submodules in the order of the calls, and the functions that they stand for.
        by_place: what becomes of a call, by place and how often that was passed before; None for every time, as in a
            loop over time.
        is_straight: whether every run of the forward makes these calls, once each and in this order.
        methods: names of methods that the forward uses and that make such calls, each with how often the forward passed
            each place before it first passed it there.
        is_guarded: whether a call that is not known is an error, also where none is known.
        names: of the functions at these places that are no activations by themselves.
    """

    in_order: tuple[tuple[str, str], ...] = ()
    by_place: Mapping[tuple[CodePlace, int | None], Answer] = field(default_factory=dict)
    is_straight: bool = True
    methods: Mapping[str, Mapping[CodePlace, int]] = field(default_factory=dict)
    is_guarded: bool = False
    names: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        names = frozenset(place.name for place, _ in self.by_place) - frozenset(CALLS.values())
        object.__setattr__(self, "names", names)

    def first_occurrence(self, place: CodePlace) -> int | None:
        """How often a place was passed at the first call there that is known; None if there is no such."""
        return min((count or 0 for known, count in self.by_place if known == place), default=None)

    def merge(self, more: CallTable) -> CallTable:
        """With further calls of the same forward."""
        return CallTable(
            self.in_order + more.in_order,
            {**self.by_place, **more.by_place},
            self.is_straight and more.is_straight and not (self.by_place and more.by_place),
            {**self.methods, **more.methods},
            self.is_guarded or more.is_guarded,
        )


class _RedirectMode(TorchFunctionMode):
    """Hands the calls of one run of a module's forward, or of a method of it, to its submodules."""

    def __init__(self, owner: Any, method: str = "") -> None:
        super().__init__()
        self.owner: Any = owner
        self.table: CallTable = owner._actsearch_calls
        self.method = method
        self.count = 0
        self.occurrences: dict[CodePlace, int] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        answer = self.answer(func)
        return func(*args, **kwargs) if answer is None else self.give(answer, func, args, kwargs)

    def answer(self, func: Any) -> Answer | None:
        """What becomes of the current call of a function; None for one that stays as it is."""
        if active.module is not self.owner:
            return None
        known = CALLS.get(func, "")
        if not known and (not self.table.names or place_name(func) not in self.table.names):
            return None
        if torch.compiler.is_dynamo_compiling():
            return self._by_order(known) if known else None
        return self._by_place(known, place_name(func))

    def give(self, answer: Answer, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """What a call gives instead: what a submodule does, or what it is given itself."""
        operand = 0 if answer.operand is None else answer.operand
        in_place = is_written_over(func, kwargs)  # the caller may look at its argument alone
        if isinstance(operand, int) and operand < len(args):
            x = args[operand]
        else:
            x = kwargs["input" if answer.operand is None else operand]
        result = x
        if answer.submodule:
            submodule: Any = self.owner.get_submodule(answer.submodule)
            if answer.operand is None and isinstance(submodule, FunctionModule):
                return submodule(*args, **kwargs)
            # a copy, because an activation may need its input for the backward pass, and it is written over below
            given = x.clone() if in_place or answer.copies else x
            if answer.operand is None and getattr(submodule, "takes_arguments", False):
                more = {key: v for key, v in kwargs.items() if key not in ("input", "inplace")}
                result = submodule(given, *args[1:], **more)
            else:
                result = submodule(given)
        if not in_place:
            return result
        written = args[0] if args else kwargs["input"]
        return written if result is written else written.copy_(result)

    def _by_place(self, known: str, name: str) -> Answer | None:
        site = locate_call(known or name)
        place = site.place
        if is_torch_code(place.file) or site.hook_owner is not None:
            return None
        if not known and self.table.first_occurrence(place) is None:
            return None
        if self.method and place not in self.occurrences:
            start = self.table.first_occurrence(place)
            if start is None:  # what the method does besides
                return None
            self.occurrences[place] = self.table.methods[self.method].get(place, start)
        self.count += 1
        occurrence = self.occurrences.get(place, 0)
        self.occurrences[place] = occurrence + 1
        by_place = self.table.by_place
        answer = by_place.get((place, occurrence), by_place.get((place, None)))
        if answer is None:
            if not known:
                return None
            raise self._unknown_call(f"{known} in {place.file}")
        if answer.submodule and site.is_rerun:
            if not isinstance(self.owner.get_submodule(answer.submodule), FunctionModule):
                raise PlacementError(
                    f"{type(self.owner).__name__} calls {known or name} inside of torch.utils.checkpoint or of an "
                    "autograd.Function, whose backward pass does not know what was placed there: hold it as a module"
                )
        stays = not answer.submodule and answer.operand is None
        return None if stays else answer

    def _by_order(self, name: str) -> Answer:
        if self.count >= len(self.table.in_order):
            raise self._unknown_call(name)
        submodule, expected = self.table.in_order[self.count]
        self.count += 1
        if expected != name:
            raise PlacementError(f"{type(self.owner).__name__} calls {name} out of order")
        return Answer(submodule)

    def _unknown_call(self, what: str) -> PlacementError:
        return PlacementError(
            f"{type(self.owner).__name__} calls {what} which did not happen when its activations were searched for; "
            "give a sample that takes this branch"
        )


def redirect_calls(owner: Any, names: Iterable[str], table: CallTable) -> None:
    """Redirect calls of a module's forward to submodules that were added to it, which no forward meets by itself."""
    children: Any = owner._modules
    hidden: tuple[str, ...] = ()
    if isinstance(children, HiddenChildrenDict):
        children, hidden = children.everything(), children.hidden
    merged = vars(owner).get("_actsearch_calls", CallTable()).merge(table)
    vars(owner).update(
        _modules=HiddenChildrenDict(children, (*hidden, *names)),
        _actsearch_calls=merged,
    )
    base = vars(type(owner)).get("_actsearch_base", type(owner))
    set_class(owner, redirected_class(base, *sorted(merged.methods)))


def redirected_class(base: type[nn.Module], *methods: str) -> type[nn.Module]:
    """The class with calls redirected to submodules, as an instance's ``_actsearch_calls`` says.

    Compiled, its forward is one graph with what calls it, or is left to Python.

    Args:
        base: the user's class.
        methods: those whose calls are redirected also when they are called by themselves, outside of any forward.
    """
    in_python = torch.compiler.disable(run_redirected)  # type: ignore[no-untyped-call]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_actsearch_calls"):  # a slice of an nn.Sequential, made in a forward
            return base.forward(self, *args, **kwargs)
        if torch.compiler.is_dynamo_compiling() and self._actsearch_calls.is_straight:
            return run_redirected(base.forward, self, args, kwargs, compiled=True)
        return in_python(base.forward, self, args, kwargs)

    functions = {name: _redirect_method(getattr(base, name), name, in_python) for name in methods}
    functions["forward"] = forward
    if base.named_modules is nn.Module.named_modules:
        functions["named_modules"] = _named_modules
    return derive_class(redirected_class, base, functions, *methods)


def _named_modules(
    self: Any, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
) -> Iterator[tuple[str, nn.Module]]:
    """As torch's, of all submodules: captured by torch.compile, it would look like a forward that asks."""
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


def _redirect_method(original: Any, name: str, in_python: Any) -> Any:
    """A method whose calls are redirected where no forward runs, whose affair they would be."""

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if active.module is not None or name not in self._actsearch_calls.methods:
            return original(self, *args, **kwargs)
        return in_python(original, self, args, kwargs, method=name)

    return method


def run_redirected(
    function: Any, module: Any, args: Any, kwargs: Any, compiled: bool = False, method: str = ""
) -> Any:
    """Run a forward, or a method, with its calls redirected.

    Raises:
        PlacementError: torch.compile broke the graph in it, and forgot behind that what redirects the calls.
    """
    table: CallTable = module._actsearch_calls
    with Activating(module):
        if not table.by_place and not table.is_guarded:
            return function(module, *args, **kwargs)
        redirect = _RedirectMode(module, method)
        tracer = None if compiled else _find_tracer((args, kwargs))
        with redirect:
            if tracer is None:
                result = function(module, *args, **kwargs)
            else:
                with _redirect_proxy_methods(redirect, tracer):
                    result = function(module, *args, **kwargs)
    if compiled and redirect.count != len(table.in_order):
        raise PlacementError(
            f"torch.compile breaks the graph inside of the forward of {type(module).__name__}, where the activations "
            "that it calls are lost: hold them as modules, or keep it from being compiled with torch.compiler.disable"
        )
    return result


def _find_tracer(value: Any) -> Any:
    """The tracer of torch.fx whose proxies stand among arguments; None if there are none."""
    if isinstance(value, fx.Proxy):
        return value.tracer
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((tracer for item in value if (tracer := _find_tracer(item)) is not None), None)
    return None


def _redirect_proxy_methods(
    redirect: _RedirectMode, tracer: Any
) -> contextlib.AbstractContextManager[None]:
    """Redirect methods of proxies, which reach no mode, where a tracer of torch.fx makes nodes of them."""
    create = tracer.create_proxy

    def create_proxy(
        kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any
    ) -> Any:
        function = None
        if kind == "call_method":
            function = getattr(Tensor, target, None)
        elif kind == "call_function" and getattr(target, "__module__", "") == "_operator":
            function = target  # of torch's own functions the mode is told
        if function is not None and (answer := redirect.answer(function)) is not None:
            return redirect.give(answer, function, args, kwargs)
        return create(kind, target, args, kwargs, *more, **named)

    return replace_attributes([(tracer, "create_proxy", create_proxy)])
