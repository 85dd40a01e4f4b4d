"""A Gaussian process over functions, and which of many functions to train next by it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, special

from actsearch.benchmark import normal_scores
from actsearch.naming.functions import Numbers
from actsearch.strategies.surrogate.kernel import Features, covariance, join_features

__all__ = ["Process", "Settings"]

_LENGTHS = (0.3, 0.4, 0.8)
_NOISES = (0.003, 0.03, 0.1, 0.3)
"""Lengths and shares of the variance among which the likelihood chooses."""

_OWN_SHARES = (0.15, 0.5)
"""With a prior: variance of what no task elsewhere has shown, where that of a task elsewhere is 1."""

_SCALES = (0.5, 0.75, 1.0, 1.4, 2.0)
"""With a prior: how much a difference of one elsewhere is here."""

_LEVEL = 1.0  # variance of what all functions have in common here
_NEAR = 400  # of a large pool, what may be chosen together
_TINY = 1e-9
_DIGITS = 9
_LAST = 1e6

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """What the likelihood chooses.

    Attributes:
        length: of the kernel.
        noise: variance that another training of the same function would not repeat.
        own: variance of what is special to this task.
        scale: of the targets, in which the variances count.
        uses_prior: whether tasks elsewhere tell anything.
    """

    length: float
    noise: float
    own: float
    scale: float = 1.0
    uses_prior: bool = False


@dataclass(frozen=True)
class Process:
    """What is known after some trainings.

    Attributes:
        features: of the functions that were trained.
        targets: their normal scores; (functions,).
        settings: of the covariance.
    """

    features: Features
    targets: Numbers
    settings: Settings

    @classmethod
    def fit(cls, features: Features, values: Numbers) -> Process:
        """Choose the settings by the likelihood (Rasmussen & Williams 2006, eq. 2.30).

        Args:
            features: of at least two functions.
            values: larger is better; (functions,).
        """
        targets = normal_scores(values)
        tried = itertools.chain(
            _without_prior(features, targets),
            _with_prior(features, targets) if features.has_prior else (),
        )
        _, settings = max(tried, key=lambda one: one[0])
        return cls(features, targets, settings)

    def choose(
        self,
        pool: Features,
        count: int,
        credits: Numbers | None = None,
        turns: Sequence[Mask] = (),
        first_turn: int = 0,
        pending: Features | None = None,
    ) -> list[int]:
        """Positions of those that promise most, one after the other by expected improvement.

        After each choice the process is told its own expectation (kriging believer, Ginsbourger et al. 2010), so that
        the next one is another function.

        Args:
            pool: what there is to choose from.
            count: how many.
            credits: by which the expected improvement of each counts; None for alike.
            turns: for one choice after the other, again and again, those of the pool it is made among; () for all.
            first_turn: whose turn it is first, where fewer are chosen than there are turns.
            pending: functions in training, of which nothing is known yet: as if they were chosen already.
        """
        size = len(pool)
        if pending is not None:
            pool = join_features([pool, pending])
        noise = self.settings.noise
        own = self._covariance(self.features, self.features)
        root = linalg.cholesky(own + noise * np.eye(len(own)), lower=True)
        rest = self.targets / self.settings.scale - self._expected(self.features)
        half = linalg.solve_triangular(root, self._covariance(self.features, pool), lower=True)
        means = self._expected(pool) + half.T @ linalg.solve_triangular(root, rest, lower=True)
        variances = np.maximum(self._variances(pool) - (half**2).sum(0), _TINY)
        # the largest expectation: the largest value would be luck of its seed
        found = own @ linalg.cho_solve((root, True), rest)
        best = float((self._expected(self.features) + found).max())
        factors = np.ones(len(pool))
        if credits is not None:
            factors[:size] = credits
        gains = _improvement(means, np.sqrt(variances), best) * factors
        masks = list(turns) or [np.ones(size, dtype=bool)]
        known = np.arange(size, len(pool))
        masks = [np.concatenate([mask, np.zeros(len(known), dtype=bool)]) for mask in masks]
        near = _nearest(gains, masks) + known.tolist()
        given = list(range(len(near) - len(known), len(near)))
        pool, half, factors = pool.take(near), half[:, near], factors[near]
        means, variances = means[near], variances[near]
        masks = [mask[near] for mask in masks]
        chosen: list[int] = []
        rows: list[Numbers] = []
        for turn in range(-len(given), min(count, len(pool) - len(given))):
            if turn < 0:
                place = given[turn]
            else:
                gains = _improvement(means, np.sqrt(variances), best) * factors
                gains[~masks[(first_turn + turn) % len(masks)]] -= (
                    _LAST  # unless nothing else is left
                )
                gains[given + chosen] = -2 * _LAST
                place = int(np.round(gains, _DIGITS).argmax())
            chosen.append(place)
            best = max(best, float(means[place]))
            # how far all others are known when this one is
            column = self._covariance(pool, pool.take([place]))[:, 0] - half.T @ half[:, place]
            column -= sum(row * row[place] for row in rows)
            rows.append(column / np.sqrt(variances[place] + noise))
            variances = np.maximum(variances - rows[-1] ** 2, _TINY)
        return [near[place] for place in chosen[len(given) :]]

    def _expected(self, features: Features) -> Numbers:
        return features.expected if self.settings.uses_prior else np.zeros(len(features))

    def _covariance(self, a: Features, b: Features) -> Numbers:
        settings = self.settings
        own = settings.own * covariance(a, b, settings.length)
        return own + a.apart @ b.apart.T + _LEVEL if settings.uses_prior else own

    def _variances(self, pool: Features) -> Numbers:
        settings = self.settings
        if not settings.uses_prior:
            return np.full(len(pool), settings.own)
        variances: Numbers = settings.own + (pool.apart**2).sum(1) + _LEVEL
        return variances


def _nearest(gains: Numbers, masks: Sequence[Mask]) -> list[int]:
    """Positions of the most promising of each mask, best first: of thousands only these may be chosen together."""
    # mirror images are equal but for rounding, which must not decide: it differs with the number of threads
    order = np.argsort(-np.round(gains, _DIGITS), kind="stable")
    kept = [order[mask[order]][: _NEAR // len(masks)] for mask in masks]
    return [int(place) for place in dict.fromkeys(np.concatenate(kept).tolist())]


def _without_prior(features: Features, targets: Numbers) -> Iterator[tuple[float, Settings]]:
    """Settings with their log likelihood, the scale of the targets the best for each."""
    count = len(targets)
    for length in _LENGTHS:
        eigenvalues, vectors = linalg.eigh(covariance(features, features, length))
        turned = vectors.T @ targets
        for noise in _NOISES:
            spread = np.maximum(eigenvalues, 0) * (1 - noise) + noise
            variance = max(float((turned**2 / spread).mean()), _TINY)
            likelihood = -0.5 * (count * (np.log(variance) + 1) + np.log(spread).sum())
            yield float(likelihood), Settings(length, noise, 1 - noise)


def _with_prior(features: Features, targets: Numbers) -> Iterator[tuple[float, Settings]]:
    count = len(targets)
    elsewhere = features.apart @ features.apart.T + _LEVEL
    for length in _LENGTHS[1:]:
        similar = covariance(features, features, length)
        for own in _OWN_SHARES:
            eigenvalues, vectors = linalg.eigh(elsewhere + own * similar)
            turned, expected = vectors.T @ targets, vectors.T @ features.expected
            for noise, scale in itertools.product(_NOISES, _SCALES):
                spread = np.maximum(eigenvalues, 0) + noise
                rest = turned / scale - expected
                likelihood = -0.5 * ((rest**2 / spread).sum() + np.log(spread).sum())
                likelihood -= count * np.log(scale)
                yield float(likelihood), Settings(length, noise, own, scale, uses_prior=True)


def _improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    """Expected improvement over the best (Jones et al. 1998)."""
    z = (means - best) / deviations
    gains: Numbers = deviations * (z * special.ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return gains
