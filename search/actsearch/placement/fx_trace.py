"""Which activations a model's forward runs, by a symbolic trace of torch.fx, which needs no data."""

from __future__ import annotations

import inspect
import os
import threading
import traceback
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from actsearch.placement.execution import ExecutionRecorder, ExecutionTrace, Key
from actsearch.placement.forwards import wrap_forwards
from actsearch.placement.known_activations import (
    METHODS,
    MULTIPLYING,
    PASSING,
    PASSING_MODULES,
    SHIFTING,
    kernel_name,
    known_name,
)
from actsearch.placement.script_modules import ScriptModuleProxy
from actsearch.seeds import global_streams

__all__ = ["Untraceable", "trace_symbolically"]

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


class Untraceable(Exception):
    """A model that torch.fx cannot trace; the text says why."""


def trace_symbolically(model: nn.Module, training: bool = False) -> ExecutionTrace:
    """Trace a model, all of whose activations are submodules or calls; it is left in the mode that was asked for.

    Of what spreads batches over devices, the module inside is traced: its own forward depends on the devices.

    Raises:
        Untraceable: torch.fx cannot trace it, as for control flow that depends on data.
    """
    prefix = "module" if isinstance(model, _WRAPPERS) else ""
    inner: nn.Module = model.module if isinstance(model, _WRAPPERS) else model
    tracer = _Tracer(inner.train(training), prefix)
    defaults = {
        name: item.default
        for name, item in inspect.signature(inner.forward).parameters.items()
        if item.default is not item.empty
    }
    # while it traces, torch.fx replaces nn.Module.__call__ for every thread: no training may run
    with global_streams:
        try:
            with wrap_forwards(inner, tracer.wrap):
                graph = tracer.trace(inner, concrete_args=defaults or None)
        except Exception as error:  # whatever the model's own code raises when it is given a proxy
            raise Untraceable(f"torch.fx cannot trace this model{_cause(error)}") from error
    for node in graph.nodes:
        if (key := tracer.node_keys.get(node)) is not None:
            _follow_result(node, key, tracer.recorder.trace, inner)
    tracer.recorder.leave()
    return tracer.recorder.result()


def _cause(error: Exception) -> str:
    """What a user may understand of an error in a trace: what torch.fx says of their code, or what that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = frames[-1].filename.startswith(os.path.dirname(torch.__file__))
    if inside and not isinstance(error, (fx.proxy.TraceError, NameError, NotImplementedError)):
        return ""
    return f" ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


class _Tracer(fx.Tracer):
    """Activation modules are leaves; calls are recorded with their places."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        super().__init__()
        self.recorder = ExecutionRecorder(model, prefix)
        self.recorder.enter("")  # torch.fx calls the forward of the model without the model
        self.recorder.begin("")
        self.node_keys: dict[fx.Node, Key] = {}
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self.recorder.is_activation(module_qualified_name) or isinstance(m, ScriptModuleProxy):
            return True
        if parametrize.is_parametrized(m):  # its class is made by torch, outside of torch.nn
            return type(m).__mro__[1].__module__.startswith("torch.nn.modules")
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:  # a module of another thread, see above
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

    def wrap(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that counts as a call of its module also when it is called without it."""

        def trace_forward(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begin(path):
                return forward(*args, **kwargs)
            return self.call_module(module, trace_forward, args, kwargs)

        return trace_forward

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        key = None
        if kind == "call_module" and self.recorder.is_activation(target):
            key = self.recorder.module_key(target)
        elif kind == "call_function" and (name := known_name(target)):
            key = self.recorder.call_key(name, target)
        elif kind == "call_method" and target in METHODS:
            key = self.recorder.call_key(METHODS[target], getattr(Tensor, target))
        elif kind == "call_function" and (name := kernel_name(target)):
            self.recorder.record_kernel(name)
        elif kind == "get_attr":
            self.recorder.use_weight(str(target))
        if key is not None:
            self.node_keys[node] = key
        return node


def _follow_result(node: fx.Node, key: Key, trace: ExecutionTrace, model: nn.Module) -> None:
    """Find out where a result goes, through what keeps its numbers."""
    for user in node.users:
        target: Any = user.target
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        others = [other for other in user.all_input_nodes if other is not node]
        constant = all(_is_constant(other, model) for other in others)
        if user.op == "output":
            trace.outputs.add(key)
        elif hasattr(target, "__dataclass_fields__"):  # a result with names, as transformers has
            _follow_result(user, key, trace, model)
        elif user.op == "call_module":
            if isinstance(model.get_submodule(name), PASSING_MODULES):
                _follow_result(user, key, trace, model)
        elif name in PASSING or (name in MULTIPLYING | SHIFTING and constant):
            _follow_result(user, key, trace, model)
        elif name in MULTIPLYING:
            trace.gates.add(key)


def _is_constant(node: fx.Node, model: nn.Module) -> bool:
    """Whether a node is a buffer, no parameter and nothing computed."""
    if node.op != "get_attr":
        return False
    owner, _, name = str(node.target).rpartition(".")
    return not isinstance(getattr(model.get_submodule(owner), name, None), nn.Parameter)
