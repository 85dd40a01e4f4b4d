"""Neighbours of a stack whose activations are computed in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.activations import Activation
from actsearch.activations.module import FormulaActivation, RandomActivation
from actsearch.activations.special import Maxout
from actsearch.devices import is_cpu
from actsearch.placement import FunctionModule
from actsearch.placement.known_activations import IN_PLACE
from actsearch.training.stack.stack_access import fills_vectors

__all__ = ["Group", "group_key", "group_neighbours"]


def group_key(module: nn.Module) -> Any:
    """Equal for activations that can be computed in one call; None for one that stays alone.

    These are the same elementwise function and hold nothing. On a GPU, where it is calls that cost, also formulas that
    have learned different numbers; on a CPU these stay alone, since sums over several members' elements would be taken
    in another order than in single training.
    """
    held = next(module.parameters(), None)
    if held is not None:
        if type(module) is not FormulaActivation or is_cpu(held.device):
            return None
        return module.program_key, module.channel_axis
    if next(module.children(), None) is not None:
        return None
    if isinstance(module, Activation):
        # one draws from a stream of its own, the other counts its channel axis without the stack's
        if isinstance(module, (RandomActivation, Maxout)):
            return None
        return (type(module), module.record.formula, module.record.name, module.extra_repr())
    if isinstance(module, FunctionModule):
        return (module.function, repr(module.arguments), repr(module.keywords))
    if type(module).__module__ == "torch.nn.modules.activation" and type(module) is not nn.RReLU:
        return (type(module), repr(module))
    return None


def group_neighbours(keys: Sequence[Any], members: Sequence[nn.Module]) -> list[Group]:
    """Neighbours that have one key are one group."""
    groups: list[Group] = []
    last_key = None
    for key, module in zip(keys, members, strict=True):
        if key is not None and key == last_key:
            groups[-1].members.append(module)
        else:
            groups.append(Group([module], key is not None))
        last_key = key
    return groups


@dataclass
class Group:
    """Some members of a site.

    Attributes:
        members: their activations; numbers that they learn are attributes of them.
        is_shared: whether they are computed in one call.
    """

    members: list[nn.Module]
    is_shared: bool

    def __post_init__(self) -> None:
        """Find what they learn, which is no parameter of theirs any more."""
        own = [name for name in vars(self.members[0]) if name.startswith("theta_")]
        self._names = sorted(own, key=lambda name: int(name.removeprefix("theta_")))

    def apply(self, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        """What leaves, of what arrives at the members, shape ``(members, ...)``."""
        first, is_alone = self.members[0], len(self.members) == 1
        if is_alone and (self._names or not self.is_shared):
            return _call(first, x.squeeze(0), args, kwargs).unsqueeze(0)
        # side by side, a member's last numbers would be computed in a vector, alone they are not
        if is_alone or not self._names:
            is_whole = is_alone or fills_vectors(x)
            return _call(first, x, args, kwargs) if is_whole else self._one_by_one(x, args, kwargs)
        assert isinstance(first, FormulaActivation)
        learned = self._learned(x, first.channel_axis)
        # channels that do not fit: alone, each says so
        return (
            self._one_by_one(x, args, kwargs) if learned is None else first.for_several(x, learned)
        )

    def _one_by_one(self, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        rows = zip(self.members, x.unbind(0), strict=True)
        return torch.stack([_call(module, row, args, kwargs) for module, row in rows])

    def _learned(self, x: Tensor, axis: int) -> list[Tensor] | None:
        """Each number that the members' formula learns, of all of them, in a shape that meets x.

        None where channels do not fit.
        """
        axis += axis >= 0
        result = []
        for name in self._names:
            rows = [vars(module)[name] for module in self.members]
            shape = [len(rows), *(1 for _ in x.shape[1:])]
            channels = {len(row) for row in rows if row.dim()}
            if channels:
                if not -x.dim() < axis < x.dim() or channels != {x.shape[axis]}:
                    return None
                shape[axis] = x.shape[axis]
                rows = [row.expand(shape[axis]) for row in rows]
            result.append(torch.stack(rows).view(shape))
        return result


def _call(module: nn.Module, x: Tensor, args: Any, kwargs: Any) -> Tensor:
    if not isinstance(module, FunctionModule):
        result: Tensor = module(x)
        return result
    # what is written over would be a view of the stack
    x = x.clone() if module.function in IN_PLACE else x
    called: Tensor = module(x, *args, **kwargs)
    return called
