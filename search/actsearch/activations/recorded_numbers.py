"""What an activation learned at a site of a trial, put back into a module."""

from __future__ import annotations

import torch

from actsearch.activations.module import Activation
from actsearch.records import SiteDiagnostics

__all__ = ["put_recorded"]


def put_recorded(module: Activation, site: SiteDiagnostics) -> dict[str, float]:
    """Fill learned numbers with those recorded at a site, as far as they are one for the site.

    Returns:
        What was filled in, by name; the others stay as they are.
    """
    filled = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = site.learned.get(name, ())
            if len(values) == 1 and not parameter.dim():
                parameter.fill_(values[0])
                filled[name] = float(values[0])
    return filled
