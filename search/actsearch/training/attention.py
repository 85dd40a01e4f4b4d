"""Which of torch's kernels compute attention while something is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["mappable_attention", "plain_attention"]

_Switch = tuple[Callable[[], bool], Callable[[bool], Any]]


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """torch's layers of transformers step by step: its kernel for a whole layer, in evaluation alone, rounds otherwise.

    Counts for all threads.
    """
    mha = torch.backends.mha
    with _switched_off((mha.get_fastpath_enabled, mha.set_fastpath_enabled)):
        yield


@contextlib.contextmanager
def mappable_attention(is_mapped: bool) -> Iterator[None]:
    """As in single training, or as products and a softmax where it is mapped: ``vmap`` has no rule for fused kernels.

    Counts for all threads.
    """
    cuda = torch.backends.cuda
    # switches of torch.backends.cuda; the first counts for the CPU's flash attention as well
    fused: tuple[_Switch, ...] = (
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    )
    with plain_attention(), _switched_off(*(fused if is_mapped else ())):
        yield


@contextlib.contextmanager
def _switched_off(*switches: _Switch) -> Iterator[None]:
    before = [is_on() for is_on, _ in switches]
    try:
        for _, switch in switches:
            switch(False)
        yield
    finally:
        for (_, switch), was_on in zip(switches, before, strict=True):
            switch(was_on)
