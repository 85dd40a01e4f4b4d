"""Which inputs an activation meets: what a trial recorded at its sites, or what a user hands in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from actsearch.checks import is_number
from actsearch.errors import ActivationError
from actsearch.records import HISTOGRAM_EDGES, Diagnostics, SiteDiagnostics

__all__ = ["MetInputs", "met_inputs", "recorded_inputs"]

Array = npt.NDArray[np.float64]

_MOST_POINTS = 8192  # of a tensor, evenly spread ones are checked
_PER_BIN = 16  # points of a histogram's bin
_REACH = 6.0  # standard deviations to which a range is taken where the histogram does not say how far it goes


@dataclass(frozen=True)
class MetInputs:
    """Inputs that an activation meets.

    Attributes:
        low: the smallest.
        high: the largest.
        points: some of them, or points that stand for them, ``(n,)``.
        source: where they come from, in words.
        note: what is not known of them; empty if nothing.
    """

    low: float
    high: float
    points: Array
    source: str
    note: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


def met_inputs(given: Any) -> MetInputs:
    """What a user gives as ``inputs=``: a tensor or array of them, ``(low, high)``, or a trial's diagnostics.

    Raises:
        ActivationError: none of these, nothing in it, or not finite.
    """
    if isinstance(given, MetInputs):
        return given
    if isinstance(given, Diagnostics):
        return recorded_inputs(given.newest)
    if isinstance(given, SiteDiagnostics):
        return recorded_inputs([given])
    if isinstance(given, tuple) and len(given) == 2 and all(map(is_number, given)):
        low, high = map(float, given)
        if not (np.isfinite(given).all() and low < high):
            raise ActivationError(
                f"inputs=(low, high) must be finite with low < high, not {given!r}"
            )
        return MetInputs(low, high, np.linspace(low, high, 2001), "the interval that was given")
    try:
        values = torch.as_tensor(given).detach().double().flatten().cpu().numpy()
    except (TypeError, ValueError, RuntimeError):
        raise ActivationError(
            "inputs must be a tensor of numbers that arrive at the activation, (low, high), or the diagnostics of a "
            f"trial, not {type(given).__name__}"
        ) from None
    if not values.size or not np.isfinite(values).all():
        raise ActivationError(
            "inputs hold no number, or some that are not finite: nothing can be calibrated on them"
        )
    some = values[:: max(1, values.size // _MOST_POINTS)]
    return MetInputs(
        float(values.min()), float(values.max()), some, f"{values.size} inputs that were given"
    )


def recorded_inputs(sites: Sequence[SiteDiagnostics]) -> MetInputs:
    """The inputs of sites, from their histograms: the range of the bins that are not empty.

    The first and the last bin are open. Where they hold something, the range goes to 6 standard deviations from the
    mean, and a note says so.

    Raises:
        ActivationError: no site recorded anything.
    """
    lows, highs, points = [], [], []
    is_open = False
    for site in sites:
        filled = np.flatnonzero(np.array(site.histogram))
        if not filled.size or site.mean is None or site.sd is None:
            continue
        reach = (site.mean - _REACH * site.sd, site.mean + _REACH * site.sd)
        edges = np.array(
            [
                min(reach[0], HISTOGRAM_EDGES[0] - 0.5),
                *HISTOGRAM_EDGES,
                max(reach[1], HISTOGRAM_EDGES[-1] + 0.5),
            ]
        )
        is_open |= bool(filled[0] == 0 or filled[-1] == len(edges) - 2)
        lows.append(edges[filled[0]])
        highs.append(edges[filled[-1] + 1])
        points += [np.linspace(edges[k], edges[k + 1], _PER_BIN) for k in filled]
    if not points or not np.isfinite([*lows, *highs]).all():
        raise ActivationError(
            "no inputs were recorded: the task has diagnostics=False, or nothing was trained; give inputs="
        )
    note = (
        f"Some recorded inputs lie beyond {HISTOGRAM_EDGES[0]:g} to {HISTOGRAM_EDGES[-1]:g}, where only their share is "
        f"known: the range was taken to {_REACH:g} standard deviations."
    )
    source = f"the inputs recorded at {len(lows)} site{'s' * (len(lows) > 1)}"
    return MetInputs(
        float(min(lows)),
        float(max(highs)),
        np.unique(np.concatenate(points)),
        source,
        note if is_open else "",
    )
