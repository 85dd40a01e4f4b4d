"""Which activations a model's forward runs, by watching it run on a sample."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from actsearch.placement.execution import ExecutionRecorder, ExecutionTrace, Key
from actsearch.placement.forwards import wrap_forwards
from actsearch.placement.known_activations import (
    CALLS,
    MULTIPLYING,
    PASSING,
    SHIFTING,
    kernel_name,
)
from actsearch.placement.model_run import (
    explain_run_errors,
    run_model,
    tensors,
    try_without_gradients,
)

__all__ = ["trace_run"]


def trace_run(model: nn.Module, sample: Any, training: bool = False) -> ExecutionTrace:
    """Run a model on a sample and watch it, without gradients unless it asks for them.

    Raises:
        PlacementError: if it does not run.
    """
    with explain_run_errors():
        return try_without_gradients(
            lambda gradients: _watch_run(model, sample, training, gradients)
        )


def _watch_run(model: nn.Module, sample: Any, training: bool, gradients: bool) -> ExecutionTrace:
    watcher = _Watcher(ExecutionRecorder(model), model)
    # what a backward pass computes is nobody's activation
    kernels = contextlib.nullcontext() if gradients else _KernelMode(watcher.record_kernel)
    hooks = [
        hook
        for path, module in model.named_modules()
        for hook in (
            module.register_forward_pre_hook(watcher.enter_hook(path)),
            module.register_forward_hook(watcher.leave_hook(path), always_call=True),
        )
    ]
    try:
        with wrap_forwards(model, watcher.wrap), kernels, watcher:
            result = run_model(model, sample, training, gradients)
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in tensors(result):
        if (key := watcher.find_key(tensor)) is not None:
            watcher.recorder.trace.outputs.add(key)
    return watcher.recorder.result()


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

    It also follows what becomes of each activation's result: one that multiplies something else opens a gate, one that
    is returned is an output.
    """

    def __init__(self, recorder: ExecutionRecorder, model: nn.Module) -> None:
        super().__init__()
        self.recorder = recorder
        self._buffers = {id(buffer) for buffer in model.buffers()}
        self._in_known_call = False
        # by id, with the tensor, so that it stays alive and its id is not given to another
        self._results: dict[int, tuple[Tensor, Key]] = {}

    def enter_hook(self, path: str) -> Any:
        """A forward pre-hook."""
        return lambda module, args: self.recorder.enter(path)

    def leave_hook(self, path: str) -> Any:
        """A forward hook."""

        def hook(module: nn.Module, args: Any, result: Any) -> None:
            self.recorder.leave()
            if self.recorder.is_activation(path):
                self._remember(result, self.recorder.module_key(path))

        return hook

    def wrap(self, path: str, module: nn.Module, forward: Any) -> Any:
        """A forward that is watched also when it is called without its module, whose hooks then do not run."""

        def watch_forward(*args: Any, **kwargs: Any) -> Any:
            if self.recorder.begin(path):
                return forward(*args, **kwargs)
            self.recorder.enter(path)
            self.recorder.begin(path)
            result = None
            try:
                result = forward(*args, **kwargs)
            finally:
                self.leave_hook(path)(module, args, result)
            return result

        return watch_forward

    def record_kernel(self, name: str) -> None:
        """An activation is computed; its caller is known if a function of Python was called for it."""
        if not self._in_known_call:
            self.recorder.record_kernel(name)

    def find_key(self, value: Any) -> Key | None:
        """The activation whose result a tensor is."""
        tensor, key = self._results.get(id(value), (None, None))
        return key if tensor is value else None

    def _remember(self, value: Any, key: Key | None) -> None:
        if key is not None and isinstance(value, Tensor):
            self._results[id(value)] = (value, key)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        key = None
        known = CALLS.get(func)
        if known is not None:
            key = self.recorder.call_key(known, func)
        elif weights := [str(id(item)) for item in args if isinstance(item, nn.Parameter)]:
            self.recorder.use_weight(weights[-1])
        self._in_known_call = known is not None
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._in_known_call = False
        if key is not None:
            self._remember(result, key)
            return result
        name = getattr(func, "__name__", "")
        if name in PASSING and args:
            self._remember(result, self.find_key(args[0]))
        elif name in MULTIPLYING or name in SHIFTING:
            self._follow_product(name, result, args)
        return result

    def _follow_product(self, name: str, result: Any, args: tuple[Any, ...]) -> None:
        """What multiplies something else opens a gate; numbers and buffers of the model are nothing else."""
        parts = {id(part): part for part in tensors(args) if id(part) not in self._buffers}
        keys = [key for part in parts.values() if (key := self.find_key(part)) is not None]
        if len(parts) == 1 and keys:
            self._remember(result, keys[0])
        elif name in MULTIPLYING:
            self.recorder.trace.gates.update(keys)
