"""Losses of training steps that nobody waits for: a GPU is asked for them once, when the steps are over."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["UnreadLosses"]

_PART = (
    1024  # losses that are put together on the device, where each alone takes a block of memory
)


class UnreadLosses:
    """The losses of steps on a device other than the CPU, to be read together.

    A step that follows a loss that is not finite is wasted; to wait in each step would take longer.
    """

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._latest: list[Tensor] = []
        self._sizes: list[int] = []

    def add(self, loss: Tensor, size: int) -> None:
        """Take the loss of one more step: one number, or one for each member of a stack, and its count of samples."""
        self._latest.append(loss.detach())
        self._sizes.append(size)
        if len(self._latest) == _PART:
            self._join()

    def read(self) -> Iterator[tuple[int, Tensor, int]]:
        """Each step, counted from 1, with its loss in double precision on the CPU and its count of samples."""
        self._join()
        if self._sizes:
            losses = torch.cat(self._parts).cpu().double()
            yield from zip(range(1, len(losses) + 1), losses, self._sizes, strict=True)

    def _join(self) -> None:
        if self._latest:
            self._parts.append(torch.stack(self._latest))
            self._latest = []
