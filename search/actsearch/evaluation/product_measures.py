"""What a trained candidate will cost in a product: its error as int8, its hinges, the bytes that its training keeps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from actsearch.activations import Activation
from actsearch.activations.function import sample, scalar_module
from actsearch.activations.hinge_sum import count_hinges
from actsearch.activations.lookup_table import make_table, quantisation_for
from actsearch.activations.met_inputs import recorded_inputs
from actsearch.activations.recorded_numbers import put_recorded
from actsearch.errors import TaskError
from actsearch.records import SiteDiagnostics
from actsearch.training import isolated_random

__all__ = ["int8_error", "kept_bytes", "most_hinges", "saved_bytes"]

_ERROR = 0.01  # that the hinges may have

Array = npt.NDArray[np.float64]
Sites = Iterable[tuple[nn.Module, SiteDiagnostics]]


def int8_error(sites: Sites) -> float:
    """The largest error, in output codes, on the recorded inputs; rounding the input counts."""
    return max(_table_error(module, site) for module, site in _learned(sites))


def _table_error(module: Activation, site: SiteDiagnostics) -> float:
    met = recorded_inputs([site])
    scalar = scalar_module(module)

    def function(points: Array) -> Array:
        return sample(scalar, torch.from_numpy(points)).y

    source = quantisation_for(met.low, met.high, 8)
    values = function(np.linspace(*source.interval, 4097))
    target = quantisation_for(float(values.min()), float(values.max()), 8)
    table = make_table(function, source, target, module.record.label)
    found = table.look_up(source.codes(met.points))
    return float(np.abs(found - target.exact(function(met.points))).max())


def most_hinges(sites: Sites) -> float:
    """The fewest hinges with an error of at most .01 on the recorded inputs; 33 where 32 are not enough."""
    counts = [
        count_hinges(module, _ERROR, recorded_inputs([site]).interval)
        for module, site in _learned(sites)
    ]
    return float(max(counts))


def _learned(sites: Sites) -> Iterable[tuple[Activation, SiteDiagnostics]]:
    """Each activation with what it has learned, as far as that is one number for the site."""
    for module, site in sites:
        if not isinstance(module, Activation):
            raise TaskError(
                "the model unchanged has no formula that could become a table or hinges"
            )
        if any(parameter.dim() for parameter in module.parameters()):
            raise TaskError(
                f"{module.record.label} learns for each channel, and a table or a sum of hinges holds one function"
            )
        put_recorded(module, site)
        yield module, site


def saved_bytes(sites: Sites, device: torch.device) -> float:
    """Bytes that autograd keeps of the activations for the backward pass, beside their parameters."""
    total = 0
    with isolated_random(0):
        for module, site in sites:
            dtype = next((p.dtype for p in module.parameters()), torch.get_default_dtype())
            x = torch.randn(site.shape, device=device, dtype=dtype, requires_grad=True)
            total += kept_bytes(module, x)
    return float(total)


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """What autograd keeps of one pass, beside parameters; what shares memory counts once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(storages.values())
