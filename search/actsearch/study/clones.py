"""Finalists that are nearly one function: confirming both would spend a comparison on the same question."""

from __future__ import annotations

import numpy as np

from actsearch.activation_catalog import CATALOG
from actsearch.activations import build_expression, curve
from actsearch.records import ActivationRecord, CandidateRecord

__all__ = ["near_clone"]

_CLOSE = 0.1  # of the norm: relu and leaky_relu(0.01) are clones, gelu and silu are not


def near_clone(a: CandidateRecord, b: CandidateRecord) -> bool:
    """Whether two candidates are nearly one in every group of sites.

    Two activations are, that differ by less than a tenth of their norm, sqrt(E[(f - g)^2]), z ~ N(0, 1). Learned forms
    are compared at their start, and only with forms of as many parameters.
    """
    return all(_are_close(first, second) for first, second in a.align(b))


def _are_close(first: ActivationRecord | None, second: ActivationRecord | None) -> bool:
    if first is None or second is None or not (_is_plain(first) and _is_plain(second)):
        return first is not None and first == second
    if len(build_expression(first).parameters) != len(build_expression(second).parameters):
        return False
    x, f, _ = curve(first, -4, 4, 321)
    g = curve(second, -4, 4, 321).y
    density = np.exp(-0.5 * x * x)
    kept = np.isfinite(f) & np.isfinite(g)
    distance = float((density * (f - g) ** 2)[kept].sum())
    norm = float((density * np.maximum(f * f, g * g))[kept].sum())
    # unlike the distance of screening.neighbours, which orders by E[(f - g)^2] on a finer rule with heavier tails: to
    # compute one by the other would choose other finalists
    return distance <= _CLOSE**2 * norm


def _is_plain(item: ActivationRecord) -> bool:
    """Whether the formula says all that the activation does."""
    row = CATALOG[item.name] if item.name else None
    return row is None or (row.elementwise and not row.random and not row.straight_through)
