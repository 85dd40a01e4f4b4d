"""Which activations a model's forward runs: by torch.fx, or by watching a run on a sample.

Both also follow what becomes of each activation's result: one that multiplies something else opens a gate, one that is
returned is an output. A forward may call more in training than in evaluation: it is watched in either mode, and what
was seen in both is joined.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules import activation as torch_activations
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from actsearch.errors import PlacementError
from actsearch.placement.frames import Place, is_torch_s, standing
from actsearch.placement.known import (
    CALLS,
    METHODS,
    PASSING_MODULES,
    is_activation,
    name_of,
)
from actsearch.placement.probe import observed, tensors
from actsearch.placement.redirect import Calls
from actsearch.placement.scripted import Compiled
from actsearch.placement.seen import Call, Key, Seen

__all__ = ["Untraceable", "seen_in_run", "seen_in_trace"]

_ACTIVATIONS = torch_activations.__file__
_PASSING = frozenset(
    "view reshape flatten unflatten unsqueeze squeeze expand expand_as permute transpose t contiguous to float half "
    "type_as type clone dropout dropout2d repeat masked_fill movedim swapaxes __getitem__ getitem".split()
)
_MULTIPLYING = frozenset(
    "mul mul_ multiply __mul__ __rmul__ __imul__ imul matmul __matmul__ bmm baddbmm einsum".split()
)


class Untraceable(Exception):
    """A model that torch.fx cannot trace; the text says why."""


@dataclass
class _Running:
    """One run of a module's forward.

    Attributes:
        path: of the module.
        layer: the last submodule with weights that it used.
        weight: the last weight of its own that it used.
        passed: what fed each place of a call, once for each time it was passed.
    """

    path: str
    layer: str = ""
    weight: str = ""
    passed: dict[Place, list[str]] = field(default_factory=dict)

    @property
    def feeder(self) -> str:
        """What comes before a call, as far as it is known."""
        return self.layer or self.weight


class _Recorder:
    """Collects what runs; who watches tells it when modules begin and end."""

    def __init__(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        self.activations = {
            path for path, module in modules.items() if path and is_activation(module)
        }
        self._weighty = {
            path
            for path, module in modules.items()
            if next(module.parameters(), None) is not None and path not in self.activations
        }
        self._modules = modules
        self._paths = {module: path for path, module in modules.items()}
        self._varying: set[str] = set()
        self.seen = Seen()
        self._loops: set[tuple[str, Place]] = set()
        self._stack: list[_Running] = []

    def enter(self, path: str) -> None:
        if self._stack and path in self._weighty:
            self._stack[-1].layer = path
        self._stack.append(_Running(path))
        self.seen.ran.add(path)

    def leave(self) -> None:
        """A place that one layer feeds again and again stands in a loop over time."""
        running = self._stack.pop()
        for place, feeders in running.passed.items():
            if any(feeders) and len(set(feeders)) < len(feeders):
                self._loops.add((running.path, place))

    def weight(self, name: str) -> None:
        if self._stack:
            self._stack[-1].weight = name

    def module(self, path: str) -> Key:
        return self._add(path)

    def call(self, name: str, function: Any) -> Key | None:
        """A call by the module that runs; None if it stays as it is: one of an activation module or of torch itself."""
        here = standing(name)
        if here.hook is not None:
            self.seen.hooked[self._paths.get(here.hook, ""), name] = None
            self._varying |= {running.path for running in self._stack}
            return None
        if not self._stack:  # by who calls the model
            return None
        running, place = self._stack[-1], here.place
        if running.path in self.activations:
            return None
        if is_torch_s(place):
            if place[1] == _ACTIVATIONS:
                self.seen.loose[running.path] = name
            return None
        if here.repeated:
            self.seen.repeated[running.path, place] = name
            return None
        feeders = running.passed.setdefault(place, [])
        feeders.append(running.feeder)
        passed = len(feeders) - 1
        for code in here.through:
            self.seen.through.setdefault((running.path, code), {}).setdefault(place, passed)
        led: Calls | None = vars(self._modules[running.path]).get("_actsearch_calls")
        if led is not None and (site := led.answering(place, passed)) is not None:
            # torch.fx calls methods itself
            return self.module(f"{running.path}.{site}".lstrip(".")) if site else None
        return self._add(Call(running.path, name, function, place, passed))

    def _add(self, key: Key) -> Key:
        if key not in self.seen.order:
            self.seen.order.append(key)
        return key

    def result(self) -> Seen:
        """What ran, the passes of a loop over time as one call."""

        def merged(key: Key) -> Key:
            if isinstance(key, Call) and (key.owner, key.place) in self._loops:
                return Call(key.owner, key.name, key.function, key.place, None)
            return key

        return Seen(
            list(dict.fromkeys(merged(key) for key in self.seen.order)),
            {merged(key) for key in self.seen.gates},
            {merged(key) for key in self.seen.outputs},
            self.seen.repeated,
            self._varying | {path for path, _ in [*self._loops, *self.seen.repeated]},
            self.seen.ran,
            self.seen.loose,
            self.seen.hooked,
            self.seen.through,
        )


def seen_in_trace(model: nn.Module, training: bool = False) -> Seen:
    """By a symbolic trace, which needs no data.

    Args:
        model: all of whose activations are submodules or calls; it is left in the mode that was asked for.
        training: in which mode.

    Raises:
        Untraceable: torch.fx cannot trace it, as for control flow that depends on data.
    """
    tracer = _Tracer(model.train(training))
    given = {
        name: item.default
        for name, item in inspect.signature(model.forward).parameters.items()
        if item.default is not item.empty
    }
    try:
        graph = tracer.trace(model, concrete_args=given or None)
    except Exception as error:  # whatever the model's own code raises when it is given a proxy
        reason = " ".join(str(error).split())[:200]
        raise Untraceable(f"{type(error).__name__}: {reason}") from error
    for node in graph.nodes:
        if (key := tracer.found.get(node)) is not None:
            _follow(node, key, tracer.recorder.seen, model)
    tracer.recorder.leave()
    return tracer.recorder.result()


class _Tracer(fx.Tracer):
    """Activation modules are leaves; calls are recorded with their places."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.recorder = _Recorder(model)
        self.recorder.enter("")
        self.found: dict[fx.Node, Key] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.recorder.activations or isinstance(m, Compiled):
            return True
        if parametrize.is_parametrized(m):  # whose class torch makes, in a module of its own
            return type(m).__mro__[1].__module__.startswith("torch.nn.modules")
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        self.recorder.enter(path)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.recorder.leave()

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        key = None
        if kind == "call_module" and target in self.recorder.activations:
            key = self.recorder.module(target)
        elif kind == "call_function" and (name := name_of(target)):
            key = self.recorder.call(name, target)
        elif kind == "call_method" and target in METHODS:
            key = self.recorder.call(METHODS[target], getattr(Tensor, target))
        elif kind == "get_attr":
            self.recorder.weight(str(target))
        if key is not None:
            self.found[node] = key
        return node


def _follow(node: fx.Node, key: Key, seen: Seen, model: nn.Module) -> None:
    """Where a result goes, through what keeps its numbers."""
    for user in node.users:
        target: Any = user.target
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        if user.op == "output":
            seen.outputs.add(key)
        elif user.op == "call_module":
            if isinstance(model.get_submodule(name), PASSING_MODULES):
                _follow(user, key, seen, model)
        elif name in _MULTIPLYING and len(user.all_input_nodes) > 1:
            seen.gates.add(key)
        elif name in _PASSING:
            _follow(user, key, seen, model)


def seen_in_run(model: nn.Module, sample: Any, training: bool = False) -> Seen:
    """By running the model on a sample, without gradients.

    Raises:
        PlacementError: if it does not run.
    """
    watch = _Watch(_Recorder(model))
    hooks = [
        hook
        for path, module in model.named_modules()
        for hook in (
            module.register_forward_pre_hook(watch.enter(path)),
            module.register_forward_hook(watch.leave(path), always_call=True),
        )
    ]
    try:
        with watch:
            result = observed(model, sample, training)
    except Exception as error:
        raise PlacementError(
            f"the model does not run on the sample input: {type(error).__name__}: {error}; "
            "give a sample as the model's forward takes it"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in tensors(result):
        if (key := watch.key(tensor)) is not None:
            watch.recorder.seen.outputs.add(key)
    return watch.recorder.result()


class _Watch(TorchFunctionMode):
    """Sees every call of a torch function; hooks tell whose forward makes it."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self._results: dict[
            int, tuple[Tensor, Key]
        ] = {}  # by id, with the tensor so that it stays

    def enter(self, path: str) -> Any:
        return lambda module, args: self.recorder.enter(path)

    def leave(self, path: str) -> Any:
        def hook(module: nn.Module, args: Any, result: Any) -> None:
            self.recorder.leave()
            if path in self.recorder.activations:
                self._remember(result, self.recorder.module(path))

        return hook

    def key(self, value: Any) -> Key | None:
        """The activation whose result a tensor is."""
        found = self._results.get(id(value))
        return found[1] if found is not None and found[0] is value else None

    def _remember(self, value: Any, key: Key | None) -> None:
        if key is not None and isinstance(value, Tensor):
            self._results[id(value)] = (value, key)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        key = None
        if name := CALLS.get(func):
            key = self.recorder.call(name, func)
        elif weights := [str(id(item)) for item in args if isinstance(item, nn.Parameter)]:
            self.recorder.weight(weights[-1])
        result = func(*args, **(kwargs or {}))
        if key is not None:
            self._remember(result, key)
            return result
        name = getattr(func, "__name__", "")
        if name in _PASSING and args:
            self._remember(result, self.key(args[0]))
        elif name in _MULTIPLYING:
            factors = list(tensors(args))
            if len({id(factor) for factor in factors}) > 1:
                self.recorder.seen.gates |= {
                    found for factor in factors if (found := self.key(factor)) is not None
                }
        return result
