"""What earlier studies say about a function, each believed as far as it ranks what this study has tried."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from actsearch.benchmark import normal_scores
from actsearch.strategies.base import Context, Earlier
from actsearch.strategies.population import Member
from actsearch.strategies.surrogate.choice import has_parameters
from actsearch.strategies.surrogate.curves import compute_curve
from actsearch.strategies.surrogate.kernel import Features, describe_curves
from actsearch.strategies.surrogate.prior import Elsewhere, Prior

__all__ = ["Weighed", "weigh_earlier"]

_FEWEST = 4  # functions, or trials, that tell something
_LATEST = 200  # trials by which studies are judged: pairs grow with their square
_MOST = 5  # studies that are asked about a pool of formulas, which takes long
_NEUTRAL = 0.5  # weight of a study while nothing is known of it
_DIGITS = 9  # mirror images are equal but for rounding, which must not decide


@dataclass(frozen=True)
class Weighed:
    """The benchmark and earlier studies together.

    Attributes:
        benchmark: its tasks together count as one study of weight 1; None: so does the expectation of 0.
        studies: of one task each.
        weights: of each study, above 0 and at most 1.
    """

    benchmark: Prior | None
    studies: tuple[Prior, ...]
    weights: tuple[float, ...]

    def extend(self, features: Features) -> Features:
        """Features with the weighted mean of what is expected of them, and how far each study is from it."""
        told = np.concatenate([study.tell(features) for study in self.studies], axis=1)
        weights = np.array(self.weights)
        if self.benchmark is not None:
            features = self.benchmark.extend(features)
        else:
            count = len(features)
            features = replace(features, expected=np.zeros(count), apart=np.zeros((count, 0)))
        expected = (features.expected + told @ weights) / (1 + weights.sum())
        apart = weights * (told - expected[:, None])
        return replace(features, expected=expected, apart=np.hstack([features.apart, apart]))


def weigh_earlier(
    benchmark: Prior | None, members: Sequence[Member], noise: float, context: Context
) -> Elsewhere | None:
    """What is known from other tasks: of the benchmark, and of the earlier studies that rank as this one does.

    Ranking weights after Feurer, Letham and Bakshy 2018 (arXiv:1802.02219), see :func:`_weight`.

    Args:
        benchmark: what its tasks say, if it is used.
        members: what was tried, each with one activation, in order of number.
        noise: pairs that differ by no more are left out.
        context: with the earlier studies and the direction.
    """
    weighed = [
        (_weight(study, members[-_LATEST:], noise, context), study)
        for earlier in context.earlier
        if (study := _study(earlier)) is not None
    ]
    # sorted is stable: of equal weights the first ones
    best = sorted(weighed, key=lambda one: -one[0])[:_MOST]
    kept = [(study, weight) for weight, study in best if weight > 0]
    if not kept:
        return benchmark
    studies, weights = zip(*kept, strict=True)
    return Weighed(benchmark, studies, weights)


def _weight(study: Prior, members: Sequence[Member], noise: float, context: Context) -> float:
    """From 0, for a ranking as good as chance might be, to 1, where every pair is ranked as it came out.

    Kendall's tau, 2 p - 1 for a share p of pairs ranked alike, less what it comes to for unrelated values (its
    standard deviation, Kendall 1938): among many studies some rank a few trials well by luck.
    """
    told = [(_expect(study, member.items[0].formula), member.value) for member in members]
    pairs = [(expected, value) for expected, value in told if expected is not None]
    if len(pairs) < _FEWEST:
        return _NEUTRAL
    expected, values = np.array(pairs).T
    with np.errstate(over="ignore"):  # of values near the largest number
        differences = values[:, None] - values
    sign = 1.0 if context.direction == "maximize" else -1.0
    tells = np.triu(np.abs(differences) > noise)
    if not tells.any():
        return _NEUTRAL
    alike = sign * np.sign(differences) * np.sign(expected[:, None] - expected)
    count = len(pairs)
    luck = np.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))
    return max(float((alike[tells].mean() - luck) / (1 - luck)), 0.0)


@functools.lru_cache(maxsize=64)
def _study(earlier: Earlier) -> Prior | None:
    """What an earlier study expects of any function; None where it tried too few that can be read."""
    found = [
        (curve, has_parameters(formula), value)
        for formula, value in zip(earlier.formulas, earlier.values, strict=True)
        if (curve := compute_curve(formula)) is not None
    ]
    if len(found) < _FEWEST:
        return None
    curves, learned, values = zip(*found, strict=True)
    return Prior.of(
        describe_curves(np.array(curves), learned), normal_scores(np.array(values))[:, None]
    )


@functools.lru_cache(maxsize=16_384)
def _expect(study: Prior, formula: str) -> float | None:
    """What a study expects of one function, which each later proposal asks for again."""
    features = _describe(formula)
    return None if features is None else round(float(study.tell(features)[0, 0]), _DIGITS)


@functools.lru_cache(maxsize=1024)
def _describe(formula: str) -> Features | None:
    """Features of one function, of which every study is asked."""
    curve = compute_curve(formula)
    return None if curve is None else describe_curves(curve[None], [has_parameters(formula)])
