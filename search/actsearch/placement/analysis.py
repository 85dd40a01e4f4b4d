"""What was seen of a model, kept for any number of placements in models that are built in the same way."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from actsearch.errors import PlacementError
from actsearch.placement.in_place import relies_on_inplace
from actsearch.placement.probe import SiteTrace, trace
from actsearch.placement.sites import _analyze

__all__ = ["ModelAnalysis", "model_structure"]


class ModelAnalysis:
    """A model run and watched, or traced, once.

    Attributes:
        sample: one batch of inputs, or None.
        shell: a copy of the model in which every activation is a submodule.
        sites: the activations.
        found: how they were found, to be done again in another copy.
    """

    def __init__(self, model: nn.Module, sample: Any = None) -> None:
        """Find its activations.

        Raises:
            PlacementError: if it does not run on the sample.
        """
        if not isinstance(model, nn.Module):
            raise PlacementError(f"a model is a torch.nn.Module, not {type(model).__name__}")
        self.sample = sample
        self.shell, self.sites, self.found = _analyze(model, sample)

    @functools.cached_property
    def writes(self) -> bool:
        """Whether the model counts on its activations writing over their inputs."""
        return relies_on_inplace(self.shell, self.sample)

    @functools.cached_property
    def _traces(self) -> Mapping[str, SiteTrace]:
        return trace(self.shell, [site.path for site in self.sites], self.sample)

    def traces(self, paths: Iterable[str]) -> dict[str, SiteTrace]:
        """What arrives at some sites; a path that the sample does not reach is missing."""
        return {path: self._traces[path] for path in paths if path in self._traces}


def model_structure(model: nn.Module) -> tuple[Any, ...]:
    """Equal for models that are built in the same way: the same modules, and weights of the same shapes."""
    modules = [(path, type(module), module.extra_repr()) for path, module in model.named_modules()]
    shapes = [
        (name, None if is_lazy(p) else p.shape, p.dtype) for name, p in model.named_parameters()
    ]
    return tuple(modules), tuple(shapes)
