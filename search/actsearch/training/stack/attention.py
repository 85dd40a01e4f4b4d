"""Which of torch's kernels compute attention while a stack is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from actsearch.task import Task
from actsearch.training.loop import plain_attention
from actsearch.training.stack.model import goes_apart

__all__ = ["attention_for"]


@contextlib.contextmanager
def attention_for(task: Task) -> Iterator[None]:
    """Attention as in single training, or as products and a softmax where it is mapped: ``vmap`` has no rule for the
    fused kernels. Counts for all threads.
    """
    cuda = torch.backends.cuda
    fused: tuple[tuple[Callable[[], bool], Callable[[bool], Any]], ...] = (
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    )
    switched = () if goes_apart(task.torch_device()) else fused
    before = [is_on() for is_on, _ in switched]
    with plain_attention():
        try:
            for _, switch in switched:
                switch(False)
            yield
        finally:
            for (_, switch), was_on in zip(switched, before, strict=True):
                switch(was_on)
