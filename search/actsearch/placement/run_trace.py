"""Which activations a model's forward runs, by watching it run on a sample."""

from __future__ import annotations

import contextlib
import types as python_types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from actsearch.placement.dataflow import (
    Dataflow,
    Value,
    fill,
    goes_into_layer,
    place_name,
    setitem_,
)
from actsearch.placement.elementwise import may_be_part
from actsearch.placement.execution import Codes, ExecutionRecorder, ExecutionTrace, Key
from actsearch.placement.flow_roles import note_flow
from actsearch.placement.forwards import wrap_forwards, wrap_methods
from actsearch.placement.known_activations import CALLS, kernel_name
from actsearch.placement.model_run import (
    StepCall,
    explain_run_errors,
    run_model,
    tensors,
    try_without_gradients,
)
from actsearch.placement.random_streams import isolated_random
from actsearch.placement.script_modules import ScriptModuleProxy, has_weights
from actsearch.placement.site_formula import POINTS, formula_of_steps
from actsearch.placement.site_trace import version_of

__all__ = ["formula_of_module", "trace_run"]

# what they compute is nobody's activation
_BACKWARD = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)


def trace_run(model: nn.Module, sample: Any, training: bool = False) -> ExecutionTrace:
    """Run a model on a sample and watch it, without gradients unless it asks for them.

    Raises:
        PlacementError: if it does not run.
    """
    with explain_run_errors():
        watcher = try_without_gradients(
            lambda gradients: _watch_run(model, sample, training, gradients)
        )
    trace = watcher.recorder.result()
    with isolated_random(0):
        note_flow(watcher.flow, trace, watcher.recorder.merge_passes)
    return trace


def _watch_run(model: nn.Module, sample: Any, training: bool, gradients: bool) -> _Watcher:
    watcher = _Watcher(ExecutionRecorder(model), model)
    watcher.recorder.notes_outside = not isinstance(sample, StepCall)
    # what a backward pass computes is nobody's activation
    kernels = contextlib.nullcontext() if gradients else _KernelMode(watcher.record_kernel)
    with contextlib.ExitStack() as stack:
        for path, module in model.named_modules():
            enter, leave = watcher.enter_hook(path), watcher.leave_hook(path)
            stack.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True))
            stack.enter_context(module.register_forward_hook(leave, always_call=True))
        stack.enter_context(wrap_forwards(model, watcher.wrap))
        if isinstance(sample, StepCall):
            stack.enter_context(wrap_methods(model, watcher.wrap_method))
        with kernels, watcher:
            result = run_model(model, sample, training, gradients)
    returned = [watcher.value(tensor) for tensor in tensors(result)]
    if isinstance(sample, StepCall):  # what one part of the model gives to another is no result
        returned = [value for value in returned if not goes_into_layer([value])]
    watcher.flow.results.update(returned)
    return watcher


def formula_of_module(module: nn.Module) -> str:
    """The formula that an activation module computes; empty where the language has none."""
    watcher = _Watcher(ExecutionRecorder(module), module)
    x = POINTS.float()
    start = watcher.value(x)
    try:
        with warnings.catch_warnings(), torch.no_grad(), watcher:
            warnings.simplefilter("ignore")  # its model may never give it such an input
            end = watcher.value(module.forward(x))
    except Exception:
        return ""
    if end.kind != "data":
        return ""
    return formula_of_steps(watcher.flow.steps, start, end, module.forward)


class _KernelMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells which activation functions are computed, also beneath Python's functions of torch."""

    def __init__(self, record: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if name := kernel_name(func):
            self._record(name)
        return func(*args, **(kwargs or {}))


class _Watcher(TorchFunctionMode):
    """Sees every call of a torch function; hooks tell whose forward makes it.

    Attributes:
        recorder: of the activations that run.
        flow: what is computed from what.
    """

    def __init__(self, recorder: ExecutionRecorder, model: nn.Module) -> None:
        super().__init__()
        self.recorder = recorder
        self.flow = Dataflow()
        held = [value for module in model.modules() for value in vars(module).values()]
        self._constants = {
            id(item) for item in [*model.buffers(), *held] if isinstance(item, Tensor)
        }
        self._in_known_call = False
        # weak, so that a pass frees its tensors as usual: each with its value, and its version then
        self._values: Any = WeakTensorKeyDictionary()
        # by the tensor whose memory it is, what was written there last
        self._written: Any = WeakTensorKeyDictionary()
        self._entered: list[list[Tensor]] = []

    def enter_hook(self, path: str) -> Any:
        """A forward pre-hook."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.recorder.enter(path)
            self._entered.append(list(tensors((args, kwargs))))

        return hook

    def leave_hook(self, path: str) -> Any:
        """A forward hook."""

        def hook(module: nn.Module, args: Any, result: Any) -> None:
            codes = self.recorder.leave()
            given = self._entered.pop()
            if self.recorder.is_activation(path):
                if not self.recorder.is_closed:
                    key = self.recorder.module_key(path)
                    # not module.forward, which is wrapped while the pass is watched
                    forward = python_types.MethodType(type(module).forward, module)
                    self._add(forward, tuple(given), {}, result, key=key, codes=codes)
                return
            self.flow.callers.update(codes[:-1])
            is_script = isinstance(module, ScriptModuleProxy)
            unseen = [item for item in tensors(result) if is_script or item not in self._values]
            if unseen and given:  # made by no function of torch that could be seen
                layer = has_weights(module)
                self._add(module.forward, tuple(given), {}, unseen, is_layer=layer)

        return hook

    def wrap(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that is watched also when it is called without its module, whose hooks then do not run."""

        def watch_forward(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begin(path):
                return forward(*args, **kwargs)
            return self._watch(path, module, self.recorder.begin, forward, args, kwargs)

        return watch_forward

    def wrap_method(self, path: str, module: nn.Module, method: Any) -> Any:
        """A method that is watched like a forward where none runs: a step calls ``model.loss(batch)``."""

        def pass_method(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.is_inside or self.recorder.is_activation(path):
                return method(*args, **kwargs)
            return self._watch(path, module, self.recorder.begin_method, method, args, kwargs)

        return pass_method

    def _watch(
        self,
        path: str,
        module: nn.Module,
        begin: Callable[[str], Any],
        function: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        """Call a forward, or a method in its place, between the hooks of its module."""
        self.enter_hook(path)(module, args, kwargs)
        begin(path)
        result = None
        try:
            result = function(*args, **kwargs)
        finally:
            self.leave_hook(path)(module, args, result)
        return result

    def record_kernel(self, name: str) -> None:
        """An activation is computed; its caller is known if a function of Python was called for it or a gradient."""
        if not self._in_known_call:
            self.recorder.record_kernel(name)

    def value(self, tensor: Tensor) -> Value:
        """A tensor as part of the pass."""
        if (known := self._values.get(tensor)) is not None:
            value: Value = known[0]
            if known[1] == version_of(tensor) or value.kind == "weight":
                return value
            return self._merge_write(tensor, value)
        shape = None if is_lazy(tensor) else tuple(tensor.shape)
        if isinstance(tensor, nn.Parameter):
            value = Value("weight", shape=shape, tensor=tensor)
        elif id(tensor) in self._constants or not shape:
            value = Value("constant", shape=shape, tensor=tensor)
        else:
            value = Value("data", shape=shape)
        value.is_float = tensor.is_floating_point()
        self._keep(tensor, value)
        return value

    def _keep(self, tensor: Tensor, value: Value) -> None:
        self._values[tensor] = value, version_of(tensor)

    def _merge_write(self, tensor: Tensor, before: Value) -> Value:
        """The value of a tensor that was written to by way of a view of it, or by way of what it is a view of."""
        value = before
        if (written := self._written.get(_memory_of(tensor))) not in (None, before):
            value = Value("data", shape=before.shape, is_float=before.is_float)
            self.flow.add(Tensor.copy_, (before, written), {}, [value], owner=self.recorder.owner)
        self._keep(tensor, value)
        return value

    def _add(
        self, function: Any, args: tuple[Any, ...], kwargs: Any, result: Any, **details: Any
    ) -> None:
        made = list(tensors(result))
        template = fill((args, dict(kwargs or {})), Tensor, self.value)
        values = [
            Value("data", shape=tuple(t.shape), is_float=t.is_floating_point()) for t in made
        ]
        owner = self.recorder.owner
        self.flow.add(function, template[0], template[1], values, owner=owner, **details)
        for tensor, value in zip(made, values, strict=True):
            if value.kind != "data":
                value.tensor = tensor.detach()
            if version_of(tensor):
                self._written[_memory_of(tensor)] = value
            self._keep(tensor, value)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        key: Key | None = None
        codes: Codes = ()
        known = CALLS.get(func)
        if known is not None:
            key, codes = self.recorder.call_key(known, func)
        else:
            if weights := [str(id(item)) for item in args if isinstance(item, nn.Parameter)]:
                self.recorder.use_weight(weights[-1])
            if may_be_part(func):
                key, codes = self.recorder.other_key(place_name(func), func)
        self._in_known_call = known is not None or func in _BACKWARD
        # before the call, which may write over them
        given = fill((args, dict(kwargs or {})), Tensor, self.value)
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._in_known_call = False
        made = result
        if func is Tensor.__setitem__:
            func, made = setitem_, args[0]
        if not self.recorder.is_closed and next(tensors(made), None) is not None:
            self._add(func, given[0], given[1], made, key=key, codes=codes)
        return result


def _memory_of(tensor: Tensor) -> Tensor:
    """The tensor that a view is of, or itself."""
    with torch._C.DisableTorchFunction():
        base = tensor._base
    return tensor if base is None else base
