"""Modules that are handed the whole stack where the model's ``vmap`` shows them one member at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.placement.derived_class import is_inplace
from actsearch.training.stack.groups import group_key, group_neighbours
from actsearch.training.stack.stack_access import StackAccess

__all__ = ["StackedSite", "Unstackable"]


class Unstackable(Exception):
    """A task, model or candidate that has to be trained alone; the text says why."""


def _forbid_inplace(module: nn.Module) -> None:
    """Members' slices are views, which must not be written over."""
    if is_inplace(module):
        raise Unstackable(
            "its activations write over what they are given, and the model counts on it"
        )
    if getattr(module, "inplace", None) is True:
        module.inplace = False  # type: ignore[assignment]


class StackedSite(nn.Module):
    """The activations of all members at one site; each is applied to its own slice.

    Learned numbers of all members are kept together, in one parameter for each shape, so that an optimiser has few
    tensors to step.

    Attributes:
        learned: parameters of shape ``(owners, *shape)``.
        owners: of each, the members that its rows belong to, in ascending order.
        observer: called with what arrives and what leaves, stacked, and with the activations as a function.
    """

    # of a call that was redirected here, for members that keep the function
    takes_arguments = True

    def __init__(self, modules: Sequence[nn.Module], access: StackAccess) -> None:
        super().__init__()
        self.observer: Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], None] | None = None
        self._access = access
        self._members = nn.ModuleList(modules)
        self.learned = nn.ParameterList()
        self.owners: list[list[int]] = []
        self._names: list[list[str]] = []
        for module in self._members:
            _forbid_inplace(module)
        self._stack_parameters()
        self._groups = group_neighbours(self._keys, list(self._members))

    def _stack_parameters(self) -> None:
        """Move the members' parameters into stacked ones."""
        by_shape: dict[tuple[int, ...], list[tuple[int, str, nn.Parameter]]] = {}
        for index, module in enumerate(self._members):
            for name, parameter in list(module.named_parameters(recurse=False)):
                by_shape.setdefault(tuple(parameter.shape), []).append((index, name, parameter))
        self._keys = [group_key(module) for module in self._members]
        for rows in by_shape.values():
            stacked = torch.stack([parameter.detach() for _, _, parameter in rows])
            self.learned.append(nn.Parameter(stacked))
            self.owners.append([index for index, _, _ in rows])
            self._names.append([name for _, name, _ in rows])
            for index, name, _ in rows:
                module = self._members[index]
                del module._parameters[name]
                module.__dict__[name] = None  # set before each pass

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """One member's slice as ``vmap`` shows it; shape as the members' activations give it."""

        def on_all(stacked: Tensor) -> Tensor:
            result = self._apply_all(stacked, args, kwargs)
            if self.observer is not None:
                self.observer(stacked, result, lambda own: self._apply_all(own, args, kwargs))
            return result

        return self._access(x, on_all)

    def _learned_rows(self, member: int) -> Iterator[tuple[str, nn.Parameter, int]]:
        """A member's learned numbers: name, the parameter that holds them, row in it."""
        for parameter, owners, names in zip(self.learned, self.owners, self._names, strict=True):
            for row, (owner, name) in enumerate(zip(owners, names, strict=True)):
                if owner == member:
                    yield name, parameter, row

    def learned_by(self, member: int) -> dict[str, Tensor]:
        """The numbers that a member's activation learns, by name."""
        return {name: item.detach()[row] for name, item, row in self._learned_rows(member)}

    def learned_gradients(self, member: int) -> dict[str, Tensor]:
        """The gradients of the numbers that a member's activation learns, by name."""
        return {
            name: item.grad[row]
            for name, item, row in self._learned_rows(member)
            if item.grad is not None
        }

    def keep(self, rows: Sequence[int]) -> dict[nn.Parameter, list[int]]:
        """Go on with some members alone.

        Returns:
            For each parameter of ``learned`` as it was, which of its rows are theirs; the caller takes them out.
        """
        new_index = {row: index for index, row in enumerate(rows)}
        kept: dict[nn.Parameter, list[int]] = {}
        for index, parameter in enumerate(self.learned):
            owners, names = self.owners[index], self._names[index]
            own = [row for row, owner in enumerate(owners) if owner in new_index]
            kept[parameter] = own
            self._names[index] = [names[row] for row in own]
            self.owners[index] = [new_index[owners[row]] for row in own]
        self._members = nn.ModuleList([self._members[row] for row in rows])
        self._keys = [self._keys[row] for row in rows]
        self._groups = group_neighbours(self._keys, list(self._members))
        return kept

    def _apply_all(self, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        self._assign_rows()
        if len(self._groups) == 1:
            return self._groups[0].apply(x, args, kwargs)
        pieces = torch.split(x, [len(group.members) for group in self._groups])
        results = [
            group.apply(piece, args, kwargs)
            for group, piece in zip(self._groups, pieces, strict=True)
        ]
        return torch.cat(results)

    def _assign_rows(self) -> None:
        """Give each member its row of the learned numbers, as a view that autograd follows."""
        for parameter, owners, names in zip(self.learned, self.owners, self._names, strict=True):
            for index, name, row in zip(owners, names, parameter.unbind(0), strict=True):
                self._members[index].__dict__[name] = row
