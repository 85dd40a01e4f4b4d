"""How alike two functions are, as far as a network can tell: a kernel over their curves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from actsearch.naming.functions import Numbers
from actsearch.strategies.surrogate.curves import COUNT, SCALES, mirror, points

__all__ = ["Features", "covariance", "describe_curves", "join_features"]

_BLOCKS = (len(SCALES), COUNT)
_SHAPE, _SLOPE, _GAIN, _LEARNED = 1.0, 0.3, 0.3, 0.3
"""Weights of what two functions may differ in."""

_MAP = 0.2
_MAP_SPREADS = np.array([1.1, 0.3, 1.4, 0.7])
"""Weight of each of :func:`compute_maps`, and about their standard deviations over a benchmark of activations."""

_TINY = 1e-6
_STEEP = 4.0  # slopes count up to so many standard deviations per one of the input


@dataclass(frozen=True, eq=False)  # caches know them by which they are
class Features:
    """What a kernel compares.

    Attributes:
        odd: of f(x), those that change their sign with f; (functions, features).
        turned: the same of f(-x).
        even: those that f(x), -f(x), f(-x) and -f(-x) share; (functions, features).
        expected: what they come to on tasks elsewhere, on average; (functions,), or () where nothing is known.
        apart: by how much each of those tasks differs from the average; (functions, tasks).
    """

    odd: Numbers
    turned: Numbers
    even: Numbers
    expected: Numbers = field(default_factory=lambda: np.zeros(0))
    apart: Numbers = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.odd)

    @functools.cached_property
    def products(self) -> Numbers:
        """Of each function, odd with odd, odd with turned, and even with even; (3, functions)."""
        pairs = (self.odd, self.odd), (self.odd, self.turned), (self.even, self.even)
        return np.array([np.einsum("fi,fi->f", *pair) for pair in pairs])

    @property
    def has_prior(self) -> bool:
        """Whether it is known what they come to elsewhere."""
        return len(self.expected) == len(self.odd) > 0

    def take(self, places: list[int]) -> Features:
        """Of some of the functions."""
        taken = Features(self.odd[places], self.turned[places], self.even[places])
        if not self.has_prior:
            return taken
        return replace(taken, expected=self.expected[places], apart=self.apart[places])


def join_features(parts: Sequence[Features]) -> Features:
    """Of several lists of functions one after the other, all with a prior or none."""
    return Features(
        np.concatenate([part.odd for part in parts]),
        np.concatenate([part.turned for part in parts]),
        np.concatenate([part.even for part in parts]),
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.apart for part in parts]),
    )


def describe_curves(curves: Numbers, learned: Sequence[bool] | Numbers | None = None) -> Features:
    """Features of curves.

    At each scale of the input: the values less their mean in their standard deviation, the slopes in it, and how large
    the deviation is (a gain of the layer, which an initialisation does not make up for).

    Args:
        curves: values and slopes; (functions, 2, points).
        learned: which functions have numbers that are learned, and so are another one after the training; None: none.
    """
    learns = np.zeros(len(curves)) if learned is None else np.asarray(learned, np.float64)
    deviations = np.maximum(_by_scale(curves[:, 0]).std(-1, keepdims=True), _TINY)
    scales = np.array(SCALES)[:, None]
    gain = np.log(deviations / scales).clip(-4.0, 4.0)[..., 0]
    even = [
        _GAIN * len(SCALES) ** -0.5 * gain,
        _MAP * compute_maps(curves) / _MAP_SPREADS,
        _LEARNED * learns[:, None],
    ]
    odd, turned = (_odd(image, deviations) for image in (curves, mirror(curves)))
    return Features(odd, turned, np.concatenate(even, axis=1))


def _odd(curves: Numbers, deviations: Numbers) -> Numbers:
    values, slopes = _by_scale(curves[:, 0]), _by_scale(curves[:, 1])
    shape = (values - values.mean(-1, keepdims=True)) / deviations
    steepness = slopes * np.array(SCALES)[:, None] / deviations
    parts = [_SHAPE * shape, _SLOPE * steepness.clip(-_STEEP, _STEEP)]
    share: float = (len(SCALES) * COUNT) ** -0.5
    joined: Numbers = np.concatenate([part.reshape(len(curves), -1) for part in parts], axis=1)
    return share * joined


def _by_scale(values: Numbers) -> Numbers:
    blocks: Numbers = values.reshape(-1, *_BLOCKS)
    return blocks


def compute_maps(curves: Numbers) -> Numbers:
    """How a deep network's signal passes a function: log E f^2, C(0), log C'(1) and Q'(1) under N(0, 1).

    With C(0) = E[f]^2 / E[f^2] what unrelated inputs have in common behind it, C'(1) = E[f'^2] / E[f^2] how fast equal
    ones part, and Q'(1) = E[f f' z] / E[f^2] how their size changes: the local conditions of deep kernel shaping
    (Martens et al. 2021, arXiv:2203.08120, section 3). The sign of f and that of x change none of them.

    Args:
        curves: values and slopes; (functions, 2, points).

    Returns:
        Each between -4 and 4; (functions, 4).
    """
    middle = slice(COUNT, 2 * COUNT)  # at scale 1
    z, values, slopes = points()[middle], curves[:, 0, middle], curves[:, 1, middle]
    square = np.maximum((values**2).mean(1), _TINY)
    maps = np.stack(
        [
            np.log(square),
            values.mean(1) ** 2 / square,
            np.log(np.maximum((slopes**2).mean(1) / square, _TINY)),
            (values * slopes * z).mean(1) / square,
        ],
        axis=1,
    )
    return maps.clip(-4.0, 4.0)


def covariance(a: Features, b: Features, length: float) -> Numbers:
    """1 for equal functions, towards 0 for different ones; (len(a), len(b)).

    The mean of a Gaussian kernel over f(x), -f(x), f(-x) and -f(-x), which train alike between symmetrically
    initialised layers, is positive definite and the same for each of the four. As they share the size of their
    features, the sum over f and -f is twice a hyperbolic cosine.

    Args:
        a, b: features.
        length: distance at which two functions tell little about each other.
    """
    scale = length**-2
    shared = a.even @ b.even.T
    shared -= 0.5 * a.products[[0, 2]].sum(0)[:, None]
    shared -= 0.5 * b.products[[0, 2]].sum(0)
    shared *= scale
    total = _two_cosh(a.odd @ b.odd.T, scale)
    total += _two_cosh(a.odd @ b.turned.T, scale)
    total *= np.exp(shared, out=shared)
    total /= np.sqrt(_own(a, scale))[:, None]
    total /= np.sqrt(_own(b, scale))
    return total


def _own(features: Features, scale: float) -> Numbers:
    """What each function has in common with its own four images; (functions,)."""
    odd, turned, _ = features.products
    total: Numbers = _two_cosh(odd.copy(), scale) + _two_cosh(turned.copy(), scale)
    total *= np.exp(-scale * odd)
    return total


def _two_cosh(values: Numbers, scale: float) -> Numbers:
    """2 cosh(scale * values), in place: most of the time goes into passes over memory."""
    values *= scale
    grown = np.exp(values, out=values)
    grown += 1 / grown
    return grown
