"""One model that computes what many do, each with its own weights and activations."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actsearch.training.dropout import KeyedDropout, dropout_masks
from actsearch.training.stack import stack_access
from actsearch.training.stack.linear import stacked_linear
from actsearch.training.stack.memberwise import MemberwiseMode
from actsearch.training.stack.stack_access import StackAccess
from actsearch.training.stack.stacked_site import StackedSite, Unstackable

__all__ = ["Member", "StackedModel", "computes_memberwise"]


@dataclass(frozen=True)
class Member:
    """One training in a stack.

    Attributes:
        model: with its activations placed, its random streams seeded, on its device.
        paths: of its activations, the same for all members.
        seed: of the training; members of one seed see the same batches and the same masks.
        lr: learning rate.
        added: numbers that the model learns beyond those of the user's own.
    """

    model: nn.Module
    paths: tuple[str, ...]
    seed: int
    lr: float
    added: int | None = None


class _StackedDropout(nn.Module):
    """A dropout module for all members; members of one seed share a mask, as they would trained alone."""

    def __init__(
        self, streams: Sequence[KeyedDropout], seed_of: Tensor, access: StackAccess
    ) -> None:
        super().__init__()
        self._access = access
        self.streams = list(streams)
        self.seed_of = seed_of
        self.p = streams[0].p

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x if not self.training or self.p == 0 else self._access(x, self._apply_masks)

    def _apply_masks(self, x: Tensor) -> Tensor:
        if any(stream.draws_globally() for stream in self.streams):
            raise Unstackable("it has dropout inside of torch.utils.checkpoint")
        masks = dropout_masks(self.streams, x.shape[1:], x)
        return x * (masks if len(self.streams) == 1 else masks[self.seed_of])


def computes_memberwise(device: torch.device) -> bool:
    """Whether what could round otherwise is computed member by member: not on a GPU, whose calls cost too much."""
    return device.type == "cpu" and stack_access.HAS_SHORTCUT


_NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


class _StateSlots:
    """Where a model keeps each of its weights and buffers, by name; tied weights are kept in several slots."""

    def __init__(self, model: nn.Module) -> None:
        self._slots: list[tuple[dict[str, Any], str, str]] = []  # table, key in it, name
        names: dict[int, str] = {}
        for path, module in model.named_modules():
            for table in (module._parameters, module._buffers):
                for key, value in table.items():
                    if value is not None:
                        # torch names tied weights once, by the first place
                        name = names.setdefault(id(value), f"{path}.{key}".lstrip("."))
                        self._slots.append((table, key, name))

    @contextlib.contextmanager
    def holding(self, tensors: Mapping[str, Any]) -> Iterator[None]:
        """Put tensors into their slots; what was there comes back.

        As ``torch.func.functional_call`` does, which looks for the slots at every call.
        """
        slots = [slot for slot in self._slots if slot[2] in tensors]
        before = [(table, key, table[key]) for table, key, _ in slots]
        try:
            for table, key, name in slots:
                table[key] = tensors[name]
            yield
        finally:
            for table, key, value in before:
                table[key] = value


class StackedModel:
    """Members' models as one.

    Attributes:
        parameters: the model's own weights, stacked on axis 0, by name; without frozen ones that all members have in
            common, and without those of activations.
        buffers: those that change or differ, stacked, by name.
        sites: the activations, by path.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Args:
        members: whose models have equal structure; they are used up.

        Raises:
            Unstackable: they have not.
        """
        self.count = len(members)
        self._access = StackAccess(self.count)
        seeds = list(dict.fromkeys(member.seed for member in members))
        device = next(members[0].model.parameters()).device
        self._index = torch.arange(self.count, device=device)
        self.seed_of = torch.tensor([seeds.index(m.seed) for m in members], device=device)
        self.seeds = seeds
        self.parameters: dict[str, nn.Parameter] = {}
        self.buffers: dict[str, Tensor] = {}
        self.sites: dict[str, StackedSite] = {}
        self._names = [[name for name, _ in m.model.named_parameters()] for m in members]
        self._stack_state(members)
        first = [next(m for m in members if m.seed == seed).model for seed in seeds]
        self.base = members[0].model
        self._replace_dropout(first)
        for path in members[0].paths:
            site = StackedSite(
                [member.model.get_submodule(path) for member in members], self._access
            )
            self.sites[path] = site
            _set(self.base, path, site)
        self._batch_linear_layers()
        self._slots = _StateSlots(self.base)
        self._memberwise = MemberwiseMode(self._access) if computes_memberwise(device) else None

    @property
    def unproven(self) -> frozenset[str]:
        """Names of functions met so far that may round otherwise in a stack; "vmap" where all may."""
        return frozenset({"vmap"} if self._memberwise is None else self._memberwise.unproven)

    @property
    def dropout_streams(self) -> list[nn.Module]:
        """Of every dropout, the streams of its seeds."""
        layers = (m for m in self.base.modules() if isinstance(m, _StackedDropout))
        return [stream for layer in layers for stream in layer.streams]

    def keep(self, rows: Sequence[int]) -> dict[nn.Parameter, list[int]]:
        """Go on with some members alone.

        Args:
            rows: of the stack, ascending.

        Returns:
            For each stacked parameter, which of its rows were kept.
        """
        index = torch.tensor(rows, device=self._index.device)
        kept = {parameter: list(rows) for parameter in self.parameters.values()}
        for site in self.sites.values():
            kept |= site.keep(rows)
        for parameter, own in kept.items():
            # in place: the optimiser's slices and the sites refer to this object
            parameter.grad = None
            parameter.data = parameter.data[
                torch.tensor(own, dtype=torch.long, device=index.device)
            ]
        self.buffers = {name: buffer[index] for name, buffer in self.buffers.items()}
        self.count = self._access.count = len(rows)
        self._names = [self._names[row] for row in rows]
        self._index = self._index[: self.count]
        self.seed_of = self.seed_of[index]
        for module in self.base.modules():
            if isinstance(module, _StackedDropout):
                module.seed_of = self.seed_of
        return kept

    def _stack_state(self, members: Sequence[Member]) -> None:
        """Stack the weights and buffers that are not inside of an activation."""
        models = [member.model for member in members]
        inside = tuple(f"{path}." for path in members[0].paths)
        for name, rows in _rows_by_name([dict(m.named_parameters()) for m in models], inside):
            # frozen ones that all have in common: the first model's serve for all
            if rows[0].requires_grad or not _all_equal(rows):
                stacked = torch.stack([row.detach() for row in rows])
                self.parameters[name] = nn.Parameter(stacked, rows[0].requires_grad)
            for row in rows[1:]:
                if row is not rows[0]:
                    row.data = row.data.new_empty(0)  # one copy of the weights is enough
        for name, rows in _rows_by_name([dict(m.named_buffers()) for m in models], inside):
            owner = models[0].get_submodule(name.rpartition(".")[0])
            # a buffer that is written to later must be every member's own
            changes = isinstance(owner, nn.modules.batchnorm._NormBase)
            if changes or not _all_equal(rows):
                self.buffers[name] = torch.stack(rows)

    def _replace_dropout(self, models: Sequence[nn.Module]) -> None:
        for path, module in list(self.base.named_modules()):
            if isinstance(module, KeyedDropout):
                streams: Any = [model.get_submodule(path) for model in models]
                _set(self.base, path, _StackedDropout(streams, self.seed_of, self._access))

    def _batch_linear_layers(self) -> None:
        """Make one batched product of a layer, in the place of the several steps into which ``vmap`` divides it."""
        stacked = {
            id(self.base.get_parameter(name)): item for name, item in self.parameters.items()
        }
        for module in self.base.modules():
            # a subclass, or a forward of the user's own, may compute something else
            if type(module) is nn.Linear and "forward" not in vars(module):
                weight = stacked.get(id(module.weight))
                bias = None if module.bias is None else stacked.get(id(module.bias))
                if weight is not None and (module.bias is None) == (bias is None):
                    layer = functools.partial(stacked_linear, weight, bias)
                    module.forward = functools.partial(self._access, function=layer)  # type: ignore[method-assign]

    def run(self, function: Callable[..., Any], *inputs: Any, dims: Any) -> Any:
        """Map a function of the model over the members.

        Args:
            function: called with the model, which has one member's weights meanwhile, and the inputs.
            inputs: nested tuples, lists and mappings of tensors.
            dims: for each, the axis of the members, or None for what they share.
        """
        mapped = {**self.parameters, **self.buffers}

        def run_member(index: Tensor, state: dict[str, Tensor], *own: Any) -> Any:
            self._access.member = index
            with self._slots.holding(state), self._memberwise or _NOTHING:
                return function(self.base, *own)

        in_dims = (0, dict.fromkeys(mapped, 0), *dims)
        try:
            return torch.vmap(run_member, in_dims=in_dims)(self._index, mapped, *inputs)
        finally:
            self._access.member = None  # so that a site that is run outside says so

    def gradients(self, member: int) -> list[Tensor]:
        """A member's own gradients, in the order in which its model alone has its parameters."""
        by_name = {
            name: item.grad[member]
            for name, item in self.parameters.items()
            if item.grad is not None
        }
        for path, site in self.sites.items():
            for name, grad in site.learned_gradients(member).items():
                by_name[f"{path}.{name}"] = grad
        return [by_name[name] for name in self._names[member] if name in by_name]

    def train(self, mode: bool = True) -> None:
        """Set the mode of every member."""
        self.base.train(mode)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The stacked weights that are trained."""
        return [item for item in self.parameters.values() if item.requires_grad]

    @property
    def learned(self) -> list[tuple[nn.Parameter, list[int]]]:
        """The stacked numbers that activations learn, with the members that own each row."""
        return [
            (parameter, owners)
            for site in self.sites.values()
            for parameter, owners in zip(site.learned, site.owners, strict=True)
        ]


def _rows_by_name(
    tables: Sequence[Mapping[str, Any]], left_out: tuple[str, ...]
) -> Iterator[tuple[str, list[Any]]]:
    """Each name of the first table with every table's own tensor.

    Raises:
        Unstackable: a table has none, or of another shape.
    """
    for name, first in tables[0].items():
        if name.startswith(left_out):
            continue
        if any(name not in table for table in tables):
            raise Unstackable(f"its models differ in {name}")
        rows = [table[name] for table in tables]
        if any(row.shape != first.shape or row.dtype != first.dtype for row in rows):
            raise Unstackable(f"its models differ in the shape of {name}")
        yield name, rows


def _all_equal(rows: Sequence[Tensor]) -> bool:
    return all(row is rows[0] or torch.equal(row, rows[0]) for row in rows[1:])


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    module.train(model.get_submodule(path).training)
    setattr(model.get_submodule(parent), name, module)
