"""How many of torch's threads a training takes: one, where its operations are too small to be shared out.

The number of threads decides in which order torch sums, and so the last bits of what is trained. What is small is found
from the task alone, so that its values are the same with any number of threads, in this process and in a child.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from actsearch.placement import forward
from actsearch.placement.random_streams import isolated_random
from actsearch.seeds import derive
from actsearch.task import Batches, Task, inputs_and_targets

__all__ = ["is_small", "one_thread"]

_SMALL = 20_000_000
"""Multiplications in a forward pass of one batch, a millisecond or two of one core: below, threads gain little."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One of torch's threads for what is trained meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_small(
    task: Task, build: Callable[[], nn.Module], batch: Callable[[], Any] | None = None
) -> bool:
    """Whether a batch is too little work to be shared out; False for what is unknown, and where no CPU computes.

    Args:
        task: that is trained.
        build: gives a model of its own, unchanged; it is run in training mode.
        batch: gives a training batch; the first one is read by default.
    """
    return task.torch_device().type == "cpu" and _work(task, build, batch) < _SMALL


def _work(task: Task, build: Callable[[], nn.Module], read: Callable[[], Any] | None) -> float:
    """Multiplications in a forward pass of the unchanged model; inf where that is unknown."""
    try:
        with isolated_random(derive(0, "init")), torch.no_grad(), one_thread():
            model = build().to("cpu")
            if any(isinstance(module, nn.RNNBase) for module in model.modules()):
                return math.inf  # one operation, whatever it takes
            if read is not None:
                batch = read()
            else:
                batch = next(iter(Batches(task.train, task.batch_size, torch.device("cpu"), 0)))
            with _Counting() as counted:
                if task.step is not None:
                    task.step(model, batch)
                else:
                    forward(model, inputs_and_targets(batch)[0])
            return float(counted.work)
    except Exception:  # the user's model and data: training it will say what is wrong
        return math.inf


# torch.utils.flop_counter counts products alone: what is small would be another set of tasks, with other last bits
class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiplications, or numbers where an operation sums none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor):
            self.work += first.numel() * _products_per_number(func.overloadpacket.__name__, args)
        return result


def _products_per_number(name: str, args: Any) -> int:
    """Products that go into one number of the result."""
    if name in ("mm", "bmm", "mv", "dot"):
        return int(args[0].shape[-1])
    if name in ("addmm", "baddbmm", "addmv"):
        return int(args[1].shape[-1])
    if "convolution" in name:
        return int(args[1][0].numel())
    if name.startswith("_scaled_dot_product"):
        return 2 * int(args[1].shape[-2])
    return 1
