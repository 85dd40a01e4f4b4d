"""What the devices that torch computes on have, and what they have not."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

__all__ = [
    "as_double",
    "free_memory",
    "has_float64",
    "is_cpu",
    "refuses_work",
    "says_device_is_lost",
    "take_device",
    "usual_device",
    "widest_float",
    "with_peak_memory",
]

T = TypeVar("T")


def usual_device() -> torch.device:
    """Where something is trained that leaves it open: on the current CUDA device, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_cpu(device: torch.device) -> bool:
    """Whether a result is there when the call returns; on any other device, to read it is to wait."""
    return device.type == "cpu"


@functools.cache
def has_float64(device: torch.device) -> bool:
    """Whether a device has double precision: Apple's GPUs have not."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def widest_float(device: torch.device) -> torch.dtype:
    """The dtype in which sums are taken on a device."""
    return torch.float64 if is_cpu(device) or has_float64(device) else torch.float32


def as_double(tensor: Tensor) -> Tensor:
    """A tensor in double precision, or in single precision where its device has no other."""
    return tensor.to(widest_float(tensor.device))


_LOST = re.compile(
    r"(?:CUDA|HIP) error: (?:device-side assert|an illegal memory access|misaligned address|unspecified launch failure|"
    r"an illegal instruction|invalid program counter|operation not supported on global/shared address space|"
    r"hardware stack error|uncorrectable (?:ECC|NVLink) error|the launch timed out|unknown error)"
)


def says_device_is_lost(text: str) -> bool:
    """Whether an error's text is one after which CUDA refuses this process everything, whatever it is asked."""
    return _LOST.search(text) is not None


def refuses_work() -> bool:
    """Whether the current CUDA device of this process answers with an error, whatever it is asked."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def take_device(place: int) -> None:
    """Make one of several CUDA devices the current one of this thread.

    Args:
        place: of this process among those that train, from 0; with fewer devices they share them in turn.
    """
    if (count := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(place % count)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a new tensor may have on a device; None where that is not known, and for the CPU, whose memory is
    shared with all that runs."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # what torch keeps for later tensors is free as well
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def with_peak_memory(device: torch.device, action: Callable[[], T]) -> tuple[T, int]:
    """What an action gives, and how many bytes more of a device it took at its peak; 0 where that is not counted."""
    if device.type != "cuda":
        return action(), 0
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    result = action()
    return result, torch.cuda.max_memory_allocated(device) - before
