"""Measuring with gradients where a model or ``evaluate`` asks torch for derivatives, as of an energy; else without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

import torch

from actsearch.placement.model_run import asks_for_gradients
from actsearch.task import Task

__all__ = ["measure", "measures_derivatives", "share_findings"]

T = TypeVar("T")

_asking: WeakSet[Task] = WeakSet()


def measure(task: Task, attempt: Callable[[], T]) -> T:
    """What an attempt gives without gradients, or with them where it fails for want of them; known from then on.

    Args:
        task: that is measured.
        attempt: reads its data from the beginning each time.
    """
    if task not in _asking:
        try:
            with torch.no_grad():
                return attempt()
        except RuntimeError as error:
            if not asks_for_gradients(error):
                raise
        _asking.add(task)
    with torch.enable_grad():
        return attempt()


def measures_derivatives(task: Task) -> bool:
    """Whether that was found of a task so far."""
    return task in _asking


def share_findings(task: Task, other: Task) -> None:
    """Let what was found of a task hold for another one."""
    if task in _asking:
        _asking.add(other)
