"""Whether memory ran out, and how much of it a stack may take."""

from __future__ import annotations

import re

import torch

from actsearch.devices import free_memory

__all__ = ["is_out_of_memory", "members_that_fit"]

# of RuntimeErrors: torch has a class of its own for CUDA's allocator alone
_SAYS_SO = re.compile(
    r"can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|ALLOCATION_FAILED",
    re.IGNORECASE,
)
_SHARE = (
    0.8  # of what is free; the rest is for what is made once, and for what is measured besides
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in the main memory.

    cuBLAS and cuDNN, which allocate by themselves, say it by a status in the text of a RuntimeError; so do the
    allocators of other devices than CUDA.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _SAYS_SO.search(str(error)) is not None


def members_that_fit(device: torch.device, used: int, count: int, largest: int) -> int:
    """How many members a stack may have, by what the memory of its device leaves.

    Args:
        device: that trains.
        used: bytes that a stack of ``count`` took at its peak.
        count: its members.
        largest: most members in any case.

    Returns:
        At least 2; ``largest`` where it is not known what is free.
    """
    free = free_memory(device)
    if free is None or used <= 0:
        return largest
    return max(2, min(largest, int(_SHARE * free * count / used)))
