"""What is known of a model's activations, kept for any number of placements in models that are built alike."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actsearch.errors import PlacementError
from actsearch.placement.known_activations import is_activation
from actsearch.placement.model_run import explain_run_errors, observe_output, tensors
from actsearch.placement.modular import make_modular
from actsearch.placement.put_back import explain_difference
from actsearch.placement.script_modules import refuse_script_module, replace_script_modules
from actsearch.placement.site_list import Sites, list_sites
from actsearch.placement.site_trace import SiteTrace, trace_sites

__all__ = [
    "ModelAnalysis",
    "copy_model",
    "model_structure",
    "sites",
    "unwrap_compiled",
]


class ModelAnalysis:
    """A model run and watched, or traced, once.

    Attributes:
        sample: one batch of inputs, or None.
        shell: a copy of the model in which every activation is a submodule, to be run and watched. It has weights of
            its own: a forward may write to them.
        sites: the activations.
        discovery: how they were found, to be done again in another copy.
    """

    def __init__(self, model: nn.Module, sample: Any = None) -> None:
        """Find a model's activations.

        Raises:
            PlacementError: if it does not run on the sample.
        """
        if not isinstance(model, nn.Module):
            raise PlacementError(f"a model is a torch.nn.Module, not {type(model).__name__}")
        self.sample = sample
        self.shell = copy_model(refuse_script_module(unwrap_compiled(model)))
        replace_script_modules(self.shell)
        # in which nothing has run, to be compared with
        self._untouched = None if sample is None else copy_model(self.shell)
        self._checked: dict[tuple[str, ...], str] = {}
        self.discovery = make_modular(self.shell, sample)
        self.sites: Sites = list_sites(self.shell, self.discovery)

    @functools.cached_property
    def relies_on_inplace(self) -> bool:
        """Whether the model computes something else when its in-place activation modules write nothing over.

        So does ``h + b(act(h))`` with ``act = nn.ReLU(inplace=True)``; most models use the result alone, and
        need no copy. Without a sample, a model that has such modules is taken to rely on it.
        """
        modules: list[Any] = [
            module
            for module in self.shell.modules()
            if getattr(module, "inplace", None) is True and is_activation(module)
        ]
        if not modules or self.sample is None:
            return bool(modules)
        usual = list(tensors(observe_output(self.shell, self.sample)))
        for module in modules:
            module.inplace = False
        without = list(tensors(observe_output(self.shell, self.sample)))
        for module in modules:
            module.inplace = True
        return not all(
            one.shape == other.shape and torch.equal(one, other)
            for one, other in zip(usual, without, strict=True)
        )

    def check_put_back(self, paths: Iterable[str]) -> None:
        """Refuse sites at which another module that computes the same would change what the model computes.

        Raises:
            PlacementError: with what differs. Without a sample nothing can be said.
        """
        key = tuple(paths)
        if self._untouched is None:
            return
        if key not in self._checked:
            with explain_run_errors():
                self._checked[key] = explain_difference(
                    self._untouched, self.discovery, self.sample, key
                )
        if why := self._checked[key]:
            raise PlacementError(why)

    def learns(self, path: str) -> bool:
        """Whether parameters of the model stand in the calls of a site, as in ``x * torch.sigmoid(self.beta * x)``."""
        chain = self.discovery.execution.chains.get(self.discovery.keys.get(path, path))
        return chain is not None and chain.learns

    @functools.cached_property
    def _traces(self) -> Mapping[str, SiteTrace]:
        return trace_sites(self.shell, [site.path for site in self.sites], self.sample)

    def traces(self, paths: Iterable[str]) -> dict[str, SiteTrace]:
        """What arrives at some sites; a path that the sample does not reach is missing."""
        return {path: self._traces[path] for path in paths if path in self._traces}


def sites(model: nn.Module, sample: Any = None) -> Sites:
    """List the activations of a model in the order in which they run.

    Modules, functions that a ``forward`` calls (``F.relu(x)``, ``x.relu()``) and functions held as attributes
    (``self.act = F.gelu``). One instance used under several names makes one site for each name. The model is not
    changed.

    Args:
        model: the user's model.
        sample: one batch of inputs, as the model's forward takes it. With it the model is run once and watched; without
            it, traced by torch.fx, which some models do not allow: ``sites(...).notes`` then says so.

    Raises:
        PlacementError: if the model does not run on the sample.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(1))
        >>> print(acs.sites(model))
        path  kind    type     role
        1     module  ReLU     hidden
        3     module  Softmax  output
        2 sites (1 hidden, 1 output), traced by torch.fx
    """
    return ModelAnalysis(model, sample).sites


def model_structure(model: nn.Module) -> tuple[Any, ...]:
    """Equal for models that are built in the same way: the same modules, and weights of the same shapes."""
    modules = [(path, type(module), module.extra_repr()) for path, module in model.named_modules()]
    shapes = [
        (name, None if is_lazy(p) else p.shape, p.dtype) for name, p in model.named_parameters()
    ]
    return tuple(modules), tuple(shapes)


def unwrap_compiled(model: nn.Module) -> nn.Module:
    """The module inside of what ``torch.compile`` made."""
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy; PlacementError if the model does not allow it.

    Results that the model keeps as attributes lose their history: torch copies only tensors without one.
    """
    # deepcopy takes what its memo holds for copied already
    memo = {
        id(item): item.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        for item in _items(value)
        if isinstance(item, Tensor) and not item.is_leaf
    }
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.jit.ScriptFunction):
                raise PlacementError(
                    f"{type(model).__name__} holds a function that torch.jit.script compiled, "
                    f"{f'{path}.{name}'.lstrip('.')!r}, which cannot be copied and in which nothing can be replaced: "
                    "hold the Python function that it was made of"
                )
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise PlacementError(
            f"{type(model).__name__} cannot be copied: {type(error).__name__}: {error}; "
            "give a function that builds it instead"
        ) from error


def _items(value: Any) -> Iterable[Any]:
    """What an attribute holds."""
    if type(value) is dict:
        return value.values()
    return value if type(value) in (list, tuple) else (value,)
