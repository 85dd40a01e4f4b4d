"""The Bayesian strategy: known baselines first, conditional settings, and better than chance."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import optuna
import pytest

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe
from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.screening import identify
from actsearch.strategies import Context, SiteGroups, Space, Strategy
from actsearch.strategies.bayesian import _choices, _rows

SPACE = Space(activations=["leaky_relu", "elu", "sin", "tanh", "softplus"])
BEST_SLOPE = 0.37


def _slope_objective(candidate: CandidateRecord) -> float:
    """Highest, 1, for leaky_relu at the best slope; every other activation is at most 0.3."""
    item = candidate.activations["*"]
    if item.name != "leaky_relu":
        return 0.3 if item.name == "tanh" else 0.1
    return 1 - abs(float(item.hyperparameters["negative_slope"]) - BEST_SLOPE)


def _search(
    strategy: Strategy,
    count: int,
    context: Context,
    objective: Callable[[CandidateRecord], float] = _slope_objective,
) -> list[TrialRecord]:
    history: list[TrialRecord] = []
    while len(history) < count:
        batch = strategy.propose(history, strategy.batch_size(history, context), context)
        for candidate in batch:
            value = objective(candidate)
            history.append(TrialRecord(len(history), TrialState.COMPLETE, candidate, value))
    return history[:count]


def _reported(history: list[TrialRecord], context: Context) -> optuna.Study:
    """What is reported to the sampler of a history."""
    names = _choices(_rows(history), context)
    return acs.Bayesian()._study(history, context, names, SiteGroups.shared())


def _names(history: list[TrialRecord]) -> list[str | None]:
    return [trial.candidate.activations["*"].name for trial in history]


def _slopes(history: list[TrialRecord]) -> list[float]:
    items = [trial.candidate.activations["*"] for trial in history]
    return [
        float(item.hyperparameters["negative_slope"])
        for item in items
        if item.name == "leaky_relu"
    ]


CATALOG_FIRST = acs.Bayesian(start="catalog")


def test_the_first_batch_is_a_portfolio_of_the_space() -> None:
    context = Context(SPACE, 0, "maximize")
    strategy = acs.Bayesian()
    first = strategy.propose([], strategy.batch_size([], context), context)
    assert 0 < len(first) <= 16
    assert {one.activations["*"].name for one in first} <= set(SPACE.activation_names)
    assert len({identify(one).identity for one in first}) == len(first)


def test_what_the_benchmark_does_not_know_is_not_called_by_its_name() -> None:
    context = Context(Space(activations=["maxout"]), 0, "maximize")
    (first,) = acs.Bayesian().propose([], 1, context)
    assert first.activations["*"].name == "maxout"
    assert first.operation == "catalog"


def test_every_activation_of_the_catalog_can_be_chosen_within_forty_trials() -> None:
    context = Context(Space(activations="all"), 0, "maximize")

    def value(candidate: CandidateRecord) -> float:
        return 1.0 if candidate.activations["*"].name == "sinlu" else 0.5

    history = _search(acs.Bayesian(), 40, context, value)
    assert len(history) == 40
    names = [trial.candidate.activations["*"].name for trial in history]
    assert len(set(names[16:])) > 8  # also such as were not in the first batch
    assert set(names[16:]) - set(names[:16])


def test_the_first_batch_may_be_every_activation_of_the_space_at_its_defaults() -> None:
    context = Context(Space(), 0, "maximize")
    strategy = CATALOG_FIRST
    names = context.space.activation_names
    assert strategy.batch_size([], context) == len(names) == len(set(names)) > 8
    first = strategy.propose([], len(names), context)
    assert [item.activations["*"] for item in first] == [describe(name) for name in names]
    assert {item.operation for item in first} == {"catalog"}


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_later_batches_have_the_size_of_the_setting(batch: int) -> None:
    context = Context(SPACE, 0, "maximize")
    strategy = acs.Bayesian(batch=batch, start="catalog")
    history = _search(strategy, 5, context)
    assert strategy.batch_size(history, context) == batch
    assert len(strategy.propose(history, batch, context)) == batch


def test_baselines_that_were_tried_already_are_not_proposed_again() -> None:
    context = Context(SPACE, 0, "maximize")
    enqueued = [
        TrialRecord(0, TrialState.FAILED, CandidateRecord.shared(describe("sin"), "user")),
        TrialRecord(1, TrialState.COMPLETE, CandidateRecord.shared(describe("x*x")), 0.5),
    ]
    strategy = CATALOG_FIRST
    batch = strategy.propose(enqueued, strategy.batch_size(enqueued, context), context)
    names = {item.activations["*"].name for item in batch}
    assert names == set(SPACE.activation_names) - {"sin"}


def test_an_enqueued_variant_does_not_replace_the_baseline() -> None:
    context = Context(SPACE, 0, "maximize")
    variant = CandidateRecord.shared(describe("leaky_relu", negative_slope=0.5), "user")
    history = [TrialRecord(0, TrialState.COMPLETE, variant, 0.5)]
    assert CATALOG_FIRST.batch_size(history, context) == len(SPACE.activation_names)


def test_a_proposal_has_the_settings_of_its_own_activation_alone() -> None:
    context = Context(Space(), 3, "maximize")
    strategy = acs.Bayesian()
    history = _search(strategy, 60, context, lambda candidate: len(candidate.formula) % 7 / 7)
    later = [trial.candidate.activations["*"] for trial in history[20:]]
    assert len({item.name for item in later}) > 3
    for item in later:
        assert item.name is not None
        known = {setting.name for setting in CATALOG[item.name].hyperparameters}
        assert set(item.hyperparameters) == known


def test_the_sampler_is_told_settings_conditional_on_the_choice() -> None:
    context = Context(SPACE, 0, "maximize")
    strategy = acs.Bayesian()
    history = _search(strategy, 20, context)
    told = _reported(history, context).trials
    assert len(told) == sum(bool(CATALOG[str(name)].searched) for name in _names(history)) > 10
    for trial in told:
        name = trial.params["activation"]
        expected = {f"{name}.{setting.name}" for setting in CATALOG[name].hyperparameters}
        assert set(trial.params) == {"activation"} | expected


def test_proposals_do_not_repeat_a_trial_while_there_is_something_new() -> None:
    space = Space(activations=["leaky_relu", "max_affine"])
    history = _search(acs.Bayesian(), 30, Context(space, 0, "maximize"))
    formulas = [trial.candidate.activations["*"] for trial in history]
    numbers = [str(item.to_json()) for item in formulas if item.name == "leaky_relu"]
    assert len(numbers) == len(set(numbers)) > 5


@pytest.mark.parametrize("seed", range(4))
def test_it_concentrates_near_the_best_slope(seed: int) -> None:
    history = _search(acs.Bayesian(), 80, Context(SPACE, seed, "maximize"))
    late = history[40:]
    assert _names(late).count("leaky_relu") > len(late) * 0.6
    near = [slope for slope in _slopes(late) if abs(slope - BEST_SLOPE) < 0.15]
    assert len(near) > len(_slopes(late)) * 0.5  # 0.3 of uniform draws fall there


def test_minimising_looks_at_the_other_end() -> None:
    objective = _slope_objective
    history = _search(
        acs.Bayesian(),
        80,
        Context(SPACE, 0, "minimize"),
        lambda candidate: -objective(candidate),
    )
    near = [slope for slope in _slopes(history[40:]) if abs(slope - BEST_SLOPE) < 0.15]
    assert len(near) > 10


def test_it_beats_random_search_at_equal_trials() -> None:
    def regret(strategy: Strategy, seed: int) -> float:
        history = _search(strategy, 50, Context(SPACE, seed, "maximize"))
        return 1 - max(trial.value or 0.0 for trial in history)

    seeds = range(8)
    ours = [regret(acs.Bayesian(), seed) for seed in seeds]
    chance = [regret(acs.RandomSearch(formulas=0), seed) for seed in seeds]
    assert statistics.median(ours) < statistics.median(chance)
    assert sum(a < b for a, b in zip(ours, chance, strict=True)) >= 6


def test_failures_count_as_the_worst_value_and_are_avoided() -> None:
    context = Context(SPACE, 0, "minimize")
    strategy = acs.Bayesian()
    history = _search(strategy, 5, context)
    slope = CandidateRecord.shared(describe("leaky_relu", negative_slope=0.3))
    failed = TrialRecord(5, TrialState.FAILED, slope, None)
    refused = TrialRecord(6, TrialState.REJECTED, slope, None)
    repeated = TrialRecord(7, TrialState.DUPLICATE, slope, duplicate_of=0)
    told = _reported([*history, failed, refused, repeated], context).trials
    before = len(_reported(history, context).trials)
    worst = max(trial.value or 0.0 for trial in history)
    assert [trial.value for trial in told[before:]] == [worst, worst]


def _numbered(count: int, context: Context) -> list[TrialRecord]:
    """``count`` trials whose values fall, so that the best are the oldest."""
    return [
        TrialRecord(
            number,
            TrialState.COMPLETE,
            CandidateRecord.shared(describe("leaky_relu", negative_slope=number / count)),
            float(-number if context.direction == "maximize" else number),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_a_long_history_the_best_quarter_and_the_latest_are_reported(direction: str) -> None:
    context = Context(SPACE, 0, "maximize" if direction == "maximize" else "minimize")
    told = _reported(_numbered(1000, context), context).trials
    numbers = [round(trial.params["leaky_relu.negative_slope"] * 1000) for trial in told]
    assert numbers == [*range(75), *range(775, 1000)]


@pytest.mark.parametrize("count", [299, 300])
def test_a_short_history_is_told_whole(count: int) -> None:
    context = Context(SPACE, 0, "maximize")
    assert len(_reported(_numbered(count, context), context).trials) == count


@pytest.mark.parametrize("count", [8, 400])
def test_what_could_only_be_repeated_is_not_drawn(count: int) -> None:
    context = Context(SPACE, 0, "maximize")
    history = _numbered(count, context)
    numbers = iter(range(count, count + 100))
    history += [
        TrialRecord(
            next(numbers), TrialState.COMPLETE, CandidateRecord.shared(describe(name)), 1.0
        )
        for name in SPACE.activation_names
    ]
    fixed = [name for name in SPACE.activation_names if not CATALOG[name].searched]
    assert fixed
    told = _reported(history, context).trials
    assert not {trial.params["activation"] for trial in told} & set(fixed)
    proposed = acs.Bayesian().propose(history, 8, context)
    assert {item.activations["*"].name for item in proposed} <= set(SPACE.activation_names) - set(
        fixed
    )


def test_a_long_history_of_a_space_without_settings_is_fine() -> None:
    space = Space(activations=["tanh", "gelu"])
    context = Context(space, 0, "maximize")
    history = [
        TrialRecord(number, TrialState.COMPLETE, CandidateRecord.shared(describe(name)), 0.5)
        for number, name in enumerate(["tanh", "gelu"] * 200)
    ]
    assert len(acs.Bayesian().propose(history, 8, context)) == 8


def test_optunas_own_verbosity_is_given_back() -> None:
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        _search(acs.Bayesian(), 10, Context(SPACE, 0, "maximize"))
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    finally:
        optuna.logging.set_verbosity(before)


@pytest.mark.parametrize("strategy", [acs.Bayesian(), acs.RandomSearch()], ids=lambda s: s.name)
def test_drawn_numbers_are_what_tables_show(strategy: Strategy) -> None:
    """So that the label of a trial, copied, makes the trial's activation."""
    context = Context(Space(activations=["sin", "leaky_relu", "rrelu"]), 0, "maximize")
    history = _search(strategy, 40, context, lambda candidate: 0.5)
    drawn = [
        value
        for trial in history
        if trial.candidate.operation in ("tpe", "random catalog")
        for value in trial.candidate.activations["*"].hyperparameters.values()
    ]
    assert len(drawn) > 10
    assert all(value == float(f"{value:.3g}") for value in drawn)
