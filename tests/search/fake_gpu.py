"""A device that every machine has: computes on the CPU, counts what a GPU would launch and wait for, and mixes nothing.

Its tensors hold their numbers in tensors of the CPU, so that what is trained on it can be compared. A call of torch's
counts as one kernel, of a list of tensors (``_foreach``) too, and a view as none.
"""

from __future__ import annotations

import collections
import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

from actsearch.devices import has_float64

__all__ = ["DEVICE", "FakeGpu", "FakeTensor"]

NAME = "fake_gpu"
DEVICE = f"{NAME}:0"


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_registered: list[Any] = []


def _refuse(*args: Any) -> Any:
    raise RuntimeError("the fake device was left")


def _register() -> None:
    """Once in a process, and not before it is needed: the name stays."""
    if not _registered:
        _setup_privateuseone_for_python_backend(NAME, _Module())
        library: Any = torch.library
        kept = library.Library("aten", "IMPL")
        for name in ("silu_backward", "mish_backward"):  # one kernel on a GPU, several elsewhere
            kept.impl(name, _refuse, "PrivateUse1")
        _registered.append(kept)
        # autocast changes nothing here
        autocast = library.Library("_", "IMPL", "AutocastPrivateUse1")
        autocast.fallback(library.fallthrough_kernel)
        _registered.append(autocast)


class FakeTensor(Tensor):
    """Looks as if it lay on the device.

    Attributes:
        numbers: on the CPU.
    """

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor, device: torch.device) -> FakeTensor:
        made = Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype, device=device,
        )  # fmt: skip
        made.numbers = numbers
        return made

    def __init__(self, *args: Any) -> None:
        """Made by ``__new__``."""

    def __tensor_flatten__(self) -> tuple[list[str], torch.device]:
        return ["numbers"], self.device

    @staticmethod
    def __tensor_unflatten__(inner: Any, device: torch.device, *_: Any) -> FakeTensor:
        return FakeTensor(inner["numbers"], device)

    @property
    def data(self) -> Any:
        """What torch gives; to set it also sets the numbers."""
        return Tensor.data.__get__(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: Any) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.numbers = value.numbers

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if not _active:
            raise RuntimeError("the fake device was left")
        return _active[-1].dispatch(func, args, kwargs or {})


_active: list[FakeGpu] = []

_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim")
"""Calls that wait for the device, as their result has to be known."""
_FREE = ("detach", "alias", "empty", "empty_strided", "empty_like", "new_empty", "set_")
"""Calls that launch nothing."""


class FakeGpu(TorchDispatchMode):
    """Inside, the device is there.

    Attributes:
        kernels: how often each function of torch was launched.
        waits: for every time that the program waited for the device, what for, and the lines of ours that led there.
        uploads: numbers in each tensor that was copied to the device.
    """

    def __init__(self, *, float64: bool = True) -> None:
        """Args:
        float64: whether it has double precision; Apple's GPUs have not.
        """
        _register()
        self._has_float64 = float64
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: collections.Counter[str] = collections.Counter()
        self.waits: list[str] = []
        self.uploads: list[int] = []

    def __enter__(self) -> FakeGpu:
        _active.append(self)
        has_float64.cache_clear()
        # torch.tensor(..., device=) then comes by as a copy to the device
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch._C._set_only_lift_cpu_tensors(False)
        _active.remove(self)
        has_float64.cache_clear()

    def reset(self) -> None:
        """Count from here."""
        self.kernels.clear()
        self.waits.clear()
        self.uploads.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(item, FakeTensor) for item in leaves) or _is_ours(kwargs.get("device")):
            return self.dispatch(func, args, kwargs)
        return func(*args, **kwargs)

    def dispatch(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Compute on the CPU what was asked of the device."""
        name = func.overloadpacket.__name__
        leaves = tree_leaves((args, kwargs))
        own = [item for item in leaves if isinstance(item, FakeTensor)]
        self._refuse_mixing(name, func, leaves, own)
        asked = kwargs.get("device")
        device = torch.device(asked) if asked is not None else (own[0].device if own else None)
        given = {**kwargs, **({} if asked is None else {"device": torch.device("cpu")})}
        result = func(*tree_map(_numbers, args), **tree_map(_numbers, given))
        self._count(name, func, args, own, device)
        if device is None or device.type != NAME:
            return result
        if not self._has_float64:
            _refuse_float64(result)
        wrapped = tree_map(
            lambda item: FakeTensor(item, device) if isinstance(item, Tensor) else item, result
        )
        if not own:
            return wrapped
        return return_and_correct_aliasing(func, args, kwargs, wrapped)  # type: ignore[no-untyped-call]

    def _count(
        self, name: str, func: Any, args: Any, own: list[FakeTensor], device: torch.device | None
    ) -> None:
        moves = name in ("_to_copy", "copy_") and (
            not own or len(own) < sum(isinstance(item, Tensor) for item in args)
            or (device is not None and device.type != NAME)
        )  # fmt: skip
        # a copy from memory that is not pinned waits as well
        if moves or name in _WAITING or (name == "index" and _has_mask(args)):
            self.waits.append(f"{name} at {_place()}")
        if moves and device is not None and device.type == NAME:
            self.uploads.append(args[-1 if name == "copy_" else 0].numel())
        returns = func._schema.returns
        is_view = any(item.alias_info and not item.alias_info.is_write for item in returns)
        if not is_view and not moves and name not in _FREE:
            self.kernels[name] += 1

    @staticmethod
    def _refuse_mixing(name: str, func: Any, leaves: list[Any], own: list[FakeTensor]) -> None:
        tensors = [item for item in leaves if isinstance(item, Tensor)]
        # numbers, and indices of the CPU, are taken by a GPU
        others = [item for item in tensors if not isinstance(item, FakeTensor) and item.dim()]
        is_mixed = bool(own and others) or len({item.device for item in own}) > 1
        if is_mixed and name not in ("_to_copy", "copy_", "index", "index_put_"):
            devices = sorted({str(item.device) for item in tensors})
            raise RuntimeError(f"{name}: expected all tensors on one device, found {devices}")


def _refuse_float64(result: Any) -> None:
    if any(
        isinstance(item, Tensor) and item.dtype == torch.float64 for item in tree_leaves(result)
    ):
        raise TypeError("the device has no float64")


def _is_ours(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _numbers(item: Any) -> Any:
    return item.numbers if isinstance(item, FakeTensor) else item


def _has_mask(args: Any) -> bool:
    return any(isinstance(item, Tensor) and item.dtype == torch.bool for item in args[1])


def _place() -> str:
    """The innermost lines of ours, for messages."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < 3:
        folder, _, file = frame.f_code.co_filename.rpartition("/actsearch/")
        if folder:
            found.append(f"{file}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found)
