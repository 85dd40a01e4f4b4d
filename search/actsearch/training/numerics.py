"""How torch rounds, and whether it repeats itself, while something is trained: as the task says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from actsearch.devices import is_cpu
from actsearch.task import Task

__all__ = ["numerics_in_force", "numerics_of"]

_WORKSPACE = (
    "CUBLAS_WORKSPACE_CONFIG"  # without it torch refuses cuBLAS where it is to repeat itself
)
_Value = bool | str


@contextlib.contextmanager
def numerics_of(task: Task) -> Iterator[None]:
    """Deterministic algorithms and TF32 as a task has them; what it leaves open stays as the program has it.

    Counts for all threads.
    """
    with contextlib.ExitStack() as stack:
        if task.deterministic is not None:
            stack.enter_context(_deterministic(task.deterministic, task.torch_device()))
        if task.tf32 is not None:
            stack.enter_context(_tf32(task.tf32))
        yield


def numerics_in_force(task: Task) -> dict[str, Any]:
    """What a trial's values depend on besides its task, as JSON data; empty on a CPU of which nothing was asked."""
    device = task.torch_device()
    if is_cpu(device) and task.deterministic is None:
        return {}
    with numerics_of(task):
        found: dict[str, Any] = {"device": device.type}
        if device.type == "cuda":
            found["name"] = torch.cuda.get_device_name(device)
            found["tf32"] = any(_is_tf32(value) for value in _read())
        found["deterministic"] = torch.are_deterministic_algorithms_enabled()
    return found


@contextlib.contextmanager
def _deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmarks = torch.backends.cudnn.benchmark
    if wanted and device.type == "cuda":
        os.environ.setdefault(_WORKSPACE, ":4096:8")
    try:
        torch.use_deterministic_algorithms(wanted)
        if wanted:  # it would choose kernels by what is measured
            torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmarks


@contextlib.contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    switches, names = _read_switches(), _read()
    try:
        # these set the names as well; after a name alone torch refuses to read a switch that says otherwise
        _write_switches([wanted, wanted])
        if _has_names():  # builds differ in whether a switch that is off leaves "ieee" or "none", for who reads it
            _write(["tf32" if wanted else "ieee"] * len(names))
        yield
    finally:
        if switches is not None:
            _write_switches(switches)
        if _read() != names:
            _write(names)


def _read_switches() -> list[bool] | None:
    """The older switches, which programs still read; None where the program has set names that contradict them."""
    try:
        return [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
    except RuntimeError:
        return None


def _write_switches(values: list[bool]) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = values


def _has_names() -> bool:
    """Whether torch calls precisions by name, as it does since 2.9, and refuses its older switches beside that."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")


def _places() -> tuple[tuple[Any, str], ...]:
    """Where torch keeps the precisions of products, convolutions and recurrent layers."""
    backends: Any = torch.backends
    if not _has_names():
        return (backends.cuda.matmul, "allow_tf32"), (backends.cudnn, "allow_tf32")
    kinds = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn
    return tuple((kind, "fp32_precision") for kind in kinds)


def _read() -> list[_Value]:
    return [getattr(place, name) for place, name in _places()]


def _write(values: list[_Value]) -> None:
    for (place, name), value in zip(_places(), values, strict=True):
        setattr(place, name, value)


def _is_tf32(value: _Value) -> bool:
    return value is True or value == "tf32"
