"""Moments of an activation's output for standard normal input, and the initialisation gain they give."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import integrate

from actsearch.activation.build import describe
from actsearch.activation.function import scalar_module
from actsearch.errors import ActivationError

__all__ = ["Moments", "gain", "moments"]

_TAIL = 12.0  # beyond 12 standard deviations the normal density is below 1e-32


class Moments(NamedTuple):
    """Moments of f(z), z standard normal."""

    mean: float
    second: float


def moments(what: Any) -> Moments:
    """E[f(z)] and E[f(z)^2] for z ~ N(0, 1), learned parameters at their start.

    Adaptive Gauss-Kronrod quadrature (scipy ``cubature``), split at 0; the error estimate is below 1e-8 for
    functions of bounded growth. Infinite or undefined moments are returned as they come out.

    Raises:
        ActivationError: if it is not a function of one number.
    """
    module = scalar_module(what)

    def integrand(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        z = torch.from_numpy(np.ascontiguousarray(points[:, :1]))
        with torch.no_grad():
            y = module(z).numpy()
        density = np.exp(-0.5 * points[:, :1] ** 2) / math.sqrt(2 * math.pi)
        return np.concatenate([y * density, y * y * density], axis=1)

    with np.errstate(all="ignore"):
        result = integrate.cubature(
            integrand, [-_TAIL], [_TAIL], rule="gk21", rtol=1e-9, atol=1e-10, points=[np.zeros(1)]
        )
    mean, second = (float(value) for value in result.estimate)
    return Moments(mean, second)


def gain(what: Any) -> float:
    """Weight gain that keeps the second moment at 1: ``1 / sqrt(E[f(z)^2])``, z ~ N(0, 1).

    sqrt(2) for ReLU, as in He et al. 2015 (arXiv:1502.01852, eq. 10).

    Raises:
        ActivationError: if the second moment is zero or not finite.
    """
    second = moments(what).second
    if not math.isfinite(second) or second <= 0:
        raise ActivationError(f"{describe(what).label} has no gain: E[f(z)^2] is {second}")
    return 1 / math.sqrt(second)
