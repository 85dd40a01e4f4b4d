"""Which activations a model's forward runs: by torch.fx, or by watching a run on a sample.

Both also follow what becomes of each activation's result: one that multiplies something else opens a gate, one that is
returned is an output. A forward may call more in training than in evaluation: it is watched in either mode, and what
was seen in both is joined.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import threading
import traceback
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from actsearch.errors import StudyError
from actsearch.placement.forwards import forwards
from actsearch.placement.kernels import Kernels, kernel_name
from actsearch.placement.known_activations import (
    CALLS,
    METHODS,
    PASSING_MODULES,
    name_of,
)
from actsearch.placement.probe import run, sample_run_error, tensors, with_gradients_if_asked
from actsearch.placement.recorder import Recorder
from actsearch.placement.script_modules import ScriptModuleProxy
from actsearch.placement.seen import Key, Seen
from actsearch.seeds import global_streams

__all__ = ["Untraceable", "seen_in_run", "seen_in_trace"]

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_PASSING = frozenset(
    "view reshape flatten unflatten unsqueeze squeeze expand expand_as permute transpose t contiguous to float half "
    "type_as type clone dropout dropout2d repeat masked_fill movedim swapaxes __getitem__ getitem".split()
)
_SHIFTING = frozenset(
    "add add_ __add__ __radd__ __iadd__ iadd sub sub_ rsub __sub__ __rsub__ __isub__ isub neg __neg__ div truediv "
    "__truediv__ true_divide".split()
)
_MULTIPLYING = frozenset(
    "mul mul_ multiply __mul__ __rmul__ __imul__ imul matmul __matmul__ bmm baddbmm einsum".split()
)


class Untraceable(Exception):
    """A model that torch.fx cannot trace; the text says why."""


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
    with (
        global_streams
    ):  # while it traces, torch.fx changes what every thread's modules call: no training may run
        try:
            with forwards(model, tracer.around):
                graph = tracer.trace(model, concrete_args=given or None)
        except Exception as error:  # whatever the model's own code raises when it is given a proxy
            raise Untraceable(f"torch.fx cannot trace this model{_because(error)}") from error
    for node in graph.nodes:
        if (key := tracer.found.get(node)) is not None:
            _follow(node, key, tracer.recorder.seen, model)
    tracer.recorder.leave()
    return tracer.recorder.result()


def _because(error: Exception) -> str:
    """What a user may understand of an error in a trace: what torch.fx says of their code, or what that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = frames[-1].filename.startswith(os.path.dirname(torch.__file__))
    if inside and not isinstance(error, (fx.proxy.TraceError, NameError, NotImplementedError)):
        return ""
    return f" ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


class _Tracer(fx.Tracer):
    """Activation modules are leaves; calls are recorded with their places."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.recorder = Recorder(model)
        self.recorder.enter("")
        self.recorder.begins("")
        self.found: dict[fx.Node, Key] = {}
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.recorder.activations or isinstance(m, ScriptModuleProxy):
            return True
        if parametrize.is_parametrized(m):  # whose class torch makes, in a module of its own
            return type(m).__mro__[1].__module__.startswith("torch.nn.modules")
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if (
            threading.get_ident() != self._thread
        ):  # torch.fx changes what modules of every thread call
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        inner = m.module if isinstance(m, _WRAPPERS) else getattr(m, "_orig_mod", None)
        self.recorder.enter(path)
        try:
            if inner is not None:
                return inner(*args, **kwargs)
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.recorder.leave()

    def around(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that is a call of its module also when it is called without it."""

        def traced(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begins(path):
                return forward(*args, **kwargs)
            return self.call_module(module, traced, args, kwargs)

        return traced

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        key = None
        if kind == "call_module" and target in self.recorder.activations:
            key = self.recorder.module(target)
        elif kind == "call_function" and (name := name_of(target)):
            key = self.recorder.call(name, target)
        elif kind == "call_method" and target in METHODS:
            key = self.recorder.call(METHODS[target], getattr(Tensor, target))
        elif kind == "call_function" and (name := kernel_name(target)):
            self.recorder.kernel(name)
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
        others = [other for other in user.all_input_nodes if other is not node]
        constant = all(_is_constant(other, model) for other in others)
        if user.op == "output":
            seen.outputs.add(key)
        elif hasattr(target, "__dataclass_fields__"):  # a result with names
            _follow(user, key, seen, model)
        elif user.op == "call_module":
            if isinstance(model.get_submodule(name), PASSING_MODULES):
                _follow(user, key, seen, model)
        elif name in _PASSING or (name in _MULTIPLYING | _SHIFTING and constant):
            _follow(user, key, seen, model)
        elif name in _MULTIPLYING:
            seen.gates.add(key)


def _is_constant(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node is a buffer, no parameter and nothing computed."""
    if node.op != "get_attr":
        return False
    owner, _, name = str(node.target).rpartition(".")
    return not isinstance(getattr(model.get_submodule(owner), name, None), nn.Parameter)


def seen_in_run(model: nn.Module, sample: Any, training: bool = False) -> Seen:
    """By running the model on a sample, without gradients unless it asks for them.

    Raises:
        PlacementError: if it does not run.
    """
    try:
        return with_gradients_if_asked(
            lambda gradients: _watched(model, sample, training, gradients)
        )
    except StudyError:  # another thread keeps the random streams: nothing is wrong with the model
        raise
    except Exception as error:
        raise sample_run_error(error) from error


def _watched(model: nn.Module, sample: Any, training: bool, gradients: bool) -> Seen:
    watch = _Watch(Recorder(model), model)
    # what a backward pass computes is nobody's activation
    kernels = contextlib.nullcontext() if gradients else Kernels(watch.kernel)
    hooks = [
        hook
        for path, module in model.named_modules()
        for hook in (
            module.register_forward_pre_hook(watch.enter(path)),
            module.register_forward_hook(watch.leave(path), always_call=True),
        )
    ]
    try:
        with forwards(model, watch.around), kernels, watch:
            result = run(model, sample, training, gradients)
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in tensors(result):
        if (key := watch.key(tensor)) is not None:
            watch.recorder.seen.outputs.add(key)
    return watch.recorder.result()


class _Watch(TorchFunctionMode):
    """Sees every call of a torch function; hooks tell whose forward makes it."""

    def __init__(self, recorder: Recorder, model: nn.Module) -> None:
        super().__init__()
        self.recorder = recorder
        self._buffers = {id(buffer) for buffer in model.buffers()}
        self._calling = False
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

    def around(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that is watched also when it is called without its module, whose hooks then do not run."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begins(path):
                return forward(*args, **kwargs)
            self.recorder.enter(path)
            self.recorder.begins(path)
            result = None
            try:
                result = forward(*args, **kwargs)
            finally:
                self.leave(path)(module, args, result)
            return result

        return watched

    def kernel(self, name: str) -> None:
        """An activation is computed; by whom is known if a function of Python was called for it."""
        if not self._calling:
            self.recorder.kernel(name)

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
        self._calling = name is not None
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._calling = False
        if key is not None:
            self._remember(result, key)
            return result
        name = getattr(func, "__name__", "")
        if name in _PASSING and args:
            self._remember(result, self.key(args[0]))
        elif name in _MULTIPLYING or name in _SHIFTING:
            self._combine(name, result, args)
        return result

    def _combine(self, name: str, result: Any, args: tuple[Any, ...]) -> None:
        """What multiplies something else opens a gate; numbers and buffers of the model are nothing else."""
        parts = {id(part): part for part in tensors(args) if id(part) not in self._buffers}
        keys = [found for part in parts.values() if (found := self.key(part)) is not None]
        if len(parts) == 1 and keys:
            self._remember(result, keys[0])
        elif name in _MULTIPLYING:
            self.recorder.seen.gates.update(keys)
