"""A Gaussian process over functions, and which of many functions to train next by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special, stats

from actsearch.naming.functions import Numbers
from actsearch.strategies.surrogate.kernel import Features, covariance

__all__ = ["Process", "normal_scores"]

_LENGTHS = (0.3, 0.6, 1.0)
_NOISES = (0.003, 0.03, 0.1, 0.3)
"""Lengths and shares of the variance among which the likelihood chooses."""

_TINY = 1e-9
_DIGITS = 9


def normal_scores(values: Numbers) -> Numbers:
    """Ranks as quantiles of N(0, 1), larger for larger values; equal ones share theirs.

    What diverged, or is a thousand times as bad, is then one rank below the next and not a thousand deviations.
    """
    scores: Numbers = special.ndtri((stats.rankdata(values) - 0.5) / len(values))
    return scores


@dataclass(frozen=True)
class Process:
    """What is known after some trainings.

    Attributes:
        features: of the functions that were trained.
        targets: their normal scores; (functions,).
        length: of the kernel.
        noise: share of the variance that another training of the same function would not repeat.
    """

    features: Features
    targets: Numbers
    length: float
    noise: float

    @classmethod
    def fit(cls, features: Features, values: Numbers) -> Process:
        """Choose length and noise by the likelihood (Rasmussen & Williams 2006, eq. 2.30).

        Args:
            features: of at least two functions.
            values: larger is better; (functions,).
        """
        targets = normal_scores(values)
        best, length, noise = -np.inf, _LENGTHS[0], _NOISES[-1]
        for tried in _LENGTHS:
            eigenvalues, vectors = linalg.eigh(covariance(features, features, tried))
            turned = vectors.T @ targets
            for share in _NOISES:
                spread = np.maximum(eigenvalues, 0) * (1 - share) + share
                scale = max(float((turned**2 / spread).mean()), _TINY)
                likelihood = -0.5 * (len(targets) * np.log(scale) + np.log(spread).sum())
                if likelihood > best:
                    best, length, noise = likelihood, tried, share
        return cls(features, targets, length, noise)

    def choose(self, pool: Features, count: int) -> list[int]:
        """Positions of those that promise most, one after the other by expected improvement.

        After each choice the process is told its own expectation (kriging believer, Ginsbourger et al. 2010), so that
        the next one is another function.

        Args:
            pool: what there is to choose from.
            count: how many.
        """
        own = self._covariance(self.features, self.features)
        own[np.diag_indices_from(own)] += self.noise
        root = linalg.cholesky(own, lower=True)
        half = linalg.solve_triangular(root, self._covariance(self.features, pool), lower=True)
        means = half.T @ linalg.solve_triangular(root, self.targets, lower=True)
        variances = np.maximum(1 - self.noise - (half**2).sum(0), _TINY)
        best = self._best_expectation(own)
        chosen: list[int] = []
        rows: list[Numbers] = []
        for _ in range(min(count, len(pool))):
            gains = _improvement(means, np.sqrt(variances), best)
            gains[chosen] = -1.0
            # mirror images are equal but for rounding, which must not decide: it differs with the number of threads
            place = int(np.round(gains, _DIGITS).argmax())
            chosen.append(place)
            best = max(best, float(means[place]))
            # how far all others are known when this one is
            column = self._covariance(pool, pool.take([place]))[:, 0] - half.T @ half[:, place]
            column -= sum(row * row[place] for row in rows)
            rows.append(column / np.sqrt(variances[place] + self.noise))
            variances = np.maximum(variances - rows[-1] ** 2, _TINY)
        return chosen

    def _best_expectation(self, own: Numbers) -> float:
        """The largest of the trained functions': the largest value would be luck of its seed."""
        pure = own - self.noise * np.eye(len(own))
        return float((pure @ linalg.solve(own, self.targets, assume_a="pos")).max())

    def _covariance(self, a: Features, b: Features) -> Numbers:
        return (1 - self.noise) * covariance(a, b, self.length)


def _improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    """Expected improvement over the best (Jones et al. 1998)."""
    z = (means - best) / deviations
    gains: Numbers = deviations * (z * special.ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return gains
