"""What the tasks of a benchmark say about a function that nobody has trained on them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from scipy import linalg

from actsearch.benchmark import Benchmark
from actsearch.naming.functions import Numbers
from actsearch.strategies.surrogate.kernel import Features, covariance, describe_curves

__all__ = ["Elsewhere", "Prior", "benchmark_prior"]

_LENGTH, _NOISE = 0.6, 0.1  # with which a task is best predicted from four fifths of its functions


_TOLD: WeakKeyDictionary[Features, WeakKeyDictionary[Prior, Numbers]] = WeakKeyDictionary()
"""What priors said, as long as the features are held: those of a pool of formulas are asked for at every proposal."""


class Elsewhere(Protocol):
    """What is known from other tasks."""

    def extend(self, features: Features) -> Features:
        """Features with what is expected of them."""


@dataclass(frozen=True, eq=False)  # one for each table: caches know it by that
class Prior:
    """Tasks elsewhere, each as a function over functions: the mean of a Gaussian process over its trainings.

    Attributes:
        features: of the functions that were trained there.
        weights: so that ``covariance(f, features) @ weights`` is what each task expects of f; (functions, tasks).
    """

    features: Features
    weights: Numbers

    @classmethod
    def of(cls, features: Features, scores: Numbers) -> Prior:
        """From normal scores of the same functions on each task; (functions, tasks)."""
        own = (1 - _NOISE) * covariance(features, features, _LENGTH)
        own[np.diag_indices_from(own)] += _NOISE
        return cls(features, (1 - _NOISE) * linalg.solve(own, scores, assume_a="pos"))

    def tell(self, features: Features) -> Numbers:
        """What each task expects of functions; (functions, tasks)."""
        known = _TOLD.setdefault(features, WeakKeyDictionary())
        if self not in known:
            known[self] = covariance(features, self.features, _LENGTH) @ self.weights
        return known[self]

    def extend(self, features: Features) -> Features:
        """Features with what the tasks expect of them."""
        told = self.tell(features)
        mean = told.mean(1)
        share = max(told.shape[1] - 1, 1) ** -0.5
        return replace(features, expected=mean, apart=(told - mean[:, None]) * share)


@functools.lru_cache(maxsize=32)
def benchmark_prior(table: Benchmark) -> Prior:
    """Each task at each learning rate is one of a prior's: the rate of a user's model may be small or large for it."""
    scores = table.ranks.reshape(-1, len(table.functions)).T
    learned = [function.learned for function in table.functions]
    return Prior.of(describe_curves(table.curves.astype(np.float64), learned), scores)
