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
from actsearch.training.stack import lift
from actsearch.training.stack.apart import Apart
from actsearch.training.stack.lift import Lift
from actsearch.training.stack.linear import stacked_linear
from actsearch.training.stack.per_slice import StackedSite, Unstackable

__all__ = ["Member", "StackedModel", "Unstackable", "goes_apart"]


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

    def __init__(self, streams: Sequence[KeyedDropout], seed_of: Tensor, lift: Lift) -> None:
        super().__init__()
        self._lift = lift
        self._streams = list(streams)
        self.seed_of = seed_of
        self.p = streams[0].p

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x if not self.training or self.p == 0 else self._lift(x, self._applied)

    def _applied(self, x: Tensor) -> Tensor:
        if any(stream.draws_globally() for stream in self._streams):
            raise Unstackable("it has dropout inside of torch.utils.checkpoint")
        masks = dropout_masks(self._streams, x.shape[1:], x)
        return x * (masks if len(self._streams) == 1 else masks[self.seed_of])


def goes_apart(device: torch.device) -> bool:
    """Whether what could round otherwise is computed member by member: not on a GPU, whose calls cost too much."""
    return device.type == "cpu" and lift.HAS_SHORTCUT


_NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


class _Places:
    """Where a model keeps each of its weights and buffers, by name; tied weights are kept in several places."""

    def __init__(self, model: nn.Module) -> None:
        self._places: list[tuple[dict[str, Any], str, str]] = []
        names: dict[int, str] = {}
        for path, module in model.named_modules():
            for table in (module._parameters, module._buffers):
                for key, value in table.items():
                    if value is not None:
                        name = names.setdefault(id(value), f"{path}.{key}".lstrip("."))
                        self._places.append((table, key, name))

    @contextlib.contextmanager
    def holding(self, tensors: Mapping[str, Any]) -> Iterator[None]:
        """Put tensors into their places; what was there comes back.

        As ``torch.func.functional_call`` does, which looks for the places at every call.
        """
        before = [(table, key, table[key]) for table, key, name in self._places if name in tensors]
        try:
            for table, key, name in self._places:
                if name in tensors:
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
        self._lift = Lift(self.count)
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
                [member.model.get_submodule(path) for member in members], self._lift
            )
            self.sites[path] = site
            _set(self.base, path, site)
        self._lead_linear_layers()
        self._places = _Places(self.base)
        self._apart = Apart(self._lift) if goes_apart(device) else None

    @property
    def unproven(self) -> frozenset[str]:
        """Names of functions met so far that may round otherwise in a stack; "vmap" where all may."""
        return frozenset({"vmap"} if self._apart is None else self._apart.unproven)

    def keep(self, rows: Sequence[int]) -> dict[nn.Parameter, list[int]]:
        """Go on with some members alone.

        Args:
            rows: of the stack, ascending.

        Returns:
            For each stacked parameter, which of its rows were kept.
        """
        of = torch.tensor(rows, device=self._index.device)
        kept = {parameter: list(rows) for parameter in self.parameters.values()}
        for site in self.sites.values():
            kept |= site.keep(rows)
        for parameter, own in kept.items():
            parameter.grad = None
            parameter.data = parameter.data[torch.tensor(own, dtype=torch.long, device=of.device)]
        self.buffers = {name: buffer[of] for name, buffer in self.buffers.items()}
        self.count = self._lift.count = len(rows)
        self._names = [self._names[row] for row in rows]
        self._index = self._index[: self.count]
        self.seed_of = self.seed_of[of]
        for module in self.base.modules():
            if isinstance(module, _StackedDropout):
                module.seed_of = self.seed_of
        return kept

    def _stack_state(self, members: Sequence[Member]) -> None:
        models = [member.model for member in members]
        inside = tuple(f"{path}." for path in members[0].paths)
        names = [name for name, _ in models[0].named_parameters() if not name.startswith(inside)]
        tables = [dict(model.named_parameters()) for model in models]
        for name in names:
            rows = [_row(table, name) for table in tables]
            _check_shapes(name, rows)
            if rows[0].requires_grad or not _all_equal(
                rows
            ):  # else the first model's serve for all
                stacked = torch.stack([row.detach() for row in rows])
                self.parameters[name] = nn.Parameter(stacked, rows[0].requires_grad)
            for row in rows[1:]:
                if row is not rows[0]:
                    row.data = row.data.new_empty(0)  # one copy of the weights is enough
        tables_of_buffers = [dict(model.named_buffers()) for model in models]
        for name, _ in models[0].named_buffers():
            if name.startswith(inside):
                continue
            buffers = [_row(table, name) for table in tables_of_buffers]
            _check_shapes(name, buffers)
            owner = models[0].get_submodule(name.rpartition(".")[0])
            changes = isinstance(owner, nn.modules.batchnorm._NormBase)
            if changes or not _all_equal(buffers):
                self.buffers[name] = torch.stack(buffers)

    def _replace_dropout(self, models: Sequence[nn.Module]) -> None:
        for path, module in list(self.base.named_modules()):
            if isinstance(module, KeyedDropout):
                streams: Any = [model.get_submodule(path) for model in models]
                _set(self.base, path, _StackedDropout(streams, self.seed_of, self._lift))

    def _lead_linear_layers(self) -> None:
        """One batched product a layer, in the place of the several steps into which ``vmap`` would divide it."""
        stacked = {
            id(self.base.get_parameter(name)): item for name, item in self.parameters.items()
        }
        for module in self.base.modules():
            if type(module) is nn.Linear and "forward" not in vars(module):
                weight = stacked.get(id(module.weight))
                bias = None if module.bias is None else stacked.get(id(module.bias))
                if weight is not None and (module.bias is None) == (bias is None):
                    layer = functools.partial(stacked_linear, weight, bias)
                    module.forward = functools.partial(self._lift, function=layer)  # type: ignore[method-assign]

    def run(self, function: Callable[..., Any], *inputs: Any, dims: Any) -> Any:
        """Map a function of the model over the members.

        Args:
            function: called with the model, which has one member's weights meanwhile, and the inputs.
            inputs: nested tuples, lists and mappings of tensors.
            dims: for each, the axis of the members, or None for what they share.
        """
        mapped = {**self.parameters, **self.buffers}

        def one(index: Tensor, state: dict[str, Tensor], *given: Any) -> Any:
            self._lift.member = index
            with self._places.holding(state), self._apart or _NOTHING:
                return function(self.base, *given)

        in_dims = (0, dict.fromkeys(mapped, 0), *dims)
        try:
            return torch.vmap(one, in_dims=in_dims)(self._index, mapped, *inputs)
        finally:
            self._lift.member = None

    def gradients(self, member: int) -> list[Tensor]:
        """A member's own gradients, in the order in which its model alone has its parameters."""
        found = {
            name: item.grad[member]
            for name, item in self.parameters.items()
            if item.grad is not None
        }
        for path, site in self.sites.items():
            for name, grad in site.gradients_of(member).items():
                found[f"{path}.{name}"] = grad
        return [found[name] for name in self._names[member] if name in found]

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


def _row(table: dict[str, Any], name: str) -> Any:
    if name not in table:
        raise Unstackable(f"its models differ in {name}")
    return table[name]


def _check_shapes(name: str, rows: Sequence[Tensor]) -> None:
    if any(row.shape != rows[0].shape or row.dtype != rows[0].dtype for row in rows):
        raise Unstackable(f"its models differ in the shape of {name}")


def _all_equal(rows: Sequence[Tensor]) -> bool:
    return all(row is rows[0] or torch.equal(row, rows[0]) for row in rows[1:])


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    module.train(model.get_submodule(path).training)
    setattr(model.get_submodule(parent), name, module)
