"""What a search makes of earlier trials: functions as curves, how alike they are, and which one to train next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from storage_cases import study_record

import actsearch as acs
from actsearch.activations import value_and_gradient
from actsearch.benchmark import normal_scores
from actsearch.naming.functions import Numbers
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.storage import Storage
from actsearch.strategies import Context, Space, make_strategy
from actsearch.strategies.genetic.pool import promising
from actsearch.strategies.population import Member
from actsearch.strategies.surrogate.curves import compute_curve, mirror, points
from actsearch.strategies.surrogate.kernel import covariance, describe_curves
from actsearch.strategies.surrogate.process import Process

CONTEXT = Context(Space(), 0, "minimize")
NAMES = ("tanh(x)", "sin(3*x)", "x*sigmoid(param(1.5)*x)", "exp(-x*x)", "cos(x)*tanh(x)", "elu(x)")
POOL = (
    "tanh(x)", "sin(x)", "x*cos(x)", "gauss(x)", "x*x", "relu(x)", "abs(x)", "cos(2*x)", "x*tanh(x)", "silu(x)",
    "atan(x)", "sin(x)*x", "erf(x)+x", "cube(x)", "softplus(x)", "x*gauss(x)", "max(x, cos(x))", "sinc(x)",
)  # fmt: skip


def curves(*formulas: str) -> Numbers:
    found = [compute_curve(formula) for formula in formulas]
    return np.array([curve for curve in found if curve is not None])


def distance(formula: str, hidden: str) -> float:
    """Share of the hidden function's variance that the formula leaves over, by torch."""
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = torch.cat([acs.activation(formula, channels=1)(x), acs.activation(hidden)(x)], 1)
    return float(1 - torch.corrcoef(both.T)[0, 1] ** 2)


class TestCurves:
    @pytest.mark.parametrize("formula", NAMES)
    def test_values_and_slopes_are_those_of_torch(self, formula: str) -> None:
        x = torch.tensor(points(), dtype=torch.float64).unsqueeze(1)
        values, slopes = value_and_gradient(acs.activation(formula).double(), x)
        (curve,) = curves(formula)
        assert_allclose(curve[0], values.flatten().numpy(), rtol=1e-9, atol=1e-9)
        assert_allclose(curve[1], slopes.flatten().numpy(), rtol=1e-5, atol=1e-5)

    def test_inputs_are_symmetric_quantiles_at_three_scales(self) -> None:
        blocks = points().reshape(3, 24)
        assert_allclose(blocks, -blocks[:, ::-1])
        assert_allclose(blocks[1] * 2, blocks[2])
        assert (np.diff(blocks) > 0).all()

    @pytest.mark.parametrize(
        "formula", ["log(x)", "1/(x-x)", "sqrt(x)", "exp(1.5*x**4)", "-exp(exp(x))"]
    )
    def test_what_is_not_finite_or_huge_has_none(self, formula: str) -> None:
        assert compute_curve(formula) is None

    def test_a_mirrored_curve_is_that_of_the_mirrored_formula(self) -> None:
        assert_allclose(mirror(curves("exp(x)*sin(x)")), curves("exp(-x)*sin(-x)"), atol=1e-8)


class TestKernel:
    def test_it_is_positive_definite_and_one_for_a_function_itself(self) -> None:
        features = describe_curves(curves(*POOL))
        kernel = covariance(features, features, 0.6)
        assert_allclose(kernel, kernel.T)
        assert_allclose(np.diag(kernel), 1.0)
        assert np.linalg.eigvalsh(kernel).min() > -1e-9
        assert kernel[~np.eye(len(POOL), dtype=bool)].max() < 1.0

    @pytest.mark.parametrize("image", ["silu(-x)", "-silu(x)", "-silu(-x)", "3 - 3 + silu(x)"])
    def test_mirror_images_are_one_function(self, image: str) -> None:
        found = covariance(describe_curves(curves("silu(x)")), describe_curves(curves(image)), 0.6)
        assert found[0, 0] == pytest.approx(1.0)

    def test_likeness_falls_with_the_difference(self) -> None:
        one, *others = (
            describe_curves(curves(text)) for text in ("silu(x)", "gelu(x)", "relu(x)", "sin(3*x)")
        )
        alike = [float(covariance(one, other, 0.6)[0, 0]) for other in others]
        assert alike == sorted(alike, reverse=True)
        assert alike[0] > 0.9 > alike[-1]

    def test_an_offset_counts_little_and_another_slope_more(self) -> None:
        one, shifted, steep = (
            describe_curves(curves(text)) for text in ("tanh(x)", "tanh(x) + 0.2", "tanh(4*x)")
        )
        assert covariance(one, shifted, 0.6)[0, 0] > covariance(one, steep, 0.6)[0, 0]


class TestProcess:
    def test_scores_are_ranks_whatever_the_scale(self) -> None:
        values = np.array([3.0, -1e30, 0.1, 0.2, 0.2])
        scores = normal_scores(values)
        assert_allclose(scores, normal_scores(np.array([9.0, -2.0, 1.0, 2.0, 2.0])))
        assert scores[3] == scores[4]
        assert scores.argmax() == 0
        assert scores.argmin() == 1

    @pytest.mark.parametrize("hidden", ["x*cos(x)", "cos(x)*tanh(x)", "x*gauss(x)"])
    def test_what_is_close_to_the_best_is_chosen_before_what_is_not(self, hidden: str) -> None:
        trained = [text for text in POOL if distance(text, hidden) > 1e-6]
        values = np.array([-distance(text, hidden) for text in trained])
        process = Process.fit(describe_curves(curves(*trained)), values)
        others = [
            "exp(x)",
            "x*x*x*x",
            "abs(x)+x",
            "selu(x)",
            "cosh(x)",
            "mish(x)",
            "hardsigmoid(x)",
        ]
        chosen = process.choose(describe_curves(curves(*others, hidden)), 2)
        assert len(others) in chosen

    def test_the_second_choice_is_another_function(self) -> None:
        process = Process.fit(describe_curves(curves(*POOL)), np.arange(len(POOL), dtype=float))
        twins = ["sin(2*x)*x", "-x*sin(2*x)", "sin(-2*x)*x", "atan(x)*abs(x)"]
        assert set(process.choose(describe_curves(curves(*twins)), 2)) == {0, 3}


class TestPromising:
    def members(self, hidden: str, formulas: tuple[str, ...]) -> list[Member]:
        records = [acs.Candidate.of(text).record.activations["*"] for text in formulas]
        return [
            Member(number, (record,), distance(text, hidden))
            for number, (text, record) in enumerate(zip(formulas, records, strict=True))
        ]

    def chosen(
        self, members: list[Member], texts: tuple[str, ...], count: int, context: Context = CONTEXT
    ) -> list[str]:
        """Children that promise most, beside catalog rows and small formulas."""
        bred = [(acs.parse(text), "child", ()) for text in texts]
        made = [make() for make in promising(members, bred, count, context)]
        return [items[0].formula for items, operation, _ in made if operation == "child"]

    def test_a_hidden_function_is_found_among_many(self) -> None:
        texts = ("exp(x)", "selu(x)", "mish(x)", "x*cos(x)", "cosh(x)", "log(x)", "hardsigmoid(x)")
        known = tuple(text for text in POOL if text != "x*cos(x)")
        context = Context(Space(operators="all"), 0, "minimize")
        found = self.chosen(self.members("x*cos(x)", known), texts, 6, context)
        assert "x * cos(x)" in found
        assert len(found) == 2

    def test_larger_values_are_better_where_the_study_says_so(self) -> None:
        known = self.members("x*cos(x)", POOL)
        texts = ("0.9*x*cos(1.1*x)", "hardsigmoid(x)")
        for direction, best in (("minimize", texts[0]), ("maximize", texts[1])):
            context = Context(Space(operators="all"), 0, direction)  # type: ignore[arg-type]
            assert self.chosen(known, texts, 3, context) == [str(acs.parse(best))]

    def test_too_little_is_known_to_choose(self) -> None:
        texts = ("sin(x)", "cos(x)", "tanh(x)")
        assert self.chosen(self.members("x", POOL[:3]), texts, 2) == ["sin(x)", "cos(x)"]

    def test_a_function_that_is_not_finite_is_never_chosen(self) -> None:
        found = self.chosen(self.members("x*cos(x)", POOL), ("log(x)", "sin(5*x)"), 12)
        assert found == ["sin(5 * x)"]

    def test_the_kinds_take_turns(self) -> None:
        bred = [(acs.parse(f"sin({k}*x)*x"), "child", ()) for k in range(1, 5)]
        made = [make() for make in promising(self.members("x*cos(x)", POOL), bred, 6, CONTEXT)]
        assert [operation for _, operation, _ in made] == ["catalog", "small formula", "child"] * 2

    def test_a_space_may_have_no_small_formulas(self) -> None:
        space = Space(activations=["relu", "gelu"], operators=["identity"])
        context = Context(space, 0, "minimize")
        made = [make() for make in promising(self.members("x*cos(x)", POOL), [], 2, context)]
        assert [operation for _, operation, _ in made] == ["catalog", "catalog"]


def test_of_several_objectives_the_first_does_not_choose_alone() -> None:
    """With the values of the two objectives exchanged, and their directions, the same children are trained."""
    one = Context(Space(), 3, "maximize", directions=("maximize", "minimize"))
    other = Context(Space(), 3, "minimize", directions=("minimize", "maximize"))
    strategy = acs.Genetic()
    start = strategy.propose([], 16, one)
    pairs = [(float(np.sin(n)), float(np.cos(3 * n))) for n in range(len(start))]

    def told(values: list[tuple[float, float]]) -> list[TrialRecord]:
        return [
            TrialRecord(n, TrialState.COMPLETE, made, pair[0], 0.0, values=pair)
            for n, (made, pair) in enumerate(zip(start, values, strict=True))
        ]

    swapped = [(second, first) for first, second in pairs]
    assert strategy.propose(told(pairs), 8, one) == strategy.propose(told(swapped), 8, other)


class TestOlderStudies:
    """A study that was stored before genetic search chose among its children goes on as it began."""

    OLD: dict[str, Any] = {
        "population": 64, "elites": 4, "first_batch": 32, "batch": 24, "tournament": 3, "crossover": 0.35,
    }  # fmt: skip

    def old_study(self, url: str) -> None:
        storage = Storage(url, create=True)
        strategy = {"name": "genetic", "settings": self.OLD}
        storage.create_study(
            replace(study_record(), name="old", strategy=strategy, space=Space().to_json())
        )
        storage.database.close()

    def test_the_same_script_goes_on_with_it(self, sqlite_url: str) -> None:
        self.old_study(sqlite_url)
        study = acs.create_study(
            study_name="old", storage=sqlite_url, strategy="genetic", load_if_exists=True
        )
        study.optimize(lambda candidate, run: 1.0, 33, show_progress_bar=False)
        assert sum(not trial.candidate.record.parents for trial in study.trials) >= 32

    def test_other_settings_are_refused_by_name(self, sqlite_url: str) -> None:
        self.old_study(sqlite_url)
        with pytest.raises(acs.StudyError, match=r"'bred': 150.*stored.*'bred': 0"):
            acs.create_study(
                study_name="old", storage=sqlite_url, strategy=acs.Genetic(), load_if_exists=True
            )
        acs.create_study(
            study_name="old", storage=sqlite_url, strategy=acs.Genetic(**self.OLD, **acs.Genetic.before),
            load_if_exists=True,
        )  # fmt: skip

    def test_another_strategy_is_refused(self, sqlite_url: str) -> None:
        self.old_study(sqlite_url)
        with pytest.raises(acs.StudyError, match="strategy: 'random', stored 'genetic'"):
            acs.create_study(
                study_name="old", storage=sqlite_url, strategy="random", load_if_exists=True
            )

    def test_its_children_are_all_trained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: Any) -> None:
            raise AssertionError("a choice among children")

        monkeypatch.setattr("actsearch.strategies.genetic.strategy.promising", never)
        strategy = make_strategy({"name": "genetic", "settings": self.OLD})
        history = [
            _trial(n, one, "x*cos(x)") for n, one in enumerate(strategy.propose([], 32, CONTEXT))
        ]
        assert len(strategy.propose(history, 24, CONTEXT)) == 24


def _found(bred: int, hidden: str, seed: int, trials: int) -> float:
    """Smallest distance of a genetic search."""
    strategy, context = acs.Genetic(bred=bred), Context(Space(), seed, "minimize")
    history: list[TrialRecord] = []
    while len(history) < trials:
        for candidate in strategy.propose(history, strategy.batch_size(history, context), context):
            history.append(_trial(len(history), candidate, hidden))
    return min(trial.value or 1.0 for trial in history[:trials])


def _trial(number: int, candidate: CandidateRecord, hidden: str) -> TrialRecord:
    share = distance(candidate.activations["*"].formula, hidden)
    value = share if np.isfinite(share) else 1.0
    identity = acs.fingerprint(candidate)
    return TrialRecord(number, TrialState.COMPLETE, candidate, value, 0.0, fingerprint=identity)


@pytest.mark.slow
def test_many_bred_and_few_trained_come_closer_than_all_trained() -> None:
    hidden = ("max(x, sin(2*x))", "atan(x)*abs(x)", "cos(x)*tanh(x)")
    ratios = [
        _found(150, text, seed, 100) / _found(0, text, seed, 100)
        for text in hidden
        for seed in range(3)
    ]
    assert sum(ratio < 1 for ratio in ratios) >= 7, ratios
    assert np.median(ratios) < 0.6, ratios
