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
_SHAPE, _SLOPE, _GAIN, _SHIFT, _LEARNED = 1.0, 0.3, 0.3, 0.15, 0.3
"""Weights of what two functions may differ in."""

_MAP = 0.2
_MAP_SPREADS = np.array([1.1, 0.3, 1.4, 0.7])
"""Weight of each of :func:`compute_maps`, and about their standard deviations over a benchmark of activations."""

_TINY = 1e-6
_STEEP = 4.0  # slopes count up to so many standard deviations per one of the input


@dataclass(frozen=True, eq=False)  # caches know them by which they are
class Features:
    """What a kernel compares, of f(x) and of f(-x).

    Attributes:
        plain: of f(x); (functions, features).
        turned: of f(-x).
        expected: what they come to on tasks elsewhere, on average; (functions,), or () where nothing is known.
        apart: by how much each of those tasks differs from the average; (functions, tasks).
        even: how many of the features, the last ones, are the same for f and -f.
    """

    plain: Numbers
    turned: Numbers
    expected: Numbers = field(default_factory=lambda: np.zeros(0))
    apart: Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    even: int = len(SCALES) + len(_MAP_SPREADS) + 1

    def __len__(self) -> int:
        return len(self.plain)

    @functools.cached_property
    def images(self) -> tuple[Numbers, ...]:
        """Of f(x), -f(x), f(-x) and -f(-x)."""
        flip = np.ones(self.plain.shape[1])
        flip[: -self.even] = -1.0
        return self.plain, self.plain * flip, self.turned, self.turned * flip

    @functools.cached_property
    def norms(self) -> tuple[Numbers, ...]:
        """Squared, of each image."""
        return tuple((image * image).sum(1) for image in self.images)

    @functools.cached_property
    def _apart_from_images(self) -> tuple[Numbers, ...]:
        return tuple(np.square(self.plain - image).sum(1) for image in self.images)

    def own(self, length: float) -> Numbers:
        """What each function has in common with its own four images; (functions,)."""
        total: Numbers = np.sum(
            [np.exp(squares / (-2 * length**2)) for squares in self._apart_from_images], axis=0
        )
        return total

    @property
    def has_prior(self) -> bool:
        """Whether it is known what they come to elsewhere."""
        return len(self.expected) == len(self.plain) > 0

    def take(self, places: list[int]) -> Features:
        """Of some of the functions."""
        taken = Features(self.plain[places], self.turned[places], even=self.even)
        if not self.has_prior:
            return taken
        return replace(taken, expected=self.expected[places], apart=self.apart[places])


def join_features(parts: Sequence[Features]) -> Features:
    """Of several lists of functions one after the other, all with a prior or none."""
    return Features(
        np.concatenate([part.plain for part in parts]),
        np.concatenate([part.turned for part in parts]),
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.apart for part in parts]),
    )


def describe_curves(curves: Numbers, learned: Sequence[bool] | Numbers | None = None) -> Features:
    """Features of curves; those of -f are the negative ones, but for the gain and what learns.

    At each scale of the input: the values less their mean in their standard deviation, the slopes in it, how large
    the deviation is (a gain of the layer, which an initialisation does not make up for), and the mean in it.

    Args:
        curves: values and slopes; (functions, 2, points).
        learned: which functions have numbers that are learned, and so are another one after the training; None: none.
    """
    learns = np.zeros(len(curves)) if learned is None else np.asarray(learned, np.float64)
    return Features(_features(curves, learns), _features(mirror(curves), learns))


def _features(curves: Numbers, learns: Numbers) -> Numbers:
    values, slopes = (part.reshape(-1, *_BLOCKS) for part in (curves[:, 0], curves[:, 1]))
    scales = np.array(SCALES)[:, None]
    means = values.mean(-1, keepdims=True)
    deviations = np.maximum(values.std(-1, keepdims=True), _TINY)
    shape = (values - means) / deviations
    steepness = np.clip(slopes * scales / deviations, -_STEEP, _STEEP)
    gain = np.log(deviations / scales).clip(-4.0, 4.0)[..., 0]
    shift = (means / deviations).clip(-3.0, 3.0)[..., 0]
    share = (len(SCALES) * COUNT) ** -0.5
    per_scale = len(SCALES) ** -0.5
    return np.concatenate(
        [
            _SHAPE * share * shape.reshape(len(values), -1),
            _SLOPE * share * steepness.reshape(len(values), -1),
            _SHIFT * per_scale * shift,
            _GAIN * per_scale * gain,  # from here on the sign of f changes nothing
            _MAP * compute_maps(curves) / _MAP_SPREADS,
            _LEARNED * learns[:, None],
        ],
        axis=1,
    )


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

    The mean over f(x), -f(x), f(-x) and -f(-x), which train alike between symmetrically initialised layers, is
    positive definite and the same for each of the four.

    Args:
        a, b: features.
        length: distance at which two functions tell little about each other.
    """
    images = zip(b.images, b.norms, strict=True)
    total = np.zeros((len(a), len(b)))
    doubled = 2 * a.plain
    for image, norms in images:
        # in place, as most of the time goes into passes over memory: the negative squared distance
        values: Numbers = doubled @ image.T
        values -= a.norms[0][:, None]
        values -= norms
        np.minimum(values, 0.0, out=values)
        values *= 1 / (2 * length**2)
        total += np.exp(values, out=values)
    total /= np.sqrt(a.own(length))[:, None]
    total /= np.sqrt(b.own(length))
    return total
