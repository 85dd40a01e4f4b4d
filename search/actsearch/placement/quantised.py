"""Models whose numbers are quantised, on which an activation of floating point cannot be put."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from actsearch.errors import PlacementError
from actsearch.placement.probe import trace

__all__ = ["refuse_quantised_sites"]


def refuse_quantised_sites(model: nn.Module, paths: Iterable[str], sample: Any) -> None:
    """Refuse sites at which quantised numbers arrive; without a sample, any in such a model.

    Layers quantised dynamically take and give floating-point numbers.

    Raises:
        PlacementError: for the first such site.
    """
    begins = next((path for path, module in model.named_modules() if _quantises(module)), None)
    if begins is None:
        return
    advice = "place the activation in the model of floating-point numbers, and quantise that"
    if sample is None:
        raise PlacementError(
            f"the model is quantised (from {begins!r} on), and at which sites is not known without sample=; {advice}"
        )
    for path, seen in trace(model, list(paths), sample).items():
        if seen.inputs.is_quantized:
            raise PlacementError(
                f"quantised numbers arrive at {path!r} (from {begins!r} on): {advice}"
            )


def _quantises(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__name__ == "Quantize" and kind.__module__.startswith("torch.ao.nn.quantized.")
