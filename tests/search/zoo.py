"""What a model of the zoo is: how it is built, what it takes, and which sites it has, counted by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from zoo_ours import ours

import actsearch as acs
from actsearch.placement import Site, forward

__all__ = [
    "CLOSE",
    "ONE_KERNEL",
    "Count",
    "Entry",
    "built",
    "counted",
    "itself",
    "nearly",
    "output",
    "own",
    "tensors",
]

Count = Counter[str]
"""Number of sites by "kind role type", such as "module hidden ReLU"."""

CLOSE = 1e-5
"""How far an output or a gradient may be off where ours rounds otherwise, as a share of the largest number in it."""

ONE_KERNEL = (
    "torch computes it in one kernel, which keeps what the class rounds after each of its steps"
)
"""Why a catalog row differs in the last digit from a class that is written in several steps."""

_SPREAD = 0.3  # of what is added to weights that start as constants


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        build: makes it.
        sample: makes one batch of inputs.
        sites: all of its sites, counted by hand: "2 module hidden ReLU, 1 function gate softmax".
        traced: whether torch.fx can trace it.
        without: its sites as they are found without a sample, where that differs.
        settings: of the activations it calls, by their name, where they are not the default.
        pickles: whether the user's model can be pickled.
        close: by type, a catalog row that computes the same but for rounding, and why it rounds otherwise. What is
            put back everywhere else, and there too in another test, is bit-equal.
    """

    build: Callable[[], nn.Module]
    sample: Callable[[], Any]
    sites: str
    traced: bool = True
    without: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pickles: bool = True
    close: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def expected(self, with_sample: bool) -> Count:
        """The counts by hand."""
        text = self.sites if with_sample or self.without is None else self.without
        found = Count()
        for part in filter(None, text.split(", ")):
            count, _, what = part.partition(" ")
            found[what] += int(count)
        return found


def counted(found: Iterable[Site]) -> Count:
    """The sites that were found, counted in the same way."""
    return Count(f"{site.kind} {site.role} {site.type}" for site in found)


def built(entry: Entry) -> nn.Module:
    """The model, always with the same weights, none of them a constant that hides what comes before it."""
    torch.manual_seed(0)
    model = entry.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2 or not parameter.any():
                parameter.add_(_SPREAD * torch.randn_like(parameter))
    return model


def output(model: nn.Module, inputs: Any, seed: int = 5) -> list[Tensor]:
    """Every tensor that a model returns; the seed is for dropout."""
    torch.manual_seed(seed)
    return list(tensors(forward(model, inputs)))


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)


_FIXED = (
    "softmax",
    "log_softmax",
    "glu",
    "Softmax",
    "GLU",
)  # never placed: outputs depend on each other


def own(entry: Entry, model: nn.Module, found: Iterable[Site]) -> dict[str, nn.Module]:
    """Our own activation for what stands at each site already, by path, with its numbers."""
    return {
        site.path: ours(model.get_submodule(site.path))
        if site.kind == "module"
        else acs.activation(site.type, **entry.settings.get(site.type, {}))
        for site in found
        if site.type not in _FIXED
    }


def nearly(entry: Entry, found: Iterable[Site]) -> dict[str, nn.Module]:
    """The catalog rows that compute the same but for rounding, by path."""
    return {
        site.path: acs.activation(entry.close[site.type][0])
        for site in found
        if site.type in entry.close
    }


def itself(model: nn.Module, found: Iterable[Site]) -> dict[str, nn.Module]:
    """The module that stands at each site that has one, by path."""
    return {
        site.path: model.get_submodule(site.path)
        for site in found
        if site.kind == "module" and site.type != "Softmax"
    }
