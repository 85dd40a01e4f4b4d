"""Scaled modified Bessel functions exp(-|a|) I0(a) and exp(-|a|) I1(a), in the places where torch's own stop.

torch has no gradient of the second in 16 bits: there it is computed in float32. ONNX has no Bessel functions at all:
in an ONNX export they become Chebyshev series in |a| / 4 - 1 up to 8, and in 16 / |a| - 1 beyond, as in Cephes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

__all__ = ["i0e", "i1e"]

_MEET = 8.0  # where the two series meet
_DEGREES = (29, 24)  # below and beyond; to the last digits of float64


def i0e(a: Tensor) -> Tensor:
    """exp(-|a|) I0(a)."""
    if torch.onnx.is_in_onnx_export():
        near, far = _series("i0e", a)
        size = torch.abs(a)
        return torch.where(size <= _MEET, near, far * torch.rsqrt(size))
    result: Tensor = torch.special.i0e(a)
    return result


def i1e(a: Tensor) -> Tensor:
    """exp(-|a|) I1(a)."""
    if torch.onnx.is_in_onnx_export():
        near, far = _series("i1e", a)
        size = torch.abs(a)
        return torch.where(size <= _MEET, near * a, far * torch.rsqrt(size) * torch.sign(a))
    result: Tensor = torch.special.i1e(a.float() if a.dtype.itemsize == 2 else a)
    return result if result.dtype == a.dtype else result.to(a.dtype)


def _series(name: str, a: Tensor) -> tuple[Tensor, Tensor]:
    """i0e(a) or i1e(a) / a for |a| up to 8, and the function times sqrt(|a|) beyond; each is good on its side alone."""
    near, far = _coefficients(name)
    size = torch.abs(a)
    return _clenshaw(size * (2 / _MEET) - 1, near), _clenshaw(2 * _MEET / size - 1, far)


@functools.cache
def _coefficients(name: str) -> tuple[list[float], list[float]]:
    """Chebyshev coefficients of the two sides, lowest first."""
    function = getattr(special, name)

    def near(t: Any) -> Any:
        u = (t + 1) * _MEET / 2
        return function(u) if name == "i0e" else function(u) / u

    def far(t: Any) -> Any:
        u = 2 * _MEET / (t + 1)
        return function(u) * np.sqrt(u)

    below, beyond = _DEGREES
    interpolate = np.polynomial.chebyshev.chebinterpolate
    return interpolate(near, below).tolist(), interpolate(far, beyond).tolist()


def _clenshaw(t: Tensor, coefficients: list[float]) -> Tensor:
    """Sum of c_k T_k(t) by Clenshaw's recurrence."""
    first, *rest = coefficients
    one = two = torch.zeros_like(t)
    for coefficient in reversed(rest):
        one, two = coefficient + 2 * t * one - two, one
    return first + t * one - two
