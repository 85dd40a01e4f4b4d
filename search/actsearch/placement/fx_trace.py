"""Which activations a model's forward runs, by a symbolic trace of torch.fx, which needs no data."""

from __future__ import annotations

import inspect
import os
import threading
import traceback
import types
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from actsearch.placement.dataflow import (
    Dataflow,
    Kind,
    Step,
    Value,
    call_name,
    fill,
    is_written_over,
    place_name,
    values_in,
)
from actsearch.placement.elementwise import may_be_part
from actsearch.placement.execution import Codes, ExecutionRecorder, ExecutionTrace, Key
from actsearch.placement.flow_roles import note_flow
from actsearch.placement.forwards import wrap_forwards
from actsearch.placement.known_activations import (
    PASSING,
    PASSING_MODULES,
    kernel_name,
    known_name,
)
from actsearch.placement.script_modules import ScriptModuleProxy, has_weights
from actsearch.seeds import global_streams

__all__ = ["Untraceable", "trace_symbolically"]

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
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
        if node.op == "output":
            tracer.flow.results.update(values_in(fill(node.args, fx.Node, tracer.value)))
    tracer.recorder.leave()
    trace = tracer.recorder.result()
    note_flow(tracer.flow, trace, tracer.recorder.merge_passes)
    return trace


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
        self.flow = Dataflow()
        self._model = model
        self._values: dict[fx.Node, Value] = {}
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
            codes = self.recorder.leave()
            if not self.recorder.is_activation(path):
                self.flow.callers.update(codes[:-1])

    def wrap(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that counts as a call of its module also when it is called without it."""

        def trace_forward(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begin(path):
                return forward(*args, **kwargs)
            return self.call_module(module, trace_forward, args, kwargs)

        return trace_forward

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(kind, target, *args, **kwargs)
        if kind in ("call_module", "call_function", "call_method"):
            self._add(node, target)
        elif kind == "get_attr":
            self.recorder.use_weight(str(target))
        return node

    def value(self, node: fx.Node) -> Value:
        """A node as part of the pass."""
        if node not in self._values:
            made = Value("data")
            if node.op == "get_attr":
                held = _find_attribute(self._model, str(node.target))
                if isinstance(held, Tensor):
                    kind: Kind = "weight" if isinstance(held, nn.Parameter) else "constant"
                    made = Value(kind, shape=tuple(held.shape), tensor=held)
            self._values[node] = made
        return self._values[node]

    def _add(self, node: fx.Node, target: Any) -> None:
        """A call as a step of the pass."""
        args, kwargs = fill((node.args, node.kwargs), fx.Node, self.value)
        if node.op == "call_module":
            self._add_module(node, target, args, kwargs)
            return
        function = getattr(Tensor, target, None) if node.op == "call_method" else target
        key: Key | None = None
        codes: Codes = ()
        if known := known_name(function):
            key, codes = self.recorder.call_key(known, function)
        elif may_be_part(function):
            key, codes = self.recorder.other_key(place_name(function), function)
        if kernel := kernel_name(target):
            self.recorder.record_kernel(kernel)
        made, owner = self.value(node), self.recorder.owner
        step = self.flow.add(function, args, kwargs, [made], key=key, codes=codes, owner=owner)
        if made.kind != "data":
            made.tensor = _compute(step)
        if is_written_over(function, kwargs) and node.args and isinstance(node.args[0], fx.Node):
            self._write(node.args[0], made)

    def _write(self, node: fx.Node, written: Value) -> None:
        """A node was written over; where it is a view, so was what it is a view of."""
        self._values[node] = written
        name = call_name(node.target) if callable(node.target) else str(node.target)
        base = node.args[0] if node.args else None
        if name in PASSING and isinstance(base, fx.Node):
            whole = Value("data")
            self.flow.add(Tensor.copy_, (self.value(base), written), {}, [whole])
            self._write(base, whole)

    def _add_module(self, node: fx.Node, path: str, args: Any, kwargs: Any) -> None:
        """A call of a module that is not looked into."""
        module = self._model.get_submodule(path)
        key, is_layer, name = None, has_weights(module), ""
        if self.recorder.is_activation(path):
            key, is_layer = self.recorder.module_key(path), False
        elif isinstance(module, _NORMS):
            is_layer, name = False, "batch_norm"
        elif isinstance(module, PASSING_MODULES):
            name = "flatten"
        forward = types.MethodType(
            type(module).forward, module
        )  # its own is wrapped while it is traced
        self.flow.add(
            forward, args, kwargs, [self.value(node)],
            name=name, key=key, codes=self.recorder.codes, is_layer=is_layer,
        )  # fmt: skip


def _compute(step: Step) -> Tensor | None:
    """What is made of weights and constants alone; None where that is not known."""
    try:
        with torch.no_grad():
            args, kwargs = fill(
                (step.args, step.kwargs), Value, lambda value: value.tensor.clone()
            )
            result = step.function(*args, **kwargs)
    except Exception:  # of a constant that is not known
        return None
    return result if isinstance(result, Tensor) else None


def _find_attribute(model: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    module: Any = model
    for part in filter(None, owner.split(".")):
        module = module._modules[part]
    # not by getattr, which gives a proxy while a trace runs
    held = (module._parameters, module._buffers, vars(module))
    return next((table[name] for table in held if name in table), None)
