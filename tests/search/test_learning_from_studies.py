"""How far an earlier study is believed, and what a search gains by it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from simulated_study import simulate

import actsearch as acs
from actsearch.activations import describe
from actsearch.records import CandidateRecord
from actsearch.strategies import Context, Earlier
from actsearch.strategies.population import Member
from actsearch.strategies.surrogate import compute_curve, weigh_earlier
from actsearch.strategies.surrogate.earlier import Weighed, _study

POOL = (
    "cos(x)*tanh(x)", "x*cos(x)", "x*gauss(x)", "sin(x)", "tanh(x)", "sin(2*x)", "x*sin(x)", "cos(x)", "x*x", "relu(x)",
    "gauss(x)", "abs(x)", "atan(x)", "silu(x)", "x*x*x", "exp(x)", "sin(3*x)", "elu(x)", "x*tanh(x)", "softplus(x)",
)  # fmt: skip
TRIED = (
    "gelu(x)", "mish(x)", "selu(x)", "erf(x)", "cos(2*x)", "sin(x)*x", "tanh(2*x)", "x*atan(x)", "sinc(x)", "cosh(x)",
    "sin(1.5*x)", "min(max(x, -1), 1)", "x*gauss(2*x)", "x*cos(0.5*x)", "max(x, sin(x))", "sigmoid(x)",
)  # fmt: skip


class TestTheWeight:
    """Of a study with a hidden function, by what 16 trials of another one with the same came to."""

    HIDDEN = "cos(x)*tanh(x)"

    @pytest.fixture
    def earlier(self) -> Earlier:
        return Earlier("old", POOL, tuple(_closeness(text, self.HIDDEN) for text in POOL))

    def weigh(self, *earlier: Earlier, count: int = 16) -> dict[str, float]:
        members = [
            Member(number, (describe(text),), _closeness(text, self.HIDDEN))
            for number, text in enumerate(TRIED[:count])
        ]
        context = Context(acs.Space(), 0, "maximize", earlier=earlier)
        found = weigh_earlier(None, members, 0.0, context)
        if not isinstance(found, Weighed):
            return {}
        names = {_study(one): one.name for one in earlier}
        return {names[study]: w for study, w in zip(found.studies, found.weights, strict=True)}

    def test_it_is_large_for_the_same_task_and_0_for_its_opposite(self, earlier: Earlier) -> None:
        opposite = Earlier("opposite", POOL, tuple(-value for value in earlier.values))
        weights = self.weigh(earlier, opposite)
        assert weights.keys() == {"old"}
        assert 0.4 < weights["old"] <= 1

    def test_it_is_neutral_while_too_little_is_known(self, earlier: Earlier) -> None:
        assert self.weigh(earlier, count=3) == {"old": 0.5}

    def test_pairs_within_the_noise_tell_nothing(self, earlier: Earlier) -> None:
        members = [Member(n, (describe(text),), -float(n)) for n, text in enumerate(TRIED)]
        context = Context(acs.Space(), 0, "maximize", earlier=(earlier,))
        found = weigh_earlier(None, members, 100.0, context)
        assert isinstance(found, Weighed)
        assert found.weights == (0.5,)

    def test_the_best_five_of_many_are_asked(self, earlier: Earlier) -> None:
        many = [dataclasses.replace(earlier, name=f"old {number}") for number in range(8)]
        assert len(self.weigh(*many)) == 5


class TestLearning:
    """A search for a hidden function, of which an earlier one knows how near functions come."""

    HIDDEN = ("cos(x)*tanh(x)", "atan(x)*abs(x)", "x*gauss(x)")

    def until_found(self, hidden: str, seed: int, *earlier: Earlier) -> int:
        def evaluate(candidates: Sequence[CandidateRecord], _: Sequence[str]) -> list[float]:
            return [_closeness(one.activations["*"].formula, hidden) for one in candidates]

        history = simulate(acs.Auto(), evaluate, seed, 48, earlier=earlier)
        found = [t.number for t in history if t.value is not None and t.value > 0.995]
        return min(found, default=48)

    @pytest.mark.slow
    def test_an_equal_task_helps_and_its_opposite_does_no_harm(self) -> None:
        alone, helped, misled = [], [], []
        for hidden, seed in itertools.product(self.HIDDEN, range(2)):
            values = tuple(_closeness(text, hidden) for text in POOL)
            opposite = Earlier("opposite", POOL, tuple(-value for value in values))
            alone.append(self.until_found(hidden, seed))
            helped.append(self.until_found(hidden, seed, Earlier("same", POOL, values)))
            misled.append(self.until_found(hidden, seed, opposite))
        assert sum(helped) < sum(alone)
        assert misled == alone  # of weight 0, it changes nothing


@functools.lru_cache(maxsize=4096)
def _closeness(formula: str, hidden: str) -> float:
    """Squared correlation of a function with a hidden one where normal inputs lie."""
    found, wanted = compute_curve(formula), compute_curve(hidden)
    if found is None or wanted is None or found[0].std() < 1e-9:
        return 0.0
    return float(np.corrcoef(found[0], wanted[0])[0, 1] ** 2)
