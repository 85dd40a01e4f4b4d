"""What ran of a model: its activation modules, and the calls of activation functions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules import activation as torch_activations

from actsearch.placement.call_site import (
    CallSite,
    CodePlace,
    calling_codes,
    is_torch_code,
    locate_call,
)
from actsearch.placement.known_activations import CALLS, is_activation
from actsearch.placement.script_modules import ScriptModuleProxy

if TYPE_CHECKING:
    from actsearch.placement.chains import Chain

__all__ = [
    "OUTSIDE",
    "Codes",
    "ExecutionRecorder",
    "ExecutionTrace",
    "FunctionCall",
    "Key",
    "is_known",
]

OUTSIDE = "<step>"
"""Whose calls are those that a step of the user's own makes itself."""

_NOT_THE_USERS = ("torch.", "actsearch.")  # what these modules compute inside is not redirected


@dataclass(frozen=True)
class FunctionCall:
    """A call of an activation function.

    Attributes:
        owner: path of the module whose forward makes it.
        name: of the function.
        function: what is called; for a method, the method of torch.Tensor.
        place: where in the code it stands.
        occurrence: how often the same run of the forward was there before; None for any number, in a loop over time.
    """

    owner: str
    name: str
    function: Any
    place: CodePlace
    occurrence: int | None


Key = str | FunctionCall
"""An activation that ran: the path of a module, or a call."""

Codes = tuple[CodeType, ...]
"""The functions that run, from a call up to its module's forward."""


@dataclass
class ExecutionTrace:
    """What ran.

    Attributes:
        order: activation modules by path, and calls, in the order in which they first ran.
        gates: those whose results multiply something else.
        outputs: those whose results are returned as they are.
        ends: those from whose results no way leads to a layer with weights, but to what the model returns.
        chains: activations that are several calls together, by the one in whose place something is put.
        torn: activations that are part of such a chain that cannot be replaced, and what they are part of.
        rerun: calls that the backward pass makes again, by owner and place, with the function's name.
        varying: owners that do not always make the same calls in the same order.
        executed: paths of the modules whose forward ran.
        unregistered: names of activation modules that are not attributes of anything, by path of the module that uses
            them.
        unreplaceable: functions that nothing can be put in the place of: path of the module that calls them, name, and
            where they are called, as in a hook.
        formulas: what calls compute, by key.
        mixed: paths of modules that give something returned in one place and something hidden in another.
        entries: how often each place was passed before a function first led there, by owner and the function's code.
        ran: every call that might be one of an activation.
    """

    order: list[Key] = field(default_factory=list)
    gates: set[Key] = field(default_factory=set)
    outputs: set[Key] = field(default_factory=set)
    ends: set[Key] = field(default_factory=set)
    chains: dict[Key, Chain] = field(default_factory=dict)
    torn: dict[Key, str] = field(default_factory=dict)
    formulas: dict[Key, str] = field(default_factory=dict)
    rerun: dict[tuple[str, CodePlace], str] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    executed: set[str] = field(default_factory=set)
    unregistered: dict[str, str] = field(default_factory=dict)
    unreplaceable: dict[tuple[str, str, str], None] = field(default_factory=dict)
    mixed: set[str] = field(default_factory=set)
    entries: dict[tuple[str, CodeType], dict[CodePlace, int]] = field(default_factory=dict)
    ran: set[Key] = field(default_factory=set)

    def calls_by_owner(self) -> dict[str, list[FunctionCall]]:
        """The calls of each module's forward, in order."""
        by_owner: dict[str, list[FunctionCall]] = {}
        for key in self.order:
            if isinstance(key, FunctionCall):
                by_owner.setdefault(key.owner, []).append(key)
        return by_owner

    def merge(self, other: ExecutionTrace) -> ExecutionTrace:
        """What ran in either of two runs."""
        rerun = self.rerun | other.rerun
        chains, torn = self._merge_chains(other)
        first, second = (other, self) if set(self.order) <= set(other.order) else (self, other)
        order = [
            key
            for key in dict.fromkeys([*first.order, *second.order])
            if not isinstance(key, FunctionCall)
            or ((key.owner, key.place) not in rerun and (key in chains or is_known(key)))
        ]
        one, two = self.calls_by_owner(), other.calls_by_owner()
        differing = {owner for owner in one | two if one.get(owner) != two.get(owner)}
        return ExecutionTrace(
            order,
            self.gates | other.gates,
            self.outputs | other.outputs,
            self.ends | other.ends,
            chains,
            torn,
            other.formulas | self.formulas,
            rerun,
            self.varying | other.varying | differing,
            self.executed | other.executed,
            self.unregistered | other.unregistered,
            self.unreplaceable | other.unreplaceable,
            self.mixed | other.mixed,
            {
                key: other.entries.get(key, {}) | self.entries.get(key, {})
                for key in self.entries | other.entries
            },
        )

    def _merge_chains(self, other: ExecutionTrace) -> tuple[dict[Key, Chain], dict[Key, str]]:
        """The chains of either run; one whose calls ran in both is a chain in both, or is torn."""
        chains = other.chains | self.chains
        torn = other.torn | self.torn
        for carrier in list(chains):
            one, two = self.chains.get(carrier), other.chains.get(carrier)
            same = one and two and one.signature == two.signature
            ran = [trace.ran & chains[carrier].members for trace in (self, other)]
            if not same and all(ran):
                chain = chains.pop(carrier)
                known = [key for key in chain.members if is_known(key)]
                if len(known) > 1 or not chain.is_in_a_row:
                    why = "several calls that differ between training and evaluation"
                    torn |= dict.fromkeys(known, why)
        return chains, torn


def is_known(key: Key) -> bool:
    """Whether a module or call is an activation by itself, wherever it stands."""
    return isinstance(key, str) or key.name in CALLS.values()


@dataclass
class _ForwardRun:
    """One run of a module's forward.

    Attributes:
        path: of the module.
        codes: of the functions that called it, up to the forward that did.
        has_begun: whether the forward was called yet; hooks come before.
        layer: the last submodule with weights that it used.
        weight: the last weight of its own that it used.
        feeders: what fed each place of a call, once for each time it was passed: a layer, else a weight, else "".
    """

    path: str
    codes: Codes = ()
    has_begun: bool = False
    layer: str = ""
    weight: str = ""
    feeders: dict[CodePlace, list[str]] = field(default_factory=dict)


class ExecutionRecorder:
    """Collects what runs, as a tracer tells it when modules begin and end.

    Attributes:
        trace: what ran so far.
        notes_outside: whether calls outside of every forward are worth a note; a step of the user's own makes some.
    """

    def __init__(self, model: nn.Module, prefix: str = "") -> None:
        """Args:
        model: that is traced.
        prefix: path of the model in a larger one, for the paths of the trace; the tracer gives paths inside of it.
        """
        self._prefix = prefix
        self._modules = dict(model.named_modules(prefix=prefix))
        self._paths = {module: path for path, module in self._modules.items()}
        self._activations = {
            path for path, m in self._modules.items() if m is not model and is_activation(m)
        }
        self._closed = self._activations | {
            path for path, m in self._modules.items() if isinstance(m, ScriptModuleProxy)
        }
        self._weighty = {
            path
            for path, module in self._modules.items()
            if next(module.parameters(), None) is not None and path not in self._activations
        }
        self.trace = ExecutionTrace(executed={""})
        self.notes_outside = True
        self._loops: set[tuple[str, CodePlace]] = set()
        self._stack: list[_ForwardRun] = []

    def _full(self, path: str) -> str:
        return f"{self._prefix}.{path}".strip(".") if self._prefix else path

    def is_activation(self, path: str) -> bool:
        """Whether an activation stands at a path."""
        return self._full(path) in self._activations

    def enter(self, path: str) -> None:
        """A module begins."""
        path = self._full(path)
        if self._stack and path in self._weighty:
            self._stack[-1].layer = path
        self._stack.append(_ForwardRun(path, calling_codes()))
        self.trace.executed.add(path)

    def begin(self, path: str) -> bool:
        """Whether a call of a module's forward is the one that was entered; no if it was called without its module."""
        run = self._stack[-1] if self._stack else None
        if run is None or run.path != self._full(path) or run.has_begun:
            return False
        run.has_begun = True
        return True

    def begin_method(self, path: str) -> None:
        """A method was entered in the place of a forward, which may not make the same calls."""
        self._stack[-1].has_begun = True
        self.trace.varying.add(self._full(path))

    @property
    def is_inside(self) -> bool:
        """Whether a forward runs, or a method in its place."""
        return bool(self._stack)

    def leave(self) -> Codes:
        """A module ends; the code that called it.

        A place that one layer feeds again and again stands in a loop over time.
        """
        run = self._stack.pop()
        for place, feeders in run.feeders.items():
            if any(feeders) and len(set(feeders)) < len(feeders):
                self._loops.add((run.path, place))
        return run.codes

    def use_weight(self, name: str) -> None:
        """The module that runs uses a weight of its own."""
        if self._stack:
            self._stack[-1].weight = name

    def module_key(self, path: str) -> Key:
        """An activation module ran."""
        return self._add(self._full(path))

    def call_key(self, name: str, function: Any) -> tuple[Key | None, Codes]:
        """A call of an activation function by the module that runs, and the code that makes it.

        None if it stays as it is: one of an activation module or of torch itself.
        """
        site = locate_call(name)
        if site.hook_owner is not None:
            hooked = self._paths.get(site.hook_owner, self._prefix)
            self.trace.unreplaceable[hooked, name, "in a forward hook"] = None
            self.trace.varying |= {run.path for run in self._stack}
            return None, ()
        if not self._stack:
            if self.notes_outside:
                self.trace.unreplaceable[self._prefix, name, "outside of forward"] = None
            return None, ()
        run, place = self._stack[-1], site.place
        if run.path in self._activations:
            return None, ()
        if is_torch_code(place.file):
            if place.file == torch_activations.__file__:  # nn.ReLU() made and called in a forward
                self.trace.unregistered[run.path] = name
            return None, ()
        if site.is_rerun:
            self.trace.rerun[run.path, place] = name
            return None, ()
        return self._add(self._call(run, site, name, function)), site.codes

    def other_key(self, name: str, function: Any) -> tuple[Key | None, Codes]:
        """Likewise of a call that may be part of an activation, as a product; it is none by itself."""
        run = self._stack[-1] if self._stack else None
        if run is None or run.path in self._activations:
            return None, ()
        site = locate_call(name)
        if site.hook_owner is not None or site.is_rerun or is_torch_code(site.place.file):
            return None, site.codes
        return self._call(run, site, name, function), site.codes

    def _call(self, run: _ForwardRun, site: CallSite, name: str, function: Any) -> FunctionCall:
        """A call with how often its place was passed before."""
        feeders = run.feeders.setdefault(site.place, [])
        feeders.append(run.layer or run.weight)
        occurrence = len(feeders) - 1
        for code in site.codes:
            self.trace.entries.setdefault((run.path, code), {}).setdefault(site.place, occurrence)
        return FunctionCall(run.path, name, function, site.place, occurrence)

    @property
    def owner(self) -> str:
        """Path of the module whose forward runs; OUTSIDE in a step of the user's own."""
        if not self._stack and not self.notes_outside:
            return OUTSIDE
        return self._stack[-1].path if self._stack else self._prefix

    @property
    def codes(self) -> Codes:
        """The functions that called the module whose forward runs."""
        return self._stack[-1].codes if self._stack else ()

    @property
    def is_closed(self) -> bool:
        """Whether an activation runs, or what torch.jit compiled, whose calls are their own business."""
        return any(run.path in self._closed for run in self._stack)

    def record_kernel(self, name: str) -> None:
        """What is computed with no call of a function, unless in a module of torch, ours, or an activation."""
        path = self._stack[-1].path if self._stack else self._prefix
        owner = type(self._modules[path]).__module__
        if path not in self._activations and not owner.startswith(_NOT_THE_USERS):
            where = "beneath Python, by torch.ops or in code that torch.jit compiled"
            self.trace.unreplaceable[path, name, where] = None

    def _add(self, key: Key) -> Key:
        if key not in self.trace.order:
            self.trace.order.append(key)
        return key

    def merge_passes(self, key: Key) -> Key:
        """A call in a loop over time stands for every time."""
        if isinstance(key, FunctionCall) and (key.owner, key.place) in self._loops:
            return replace(key, occurrence=None)
        return key

    def result(self) -> ExecutionTrace:
        """What ran, the passes of a loop over time as one call."""
        trace = self.trace
        return replace(
            trace,
            order=list(dict.fromkeys(self.merge_passes(key) for key in trace.order)),
            varying=trace.varying | {path for path, _ in [*self._loops, *trace.rerun]},
        )
