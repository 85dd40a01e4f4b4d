"""Activations that a run computes beneath Python's functions of torch, where nothing can be led elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode

from actsearch.placement.known_activations import CALLS, NORMALISING

__all__ = ["Kernels", "kernel_name"]

_OTHERS = (*NORMALISING, "logsigmoid")  # which fused attention and losses are made of
_NAMES = frozenset(set(CALLS.values()) - set(_OTHERS))


def kernel_name(operator: Any) -> str | None:
    """The activation function that an operator of ``torch.ops.aten`` computes; None for anything else."""
    if isinstance(operator, OpOverload):
        operator = operator.overloadpacket
    if not isinstance(operator, OpOverloadPacket):
        return None
    name = operator.__name__.rstrip("_")
    return name if name in _NAMES else None


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells which activation functions are computed.

    Args:
        tell: called with the name of each.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tell = tell

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if name := kernel_name(func):
            self.tell(name)
        return func(*args, **(kwargs or {}))
